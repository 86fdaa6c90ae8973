"""The results whose objects are kept: made up, on a drawn film, with fixed UIDs and dates.

Nothing here is random, comes from a clock, or goes through a network or a resampling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from dicom_node.instance import InstanceReference, Report
from dicom_node.pixels import Radiograph, read_dataset, read_radiograph
from dicom_node.prior import PriorResult, ReportBasis, ZoneFigures
from dicom_node.report import build_report
from dicom_node.report_settings import ReportSettings
from models.result import (
    ZONE_ORDER,
    AlgorithmId,
    Explanation,
    NotAssessable,
    NotAssessableReason,
    Result,
    SeverityResult,
    ZoneInvolvement,
)

ROWS, COLUMNS = 480, 400
_MOST = 4095
_CREATED_AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
_ALGORITHM = AlgorithmId(
    name="two-stage",
    version="1.0",
    weights={"lungs": "ab" * 32, "opacity": "cd" * 32},
    parameters={"involvement_threshold": "0.3", "score": "0-6, zones of equal area"},
)
_EVERYTHING = ReportSettings(objects=("sr", "sc", "gsps", "seg"))
_ALONE = ReportBasis(_CREATED_AT)


@dataclass(frozen=True)
class Case:
    """One result and how it is to be told."""

    result: Result
    settings: ReportSettings = _EVERYTHING
    basis: ReportBasis = _ALONE

    def build(self) -> Report:
        """Return its objects."""
        return build_report(film(), self.result, self.settings, self.basis)


@cache
def film() -> Radiograph:
    """Return a drawn chest: dark lungs, bright middle, 12 of 16 bits."""
    across = np.abs(np.arange(COLUMNS) - COLUMNS / 2) / (COLUMNS / 2)
    down = np.arange(ROWS) / ROWS
    grey = (2600 + 900 * down[:, None] - 700 * across[None, :]).astype(np.uint16)
    for side in (-1, 1):
        grey[_lung(side)] -= 1500
    dataset = Dataset()
    for keyword, value in _header().items():
        setattr(dataset, keyword, value)
    dataset.Rows, dataset.Columns = grey.shape
    dataset.PixelData = grey.tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    encoded = BytesIO()
    dataset.save_as(encoded, enforce_file_format=True)
    return read_radiograph(read_dataset(encoded.getvalue()))


def _header() -> dict[str, object]:
    return {
        "SOPClassUID": uid.DigitalXRayImageStorageForPresentation,
        "SOPInstanceUID": "2.25.1001",
        "StudyInstanceUID": "2.25.1002",
        "SeriesInstanceUID": "2.25.1003",
        "SpecificCharacterSet": "ISO_IR 192",
        "StudyDate": "20260303",
        "StudyTime": "101112",
        "AcquisitionDate": "20260303",
        "AcquisitionTime": "101010",
        "AccessionNumber": "A-1",
        "Modality": "DX",
        "PresentationIntentType": "FOR PRESENTATION",
        "Manufacturer": "Drawn",
        "ReferringPhysicianName": "Referrer^Drawn",
        "StudyDescription": "Thorax p.a.",
        "PatientName": "Muster^Grün=山田^太郎",
        "PatientID": "P-1",
        "IssuerOfPatientID": "GOLDEN",
        "PatientBirthDate": "19700102",
        "PatientSex": "F",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "ImagerPixelSpacing": ["0.8", "0.8"],
        "StudyID": "S1",
        "PatientOrientation": ["L", "F"],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "WindowCenter": "2048",
        "WindowWidth": "4096",
        "BurnedInAnnotation": "NO",
    }


def _lung(side: int) -> NDArray[np.bool_]:
    """Return an ellipse: -1 the patient's right lung (left in the image), 1 the left."""
    row, column = np.ogrid[:ROWS, :COLUMNS]
    centre = (ROWS * 0.48, COLUMNS * (0.5 + 0.22 * side))
    inside = ((row - centre[0]) / (0.32 * ROWS)) ** 2 + ((column - centre[1]) / (0.15 * COLUMNS)) ** 2
    return np.asarray(inside <= 1)


def _severity(shares: tuple[float, ...], score_max: int = 6) -> SeverityResult:
    """Return a result whose zones are opacified from their top row down, by the shares given."""
    zone_map = np.zeros((ROWS, COLUMNS), np.uint8)
    for first, side in ((1, -1), (4, 1)):
        lung = _lung(side)
        rows = np.flatnonzero(lung.any(axis=1))
        for level, part in enumerate(np.array_split(rows, 3)):
            zone_map[part] += lung[part] * np.uint8(first + level)
    opacity = np.zeros((ROWS, COLUMNS), np.bool_)
    zones = []
    for index, ((side_of, level_of), share) in enumerate(zip(ZONE_ORDER, shares, strict=True)):
        places = np.flatnonzero(zone_map == index + 1)
        covered = places[: round(share * places.size)]
        opacity.flat[covered] = True
        points = int(share > 0.3) if score_max == 6 else int(np.ceil(3 * share))
        zones.append(ZoneInvolvement(side_of, level_of, places.size, covered.size, points))
    return SeverityResult(
        algorithm=_ALGORITHM,
        score=sum(zone.score for zone in zones),
        score_max=score_max,
        zones=tuple(zones),
        zone_map=zone_map,
        opacity_mask=opacity,
    )


