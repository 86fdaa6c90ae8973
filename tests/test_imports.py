"""What an import brings with it: the listener stays light, and our packages are ours."""

import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("worker", "dicom_node", "models", "training")
HEAVY = (
    "torch",
    "torchvision",
    "segmentation_models_pytorch",
    "timm",
    "highdicom",
    "cv2",
    "imagecodecs",
)
LIGHT_MODULES = (
    "dicom_node.storage_scp",
    "dicom_node.storage_scu",
    "worker.__main__",
    "worker.doctor",
    "worker.health",
    "worker.operate",
    "worker.pipeline",
    "worker.roles",
    "worker.settings",
    "worker.tasks",
)
PROGRAMS = {"training.__main__", "worker.migrations.env"}  # do their work when imported


def all_modules():
    """Every module file of the four packages, migrations' versions included, without importing one."""
    for package in PACKAGES:
        folder = Path(importlib.util.find_spec(package).origin).parent
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            name = ".".join(parts).removesuffix(".__init__")
            if all(part.isidentifier() for part in parts) and name not in PROGRAMS:
                yield name


def run(code):
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    return told.stdout


@pytest.mark.parametrize("module", LIGHT_MODULES)
def test_the_listener_loads_nothing_that_only_scoring_needs(module):
    loaded = json.loads(run(f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"))
    assert module in loaded
    assert set(loaded).isdisjoint(HEAVY)


@pytest.mark.parametrize("module", LIGHT_MODULES)
def test_the_listener_does_without_what_its_image_does_not_hold(module):
    absent = (*HEAVY, "numpy")
    run(f"import sys; sys.modules.update(dict.fromkeys({absent!r})); import {module}")


@pytest.mark.parametrize("package", PACKAGES)
def test_our_packages_are_ours(package):
    origin = Path(importlib.import_module(package).__file__)
    assert origin.read_text().startswith('"""')
    assert {path.name for path in origin.parent.glob("*.py")} == {
        path.name for path in (ROOT / package).glob("*.py")
    }


def test_the_package_docstrings_are_all_that_a_package_holds():
    for package in PACKAGES:
        source = (ROOT / package / "__init__.py").read_text()
        assert "import" not in source.split('"""')[2]


def test_no_test_folder_or_container_folder_is_a_package():
    assert list(ROOT.glob("tests/**/__init__.py")) == []
    assert not (ROOT / "docker" / "__init__.py").exists()


@pytest.mark.parametrize("module", sorted(all_modules()))
def test_every_module_imports(module):
    importlib.import_module(module)
