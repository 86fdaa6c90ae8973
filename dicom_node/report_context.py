"""What every object of one report is built from, so that none can say something else than the others."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from pydicom.dataset import Dataset

from dicom_node import codes
from dicom_node.identity import MANUFACTURER, MODEL_NAME
from dicom_node.instance import derive_uid
from dicom_node.pixels import Radiograph
from dicom_node.prior import Change, ReportBasis
from dicom_node.report_settings import ReportSettings
from dicom_node.source_header import source_header
from models.result import Result, SeverityResult


@dataclass(frozen=True)
class ReportContext:
    """One radiograph's result, and how it is to be told."""

    radiograph: Radiograph
    result: Result
    settings: ReportSettings
    basis: ReportBasis

    @cached_property
    def header(self) -> Dataset:
        """Patient, study, equipment and image of the source, each attribute valid or empty."""
        return source_header(self.radiograph.dataset)

    @cached_property
    def moment(self) -> datetime:
        """When the result was made, in the zone of the study's own dates, without fraction and zone."""
        offset = self.header.get("TimezoneOffsetFromUTC")
        zone = datetime.strptime(offset, "%z").tzinfo if offset else None
        return self.basis.created_at.astimezone(zone).replace(tzinfo=None, microsecond=0)

    @cached_property
    def change(self) -> Change | None:
        """How the result differs from the latest comparable one of the same patient."""
        return self.basis.change(self.result) if isinstance(self.result, SeverityResult) else None

    @property
    def score_max(self) -> int:
        """Largest total of the scheme, also where there is no score."""
        if isinstance(self.result, SeverityResult):
            return self.result.score_max
        return codes.SCORE_MAX.get(self.result.algorithm.name, 6)

    def series_description(self, what: str) -> str:
        """Return a Series Description that tells the schemes apart where both stand in one list."""
        return f"Research: AI {'Brixia' if self.score_max == codes.BRIXIA_MAX else 'lung opacity'} {what}"

    @property
    def equipment(self) -> dict[str, Any]:
        """Who made the objects (PS3.3 C.7.5.1), as highdicom's constructors ask for it."""
        algorithm = self.result.algorithm
        return {
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": MODEL_NAME,
            "device_serial_number": algorithm.digest[:32],
            "software_versions": f"{algorithm.name} {algorithm.version}"[:64],
        }

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was assumed when reading or scoring, each once."""
        return tuple(dict.fromkeys(self.radiograph.warnings + self.result.warnings))

    def uid(self, kind: str) -> str:
        """Return the UID of one thing in or around this report, the same whenever it is built."""
        parts = (self.header.SOPInstanceUID, self.result.algorithm.digest, self.settings.digest, kind)
        return str(derive_uid(*parts, *filter(None, (self.basis.digest,))))
