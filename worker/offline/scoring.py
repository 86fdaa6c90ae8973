"""Scoring files without a node: DICOM, PNG or JPEG in; records, reports and pictures out."""

from __future__ import annotations

import csv
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import DicomNodeError, NotEligible
from dicom_node.prior import PriorResult, ReportBasis, acquired_at, prior_of
from models.result import ZONE_ORDER, SeverityResult
from worker.errors import WorkerError
from worker.offline.series import PICTURE_SUFFIXES, Film, by_patient
from worker.pipeline import describe, read_film
from worker.priors import MOST
from worker.stages import Scorer
from worker.summary import refuse, summarise

if TYPE_CHECKING:
    from dicom_node.pixels import Radiograph
    from worker.offline.output_folder import OutputFolder

_ZONES = tuple(f"{side}_{level}" for side, level in ZONE_ORDER)
_FOUND = (
    *("sop_instance_uid", "acquired_at", "algorithm", "outcome", "score", "score_max", "fraction"),
    *("reason", "message"),
)
_FIGURES = ("fraction", "score")


class UnreadableFile(WorkerError):
    """A file cannot be opened or is no picture."""


@dataclass(frozen=True)
class OfflineResult:
    """What one algorithm found in one file, ready for JSON, with the path it came from."""

    path: Path
    record: dict[str, Any]


def find_files(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return the files among ``paths`` and in the folders among them, sorted within each folder.

    Hidden files and DICOMDIR are left out of folders; a file that is named is always taken.

    Raises
    ------
    UnreadableFile
        When a path does not exist.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(
                child
                for child in path.rglob("*")
                if child.is_file() and not child.name.startswith(".") and child.name != "DICOMDIR"
            )
        elif path.exists():
            found.append(path)
        else:
            raise UnreadableFile(f"{path} does not exist: check the path")
    return tuple(dict.fromkeys(found))


def score_files(
    files: Iterable[Path], scorers: Sequence[Scorer], out: OutputFolder | None = None
) -> Iterator[tuple[OfflineResult, ...]]:
    """Score file after file; one file's trouble becomes its record and ends nothing else.

    Films of one patient, told by Patient ID, issuer and birth date, are scored in the order in which they
    were taken, and an algorithm's results of the earlier ones are its priors of the later ones.

    Parameters
    ----------
    files : Iterable of pathlib.Path
        DICOM files, or pictures by their suffix.
    scorers : Sequence of Scorer
        The algorithms.
    out : OutputFolder, optional
        Where reports and pictures go.

    Yields
    ------
    tuple of OfflineResult
        For each of ``files`` in order, what each algorithm found; one record alone where none could look.
    """
    ahead: dict[int, tuple[OfflineResult, ...]] = {}
    due = 0
    for films in by_patient(files):
        for film, records in _score_patient(films, scorers, out):
            ahead[film.position] = tuple(OfflineResult(film.path, record) for record in records)
            while due in ahead:
                yield ahead.pop(due)
                due += 1


def write_csv(results: Iterable[OfflineResult], path: Path) -> None:
    """Write one line per image and algorithm: path, outcome, score, figures of every zone, and their change.

    Raises
    ------
    UnreadableFile
        When the file cannot be written.
    """
    zones = [f"{zone}_{what}" for zone in _ZONES for what in _FIGURES]
    confidences = [f"{zone}_confidence" for zone in _ZONES]
    change = ["change_since", *(f"{name}_change" for name in ("score", "fraction", *zones))]
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["path", *_FOUND, *zones, *change, *confidences])
            writer.writeheader()
            for result in results:
                writer.writerow({"path": str(result.path), **_csv_row(result.record)})
    except OSError as error:
        raise UnreadableFile(
            f"{path} cannot be written ({error.strerror}): check folder and rights"
        ) from None


def read_picture(path: Path) -> NDArray[np.float32]:
    """Return a PNG or JPEG as pixels: float32, shape (rows, columns), in [0, 1].

    Raises
    ------
    UnreadableFile
        When it is no picture.
    """
    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    if picture is None:
        raise UnreadableFile(f"{path.name} is not a picture that can be read: check the file")
    white = 255.0 if picture.dtype == np.uint8 else 65535.0
    return np.asarray(picture, np.float32) / np.float32(white)


