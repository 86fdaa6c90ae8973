"""``make demo``'s program, run twice as a new user would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
from pydicom import dcmread


def test_the_demo_shows_a_score_and_leaves_three_files(tmp_path: Path) -> None:
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "worker.demo"],
            env={**os.environ, "CXR_DATA_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "research use, not for diagnosis" in done.stdout
        assert "right upper" in done.stdout
        assert "of 6" in done.stdout
    folder = tmp_path / "demo"
    report, capture = dcmread(folder / "report.sr.dcm"), dcmread(folder / "overlay.sc.dcm")
    assert report.StudyInstanceUID == capture.StudyInstanceUID
    picture = cv2.imread(str(folder / "overlay.png"))
    assert picture is not None
    assert picture.shape[:2] == (capture.Rows, capture.Columns)
