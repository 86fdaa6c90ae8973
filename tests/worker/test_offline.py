"""``cxr-worker score``: files and folders, table, JSON, CSV, reports, exit codes."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydicom import dcmread

from worker.offline import OfflineResult, UnreadableFile, find_files, read_picture, score_files, write_csv


@pytest.fixture
def folder(tmp_path: Path, sample_films: list[Path], make_film: Callable[..., bytes]) -> Path:
    """A film, the same again in a sub-folder, a picture, a hand, and something else."""
    folder = tmp_path / "films"
    (folder / "more").mkdir(parents=True)
    shutil.copy(sample_films[0], folder / "film.dcm")
    shutil.copy(sample_films[0], folder / "more" / "film.dcm")
    cv2.imwrite(str(folder / "picture.png"), np.full((300, 300), 128, np.uint8))
    (folder / "hand.dcm").write_bytes(make_film(BodyPartExamined="HAND"))
    (folder / "notes.txt").write_text("not a film")
    (folder / ".hidden").write_text("")
    return folder


def by_name(results: Iterable[OfflineResult], folder: Path) -> dict[str, dict[str, Any]]:
    return {str(result.path.relative_to(folder)): result.record for result in results}


def test_each_file_gets_its_own_outcome(folder: Path, fixed_scorer: Any) -> None:
    records = by_name(score_files(find_files([folder]), fixed_scorer), folder)
    outcomes = {name: (record["outcome"], record["reason"]) for name, record in records.items()}
    assert outcomes == {
        "film.dcm": ("scored", None),
        "more/film.dcm": ("scored", None),
        "picture.png": ("scored", None),
        "hand.dcm": ("not-eligible", "not-a-chest"),
        "notes.txt": ("error", "unreadable"),
    }
    assert records["film.dcm"]["sop_instance_uid"] == str(dcmread(folder / "film.dcm").SOPInstanceUID)
    assert records["picture.png"]["sop_instance_uid"] is None


def test_reports_and_pictures_are_written_under_different_names(
    folder: Path, fixed_scorer: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    list(score_files(find_files([folder]), fixed_scorer, out))
    assert {path.suffixes[-1] for path in out.iterdir()} == {".dcm", ".png"}
    assert len(list(out.glob("film*.sr.dcm"))) == len(list(out.glob("film*.sc.dcm"))) == 2
    assert (out / "picture.png").exists()
    assert not list(out.glob("picture*.dcm"))
    assert dcmread(out / "film.sr.dcm").Modality == "SR"


def test_csv_has_a_line_an_image(folder: Path, fixed_scorer: Any, tmp_path: Path) -> None:
    results = list(score_files(find_files([folder]), fixed_scorer))
    write_csv(results, tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(results)
    scored = next(row for row in rows if row["path"].endswith("picture.png"))
    assert (scored["score"], scored["right_lower_fraction"], scored["left_upper_score"]) == ("1", "1.0", "0")


def test_pictures_of_8_and_16_bits(tmp_path: Path) -> None:
    for dtype, white in ((np.uint8, 255), (np.uint16, 65535)):
        cv2.imwrite(str(tmp_path / "picture.png"), np.full((4, 6), white, dtype))
        pixels = read_picture(tmp_path / "picture.png")
        assert (pixels.shape, pixels.dtype, float(pixels.max())) == ((4, 6), np.float32, 1.0)


def test_a_path_that_does_not_exist() -> None:
    with pytest.raises(UnreadableFile, match="does not exist"):
        find_files([Path("/does/not/exist")])


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker", "score", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_the_command_with_the_shipped_networks(
    sample_films: list[Path], folder: Path, tmp_path: Path
) -> None:
    one = command(sample_films[0], "--out", tmp_path / "out")
    assert one.returncode == 0, one.stderr
    assert "research use, not for diagnosis" in one.stdout
    assert len(list((tmp_path / "out").iterdir())) == 3

    several = command(sample_films[0], folder / "hand.dcm", "--json")
    assert several.returncode == 3, several.stderr
    scored, hand = json.loads(several.stdout)
    keys = {"sop_instance_uid", "algorithm", "outcome", "score", "score_max", "zones", "reason", "warnings"}
    assert keys | {"elapsed_s"} <= scored.keys()
    assert scored["score_max"] == 6
    assert [(zone["side"], zone["level"]) for zone in scored["zones"]] == [
        (side, level) for side in ("right", "left") for level in ("upper", "middle", "lower")
    ]
    assert scored["score"] == sum(zone["score"] for zone in scored["zones"])
    assert (hand["outcome"], hand["score"]) == ("not-eligible", None)

    broken = command(folder / "notes.txt", sample_films[0])
    assert broken.returncode == 1
    assert "Traceback" not in broken.stderr + broken.stdout
