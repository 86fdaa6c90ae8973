"""``cxr-worker score``: files and folders, table, JSON, CSV, reports, exit codes."""

from __future__ import annotations

import csv
import json
import random
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, generate_uid

from dicom_node.report_settings import ReportSettings
from models.result import ZONE_ORDER, AlgorithmId, Result, SeverityResult, ZoneInvolvement
from worker.errors import SettingsError
from worker.offline import (
    OfflineResult,
    UnreadableFile,
    find_files,
    read_picture,
    score_files,
    write_csv,
)
from worker.offline.output_folder import OutputFolder, UnwritableFile, open_output
from worker.offline.series import by_patient
from worker.priors import MOST


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


def score_all(files: Iterable[Path], *arguments: Any) -> list[OfflineResult]:
    return [result for results in score_files(files, *arguments) for result in results]


def by_name(results: Iterable[OfflineResult], folder: Path) -> dict[str, dict[str, Any]]:
    return {str(result.path.relative_to(folder)): result.record for result in results}


def test_each_file_gets_its_own_outcome(folder: Path, fixed_scorer: Any) -> None:
    records = by_name(score_all(find_files([folder]), [fixed_scorer]), folder)
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
    score_all(find_files([folder]), [fixed_scorer], OutputFolder(out, ReportSettings()))
    assert {path.suffixes[-1] for path in out.iterdir()} == {".dcm", ".png"}
    assert len(list(out.glob("film*.sr.dcm"))) == len(list(out.glob("film*.sc.dcm"))) == 2
    assert (out / "picture.png").exists()
    assert not list(out.glob("picture*.dcm"))
    assert dcmread(out / "film.sr.dcm").Modality == "SR"


def test_csv_has_a_line_an_image(folder: Path, fixed_scorer: Any, tmp_path: Path) -> None:
    results = score_all(find_files([folder]), [fixed_scorer])
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


SCORES_GREY = AlgorithmId("two-stage", "test", {"opacity": "0" * 64}, {})


@dataclass
class GreyScorer:
    """As many zones are opaque as there are bright ones among the first six pixels."""

    algorithm: AlgorithmId = SCORES_GREY

    def score(self, pixels: NDArray[np.float32]) -> Result:
        score = int((pixels[0, :6] > 0.5).sum())
        zone_map = np.zeros(pixels.shape, np.uint8)
        rows, columns = pixels.shape[0] // 3, pixels.shape[1] // 2
        for k in range(6):
            side, level = divmod(k, 3)
            zone_map[level * rows : (level + 1) * rows, side * columns : (side + 1) * columns] = k + 1
        area = rows * columns
        zones = tuple(
            ZoneInvolvement(side, level, area, area * (k < score), int(k < score))
            for k, (side, level) in enumerate(ZONE_ORDER)
        )
        opacity = (zone_map > 0) & (zone_map <= score)
        return SeverityResult(self.algorithm, score, 6, zones, zone_map, opacity)


SIDE_PX = 300


@pytest.fixture
def write_film(tmp_path: Path, make_film: Callable[..., bytes]) -> Callable[..., Path]:
    """Write a film that ``GreyScorer`` gives a score: ``write_film(name, score, Keyword=value, ...)``."""

    def write(name: str, score: int, **keywords: Any) -> Path:
        pixels = np.full((SIDE_PX, SIDE_PX), 4095, np.uint16)
        pixels[0, score:] = 0
        content = {"Rows": SIDE_PX, "Columns": SIDE_PX, "PixelData": pixels.tobytes()}
        path = tmp_path / "series" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(make_film(**content, **keywords))
        return path

    return write


def scores(results: Sequence[OfflineResult]) -> list[tuple[str, int, int | None]]:
    changes = (result.record["change"] for result in results)
    return [
        (result.path.name, result.record["score"], change and change["score"])
        for result, change in zip(results, changes, strict=True)
    ]


