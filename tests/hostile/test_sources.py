"""No source file unpickles, evaluates or loads what could run as code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path
    for package in ("worker", "dicom_node", "models", "training")
    for path in (ROOT / package).rglob("*.py")
)
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle"}
CALLS = {
    "eval",
    "exec",
    "compile",
    "yaml.load",
    "yaml.unsafe_load",
    "torch.load",
    "np.load",
    "numpy.load",
    "os.system",
}
SAFE = {
    "torch.load": "weights_only=True",
    "np.load": "allow_pickle=False",
    "numpy.load": "allow_pickle=False",
}


def faults(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = (
                [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            )
            yield from (
                f"line {node.lineno}: imports {name}" for name in names if name.split(".")[0] in MODULES
            )
        if isinstance(node, ast.Call) and ast.unparse(node.func) in CALLS:
            called = ast.unparse(node.func)
            if called not in SAFE or SAFE[called] not in {ast.unparse(keyword) for keyword in node.keywords}:
                yield f"line {node.lineno}: calls {called}"
        if isinstance(node, ast.keyword) and node.arg == "shell" and ast.unparse(node.value) != "False":
            yield f"line {node.value.lineno}: starts a shell"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_run_that_was_read(path: Path) -> None:
    assert list(faults(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "eval(x)",
        "torch.load(f)",
        "np.load(f)",
        "yaml.load(f)",
        "run(c, shell=True)",
    ],
)
def test_it_would_be_found(source: str) -> None:
    assert len(list(faults(source))) == 1


def test_safe_forms_are_none() -> None:
    assert (
        list(faults("torch.load(f, weights_only=True); re.compile(x); np.load(f, allow_pickle=False)")) == []
    )
