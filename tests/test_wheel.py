"""The wheel: everything that is needed is in it, and it works where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the repository."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for package in ("worker", "dicom_node", "models", "training"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(built),
        str(source),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = built.glob("*.whl")
    return path


def test_it_holds_data_and_no_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "worker/migrations/env.py",
        "worker/migrations/script.py.mako",
        "worker/migrations/versions/0001_journal.py",
        "worker/sample/demo_film.dcm",
        "worker/sample/ATTRIBUTION.md",
        "models/MODEL_CARD.md",
        "models/weights/lungs.json",
        "models/weights/lungs.safetensors",
        "models/weights/opacity.json",
        "models/weights/opacity.safetensors",
        "models/weights/light/opacity.safetensors",
        "models/weights/open/lungs.safetensors",
        "training/configs/presets/lungs-fpn.toml",
        "training/configs/tuning.toml",
        "training/sample/manifest.csv",
        "training/sample/ATTRIBUTION.md",
        "training/configs/lungs.toml",
        "training/README.md",
    } <= names
    assert {name.split("/")[0].split("-")[0] for name in names} == {
        "worker", "dicom_node", "models", "training", "cxr_severity_worker"
    }  # fmt: skip


def test_it_works_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)],
        check=True,
    )
    environment = {**os.environ, "PYTHONPATH": str(site), "CXR_DATA_DIR": str(tmp_path / "data")}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("-c", "import worker; print(worker.__file__)").startswith(str(site))
    assert "is up to date" in run("-m", "worker", "migrate")
    assert "of 6" in run("-m", "worker", "score", str(site / "worker" / "sample" / "demo_film.dcm"))