def _csv_row(record: Mapping[str, Any]) -> dict[str, Any]:
    row = {name: record[name] for name in _FOUND} | _zones_in_columns(record["zones"])
    row |= {f"{zone['side']}_{zone['level']}_confidence": zone["confidence"] for zone in record["zones"]}
    change = record["change"]
    if change is None:
        return row
    differences = {name: change[name] for name in _FIGURES} | _zones_in_columns(change["zones"])
    return (
        row
        | {"change_since": change["since"]}
        | {f"{name}_change": value for name, value in differences.items()}
    )


def _zones_in_columns(zones: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {f"{zone['side']}_{zone['level']}_{what}": zone[what] for zone in zones for what in _FIGURES}


def _score_patient(
    films: Iterable[Film], scorers: Sequence[Scorer], out: OutputFolder | None
) -> Iterator[tuple[Film, list[dict[str, Any]]]]:
    """Score films of one patient, oldest first; of one moment, none is another's prior."""
    known: dict[str, dict[str, PriorResult]] = defaultdict(dict)
    for film in films:
        at = film.acquired_at
        started = time.monotonic()
        try:
            source = _open(film.path)
        except NotEligible as refusal:
            yield film, [refuse(None, "not-eligible", refusal.reason, refusal.message)]
            continue
        except Exception as error:
            yield film, [_trouble(error)]
            continue
        reading_s = time.monotonic() - started
        records = []
        for scorer in scorers:
            mine = known[scorer.algorithm.name]
            priors = [prior for prior in mine.values() if at is not None and prior.acquired_at < at]
            task = _Task(film.path, source, tuple(priors[-MOST:]), reading_s)
            record, told = _score(task, scorer, out)
            if told is not None:
                mine.setdefault(told.sop_instance_uid, told)
            records.append(record)
        yield film, records


@dataclass(frozen=True)
class _Task:
    """A film to be scored: a radiograph, or the pixels of a picture that has no header."""

    path: Path
    source: Radiograph | NDArray[np.float32]
    priors: tuple[PriorResult, ...]
    reading_s: float


def _open(path: Path) -> Radiograph | NDArray[np.float32]:
    try:
        return read_picture(path) if path.suffix.lower() in PICTURE_SUFFIXES else read_film(path.read_bytes())
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read ({error.strerror}): check path and rights") from None


def _score(
    task: _Task, scorer: Scorer, out: OutputFolder | None
) -> tuple[dict[str, Any], PriorResult | None]:
    """Return one algorithm's record of a film, and what later films compare with."""
    try:
        if isinstance(task.source, np.ndarray):
            return _score_picture(task, task.source, scorer, out), None
        return _score_film(task, task.source, scorer, out)
    except Exception as error:
        return _trouble(error, scorer.algorithm.name), None


def _score_picture(
    task: _Task, pixels: NDArray[np.float32], scorer: Scorer, out: OutputFolder | None
) -> dict[str, Any]:
    started = time.monotonic()
    result = scorer.score(pixels)
    record = summarise(None, result, (), task.reading_s + time.monotonic() - started)
    if out is not None:
        out.write_picture(task.path, pixels, result)
    return record


def _score_film(
    task: _Task, radiograph: Radiograph, scorer: Scorer, out: OutputFolder | None
) -> tuple[dict[str, Any], PriorResult | None]:
    started = time.monotonic()
    result = scorer.score(radiograph.pixels)
    uid, at = str(radiograph.dataset.SOPInstanceUID), acquired_at(radiograph.dataset)
    basis = ReportBasis(datetime.now(UTC), task.priors)
    elapsed_s = task.reading_s + time.monotonic() - started
    record = summarise(uid, result, radiograph.warnings, elapsed_s, acquired_at=at, basis=basis)
    report = None if out is None else out.write_report(task.path, radiograph, result, basis)
    if at is None or not isinstance(result, SeverityResult):
        return record, None
    return record, prior_of(uid, at, result, report)


def _trouble(error: Exception, algorithm: str | None = None) -> dict[str, Any]:
    if isinstance(error, DicomNodeError | WorkerError):
        return refuse(None, "error", "unreadable", str(error), algorithm)
    return refuse(None, "error", "scoring-error", f"unexpected {describe(error)}", algorithm)
