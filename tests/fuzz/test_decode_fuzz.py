"""A short campaign with a fixed seed, and a replay of files that once broke a promise or were made to."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def test_files_that_once_did_harm() -> None:
    files = sorted(CORPUS.glob("*.dcm"))
    assert len(files) > 30
    assert all(file.stat().st_size < 10_000 for file in files)
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.target", *map(str, files)],
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [name for name, _, _ in lines] == [file.name for file in files]
    assert all(float(seconds) < 5 for _, _, seconds in lines)


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
def test_a_short_campaign(tmp_path: Path) -> None:
    options = ["-runs=2000", "-max_total_time=20", "-seed=1"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.decode", *options, str(tmp_path)],
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    runs = re.search(r"stat::number_of_executed_units: (\d+)", done.stderr)
    assert runs is not None
    assert int(runs[1]) > 100