def test_films_of_one_patient_are_compared_in_the_order_of_acquisition(
    write_film: Callable[..., Path], tmp_path: Path
) -> None:
    write_film("a.dcm", 5, StudyDate="20260109")
    write_film("b.dcm", 3, StudyDate="20260101")
    write_film("c.dcm", 1, StudyDate="20260105", PatientID="SOMEBODY ELSE")
    write_film("d.dcm", 2, StudyDate="20260103")
    write_film("e.dcm", 2, StudyDate="20260120", IssuerOfPatientID="ANOTHER HOSPITAL")
    write_film("f.dcm", 2, StudyDate="20260120", PatientBirthDate="19700101")
    write_film("g.dcm", 2, StudyDate=None, StudyTime=None)
    write_film("h.dcm", 2, StudyDate="20260120", PatientID="")
    out = tmp_path / "out"
    files = find_files([tmp_path / "series"])
    results = score_all(files, [GreyScorer()], OutputFolder(out, ReportSettings(objects=("sr",))))
    assert scores(results) == [
        ("a.dcm", 5, 3),
        ("b.dcm", 3, None),
        ("c.dcm", 1, None),
        ("d.dcm", 2, -1),
        *((f"{name}.dcm", 2, None) for name in "efgh"),
    ]
    latest = results[0].record
    assert latest["acquired_at"] == "2026-01-09T12:00:00"
    assert [(prior["acquired_at"], prior["score"]) for prior in latest["priors"]] == [
        ("2026-01-01T12:00:00", 3),
        ("2026-01-03T12:00:00", 2),
    ]
    assert latest["change"]["since"] == "2026-01-03T12:00:00"
    assert [zone["fraction"] for zone in latest["change"]["zones"]] == [0, 0, 1, 1, 1, 0]
    # What a report is compared with is part of its identity.
    alone = tmp_path / "alone"
    score_all(files[:2], [GreyScorer()], OutputFolder(alone, ReportSettings(objects=("sr",))))
    same = [
        dcmread(alone / f"{name}.sr.dcm").SOPInstanceUID == dcmread(out / f"{name}.sr.dcm").SOPInstanceUID
        for name in "ab"
    ]
    assert same == [False, True]


def test_copies_and_films_of_one_moment_are_not_their_own_priors(
    write_film: Callable[..., Path], tmp_path: Path
) -> None:
    same = generate_uid(prefix=None)
    write_film("a.dcm", 1, SOPInstanceUID=same)
    write_film("b.dcm", 1, SOPInstanceUID=same)
    write_film("c.dcm", 4)
    write_film("d.dcm", 2, StudyDate="20260301")
    results = score_all(find_files([tmp_path / "series"]), [GreyScorer()])
    assert [len(result.record["priors"]) for result in results] == [0, 0, 0, 2]


def test_the_latest_priors_are_told_and_no_more(write_film: Callable[..., Path], tmp_path: Path) -> None:
    for day in range(1, MOST + 4):
        write_film(f"{day:02}.dcm", day % 7, StudyDate=f"202601{day:02}")
    *_, last = score_all(find_files([tmp_path / "series"]), [GreyScorer()])
    told = [prior["acquired_at"][8:10] for prior in last.record["priors"]]
    assert told == [f"{day:02}" for day in range(3, MOST + 3)]


def test_a_film_without_a_score_is_nobodys_prior(
    write_film: Callable[..., Path], make_film: Callable[..., bytes], tmp_path: Path
) -> None:
    write_film("a.dcm", 1)
    write_film("b.dcm", 2, StudyDate="20260102", BodyPartExamined="HAND")
    (tmp_path / "series" / "c.dcm").write_bytes(make_film(StudyDate="20260103")[:700])
    write_film("d.dcm", 3, StudyDate="20260104")
    results = score_all(find_files([tmp_path / "series"]), [GreyScorer()])
    outcomes = [result.record["outcome"] for result in results]
    assert outcomes == ["scored", "not-eligible", "not-eligible", "scored"]
    assert results[-1].record["change"]["since"] == "2026-01-01T12:00:00"


