"""Studies as a PACS holds them after the worker: a real film, and what was made of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread

from dicom_node.instance import OBJECT_KINDS, derive_uid
from dicom_node.pixels import read_radiograph
from dicom_node.prior import PriorResult, ReportBasis, ZoneFigures, acquired_at, figures_of
from dicom_node.report import ReportSettings, build_report
from models.result import NotAssessable, NotAssessableReason, Result, SeverityResult
from models.severity import SeverityScorer

CREATED_AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@dataclass(frozen=True)
class Study:
    """One film's study: ``objects`` by kind, as data sets, ``film`` among them."""

    name: str
    result: Result
    files: tuple[bytes, ...]
    objects: dict[str, Dataset]

    @property
    def uid(self) -> str:
        return str(self.objects["film"].StudyInstanceUID)

    def description(self, kind: str) -> str:
        return str(self.objects[kind].SeriesDescription)


def build_studies(films: Path, scorer: SeverityScorer) -> dict[str, Study]:
    """Build every study that the viewers are shown, by name."""
    plain, full = ReportSettings(), ReportSettings(objects=OBJECT_KINDS)
    third = ReportSettings(sr_class="comprehensive-3d", capture="monochrome")
    made = [
        _study("severe", films / "severe_film.dcm", scorer, full),
        _study("score 0", films / "normal_film.dcm", scorer, plain),
        _study("with priors", films / "demo_film.dcm", scorer, plain, priors=True),
        _study("not assessable", films / "demo_film.dcm", scorer, full, assessable=False),
        _study("3D and grey", films / "severe_film.dcm", scorer, third),
        _study("enhanced", films / "severe_film.dcm", scorer, ReportSettings(sr_class="enhanced")),
    ]
    return {study.name: study for study in made}


def renamed(path: Path, name: str) -> tuple[Dataset, bytes]:
    """Return a film as that of another patient, in a study of its own, and as a PS3.10 file."""
    film = dcmread(path)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(film, keyword, str(derive_uid(name, film[keyword].value)))
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    film.PatientID = film.AccessionNumber = name.upper().replace(" ", "-")[:16]
    buffer = BytesIO()
    film.save_as(buffer, enforce_file_format=True)
    return film, buffer.getvalue()


def _study(
    name: str,
    path: Path,
    scorer: SeverityScorer,
    settings: ReportSettings,
    *,
    priors: bool = False,
    assessable: bool = True,
) -> Study:
    film, content = renamed(path, name)
    radiograph = read_radiograph(film)
    result = scorer.score(radiograph.pixels)
    assert isinstance(result, SeverityResult)
    if name == "score 0":
        assert result.score == 0, "the film without findings is scored 0"
    earlier = _priors(film, result) if priors else ()
    told: Result = result if assessable else _not_assessable(result)
    report = build_report(radiograph, told, settings, ReportBasis(CREATED_AT, earlier))
    files = (content, *report.instances.values())
    objects = {kind: dcmread(BytesIO(encoded)) for kind, encoded in report.instances.items()}
    return Study(name, told, files, {"film": film, **objects})


def _not_assessable(result: SeverityResult) -> NotAssessable:
    message = "Only one lung can be found: its area is 31 % of the picture, at least two are expected."
    right = (result.zone_map > 0) & (result.zone_map < 4)
    return NotAssessable(result.algorithm, NotAssessableReason.ONE_LUNG, message, right)


def _priors(film: Dataset, result: SeverityResult) -> tuple[PriorResult, ...]:
    """Three earlier results of the same scorer: worse, then better, each some days apart."""
    taken = acquired_at(film)
    assert taken is not None
    figures = figures_of(result)
    priors = []
    for days, score in ((30, 1), (20, 6), (10, 4)):
        zones = tuple(
            ZoneFigures(int(index < score), None if zone.percent is None else min(zone.percent + 5, 100.0))
            for index, zone in enumerate(figures)
        )
        priors.append(
            PriorResult(
                sop_instance_uid=str(derive_uid("prior", str(days))),
                acquired_at=taken - timedelta(days=days),
                algorithm=result.algorithm.name,
                version=result.algorithm.version,
                digest=result.algorithm.digest,
                score=score,
                score_max=result.score_max,
                percent=round(min(result.percent + 5, 100.0), 1),
                zones=zones,
            )
        )
    return tuple(priors)


def as_rgb(capture: Dataset) -> Any:
    """Return an SC's picture: uint8, shape (rows, columns, 3)."""
    pixels = capture.pixel_array
    return pixels if pixels.ndim == 3 else pixels[..., None].repeat(3, axis=2)
