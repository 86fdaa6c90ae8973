"""Scoring files without a node: DICOM, PNG or JPEG in; records, reports and pictures out."""

from __future__ import annotations

import csv
import hashlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import DicomNodeError, NotEligible
from dicom_node.report import ReportBasis, ReportSettings, build_report
from dicom_node.secondary_capture import render_overlay
from models.result import ZONE_ORDER
from worker.errors import WorkerError
from worker.pipeline import assess, describe
from worker.stages import Scorer
from worker.summary import refuse, summarise

if TYPE_CHECKING:
    from dicom_node.pixels import Radiograph
    from models.result import Result

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
"""For research: such files carry no header, so view, side and identity are the user's to know."""


class UnreadableFile(WorkerError):
    """A file cannot be opened or is no picture."""


@dataclass(frozen=True)
class OfflineResult:
    """One file's record, ready for JSON, with the path it came from."""

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


def score_files(files: Iterable[Path], scorer: Scorer, out: Path | None = None) -> Iterator[OfflineResult]:
    """Score file after file; one file's trouble becomes its record and ends nothing else.

    Parameters
    ----------
    files : Iterable of pathlib.Path
        DICOM files, or pictures by their suffix.
    scorer : Scorer
        The algorithm.
    out : pathlib.Path, optional
        Folder for ``NAME.sr.dcm``, ``NAME.sc.dcm`` and ``NAME.png`` of each image; pictures get the PNG only.

    Yields
    ------
    OfflineResult
        In the order of ``files``.
    """
    taken: set[str] = set()
    for path in files:
        try:
            record = _score_file(path, scorer, out, taken)
        except NotEligible as refusal:
            record = refuse(None, "not-eligible", refusal.reason, refusal.message)
        except (DicomNodeError, WorkerError) as error:
            record = refuse(None, "error", "unreadable", str(error))
        except Exception as error:
            record = refuse(None, "error", "scoring-error", f"unexpected {describe(error)}")
        yield OfflineResult(path, record)


def write_csv(results: Iterable[OfflineResult], path: Path) -> None:
    """Write one line per image: path, outcome, score, and fraction and score of every zone.

    Raises
    ------
    UnreadableFile
        When the file cannot be written.
    """
    zones = [f"{side}_{level}" for side, level in ZONE_ORDER]
    names = ["path", "sop_instance_uid", "algorithm", "outcome", "score", "score_max", "reason", "message"]
    columns = [*names, *(f"{zone}_{what}" for zone in zones for what in ("fraction", "score"))]
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            for result in results:
                row = {name: result.record[name] for name in names[1:]} | {"path": str(result.path)}
                for zone in result.record["zones"]:
                    for what in ("fraction", "score"):
                        row[f"{zone['side']}_{zone['level']}_{what}"] = zone[what]
                writer.writerow(row)
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


def _score_file(path: Path, scorer: Scorer, out: Path | None, taken: set[str]) -> dict[str, Any]:
    started = time.monotonic()
    try:
        if path.suffix.lower() in PICTURE_SUFFIXES:
            pixels, radiograph = read_picture(path), None
            result = scorer.score(pixels)
            uid = None
        else:
            radiograph, result = assess(path.read_bytes(), scorer)
            pixels, uid = radiograph.pixels, str(radiograph.dataset.SOPInstanceUID)
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read ({error.strerror}): check path and rights") from None
    noted = () if radiograph is None else radiograph.warnings
    record = summarise(uid, result, noted, time.monotonic() - started)
    if out is not None:
        _write_out(_free_name(path, taken), out, pixels, radiograph, result)
    return record


def _free_name(path: Path, taken: set[str]) -> str:
    name = path.stem
    if name in taken:
        name = f"{name}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    taken.add(name)
    return name


def _write_out(
    name: str, out: Path, pixels: NDArray[np.float32], radiograph: Radiograph | None, result: Result
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    rgb = render_overlay(pixels, result)
    cv2.imwrite(str(out / f"{name}.png"), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    if radiograph is not None:
        report = build_report(radiograph, result, ReportSettings(), ReportBasis(datetime.now(UTC)))
        for kind, encoded in report.instances.items():
            (out / f"{name}.{kind}.dcm").write_bytes(encoded)