def test_another_algorithm_is_told_and_not_compared(write_film: Callable[..., Path], tmp_path: Path) -> None:
    write_film("a.dcm", 1)
    write_film("b.dcm", 2, StudyDate="20260102")

    class Alternating(GreyScorer):
        def score(self, pixels: NDArray[np.float32]) -> Result:
            result = super().score(pixels)
            assert isinstance(result, SeverityResult)
            if result.score == 1:
                return replace(result, algorithm=replace(result.algorithm, name="another"))
            return result

    _, later = score_all(find_files([tmp_path / "series"]), [Alternating()])
    assert [prior["algorithm"] for prior in later.record["priors"]] == ["another"]
    assert later.record["change"] is None


def test_headers_that_are_long_deflated_or_damaged(write_film: Callable[..., Path], tmp_path: Path) -> None:
    long = write_film("long.dcm", 1, StudyComments=None, StudyDate="20260101")
    dataset = dcmread(long)
    dataset.add_new(0x00090010, "LO", "MAKER")
    dataset.add_new(0x00091001, "OB", bytes(1 << 19))
    dataset.save_as(long)
    deflated = write_film(
        "deflated.dcm", 1, StudyDate="20260102", transfer_syntax=DeflatedExplicitVRLittleEndian
    )
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(long.read_bytes()[:400])
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"no picture")
    missing = tmp_path / "missing.dcm"
    groups = by_patient([deflated, cut, picture, missing, long])
    assert [[film.path for film in films] for films in groups] == [
        [long, deflated],
        [cut],
        [picture],
        [missing],
    ]


def test_memory_stays_small_for_many_files(write_film: Callable[..., Path], tmp_path: Path) -> None:
    film = write_film("film.dcm", 1)
    days = [f"2026{month:02}{day:02}" for month in range(1, 13) for day in range(1, 28)]
    random.Random(1).shuffle(days)
    encoded = film.read_bytes()
    for number, day in enumerate(days):
        content = encoded.replace(b"20260101", day.encode())
        (film.parent / f"{number:04}.dcm").write_bytes(
            content.replace(b"SYNTHETIC", b"P%08d" % (number // 5))
        )
    files = find_files([film.parent])
    score_all(files[:5], [GreyScorer()])
    tracemalloc.start()
    for _ in score_files(files, [GreyScorer()]):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30 * film.stat().st_size


def test_objects_are_chosen_by_kind(write_film: Callable[..., Path], tmp_path: Path) -> None:
    film, out = write_film("film.dcm", 1), tmp_path / "out"
    score_all([film], [GreyScorer()], open_output(out, "SC", grade_severity=False))
    assert {path.name for path in out.iterdir()} == {"film.png", "film.sc.dcm"}
    for wrong in ("sr,sx", ",", ""):
        with pytest.raises(SettingsError, match="sr, sc, gsps, seg"):
            open_output(out, wrong, grade_severity=False)


def test_a_folder_that_cannot_be_written_is_told(write_film: Callable[..., Path], tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    film = write_film("film.dcm", 1)
    (result,) = score_all([film], [GreyScorer()], OutputFolder(blocked / "out", ReportSettings()))
    assert result.record["outcome"] == "error"
    assert "cannot be written" in result.record["message"]
    assert issubclass(UnwritableFile, Exception)


def test_csv_tells_the_change(write_film: Callable[..., Path], tmp_path: Path) -> None:
    write_film("a.dcm", 1)
    write_film("b.dcm", 2, StudyDate="20260102")
    write_csv(score_all(find_files([tmp_path / "series"]), [GreyScorer()]), tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    names = ["change_since", "score_change", "fraction_change", "right_middle_fraction_change"]
    assert [first[name] for name in names] == [""] * 4
    assert [second[name] for name in names] == ["2026-01-01T12:00:00", "1", "0.166", "1.0"]
    assert (second["right_middle_score_change"], second["left_lower_score_change"]) == ("1", "0")


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