def _prior(number: int, month: int, scores: tuple[int, ...]) -> PriorResult:
    return PriorResult(
        sop_instance_uid=f"2.25.20{number}",
        acquired_at=datetime(2025, month, 10 + number, 8, 30),
        algorithm=_ALGORITHM.name,
        version=_ALGORITHM.version,
        digest=_ALGORITHM.digest,
        score=sum(scores),
        score_max=6,
        percent=round(sum(scores) * 11.7, 1),
        zones=tuple(ZoneFigures(score, score * 61.5) for score in scores),
        report=_reference(f"2.25.30{number}"),
    )


def _reference(sop_instance_uid: str) -> InstanceReference:
    return InstanceReference(
        sop_class_uid=str(uid.ComprehensiveSRStorage),
        sop_instance_uid=sop_instance_uid,
        series_instance_uid=f"{sop_instance_uid}.1",
        study_instance_uid=f"{sop_instance_uid}.2",
    )


def _without_zone(result: SeverityResult, index: int) -> SeverityResult:
    zones = list(result.zones)
    zones[index] = replace(zones[index], area_px=0, opacity_area_px=0, score=0)
    zone_map = np.where(result.zone_map == index + 1, 0, result.zone_map).astype(np.uint8)
    return replace(
        result,
        zones=tuple(zones),
        score=sum(zone.score for zone in zones),
        zone_map=zone_map,
        opacity_mask=result.opacity_mask & (zone_map > 0),
    )


def _not_assessable(reason: NotAssessableReason, message: str, mask: NDArray[np.bool_]) -> NotAssessable:
    return NotAssessable(algorithm=_ALGORITHM, reason=reason, message=message, lung_mask=mask)


def _explained(result: SeverityResult) -> SeverityResult:
    """Let the lower right zone speak for 3 points, the middle one half as much for 2, others for nothing."""
    maps = np.zeros((3, ROWS, COLUMNS), np.float32)
    maps[1][result.zone_map == 2] = 0.5
    maps[2][result.zone_map == 3] = 1.0
    facts = {"superpixels": "quick shift", "occlusions": "97", "largest_drop": "0.4321"}
    algorithm = replace(
        _ALGORITHM,
        name="bs-net",
        weights={"network": "ef" * 32},
        parameters={"score": "Brixia, 0-18"},
        licence="CC BY-NC-SA 4.0: research, not commercial, share alike",
    )
    return replace(
        result,
        algorithm=algorithm,
        opacity_mask=np.zeros((ROWS, COLUMNS), np.bool_),
        zones=tuple(
            replace(zone, opacity_area_px=0, confidence=0.4 + k / 10) for k, zone in enumerate(result.zones)
        ),
        explanation=Explanation(maps, facts),
    )


_HALF = _severity((0.1, 0.456, 0.7, 0.0, 0.29, 1.0))
_WARNED = replace(_HALF, warnings=("the lungs touched each other in the image and were separated by force",))
_PRIORS = (
    _prior(1, 10, (0, 0, 0, 0, 0, 0)),
    _prior(2, 11, (0, 0, 1, 0, 0, 0)),
    _prior(3, 12, (0, 0, 1, 0, 0, 1)),
)

CASES: Mapping[str, Case] = {
    "score-0": Case(_severity((0.0,) * 6)),
    "score-3": Case(_HALF),
    "score-6": Case(_severity((1.0, 0.95, 0.9, 0.8, 0.7, 0.6)), replace(_EVERYTHING, grade_severity=True)),
    "brixia-11": Case(_severity((0.3, 0.6, 1.0, 0.0, 0.5, 0.9), 18)),
    "brixia-11-explained": Case(
        _explained(_severity((0.3, 0.6, 1.0, 0.0, 0.5, 0.9), 18)),
        replace(_EVERYTHING, objects=("sr", "sc", "map")),
    ),
    "zone-without-area": Case(_without_zone(_WARNED, 3)),
    "not-assessable": Case(
        _not_assessable(
            NotAssessableReason.NO_LUNGS,
            "No lungs were found on this image.",
            np.zeros((ROWS, COLUMNS), np.bool_),
        )
    ),
    "one-lung": Case(
        _not_assessable(
            NotAssessableReason.ONE_LUNG,
            "Only one lung was found; it covers 15 % of the image.",
            _lung(-1),
        )
    ),
    "with-prior": Case(_HALF, basis=ReportBasis(_CREATED_AT, priors=_PRIORS)),
    "with-predecessor": Case(
        _HALF, basis=ReportBasis(_CREATED_AT, priors=_PRIORS[:1], predecessor=_reference("2.25.401"))
    ),
    "comprehensive-3d-monochrome": Case(
        _HALF, replace(_EVERYTHING, sr_class="comprehensive-3d", capture="monochrome")
    ),
    "enhanced": Case(_HALF, replace(_EVERYTHING, sr_class="enhanced", objects=("sr",))),
}
