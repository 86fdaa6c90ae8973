"""One result to the two objects that are sent: built together, from one record, so they cannot disagree."""

from __future__ import annotations

from datetime import datetime
from io import BytesIO

from pydicom.dataset import Dataset

from dicom_node.instance import Report
from dicom_node.pixels import Radiograph
from dicom_node.report_settings import ReportSettings
from dicom_node.secondary_capture import build_secondary_capture
from dicom_node.structured_report import build_structured_report
from models.result import Result

__all__ = ["ReportSettings", "build_report"]


def build_report(
    radiograph: Radiograph, result: Result, settings: ReportSettings, created_at: datetime
) -> Report:
    """Build Structured Report and Secondary Capture of one radiograph.

    All UIDs are derived from the source's SOP Instance UID, the algorithm's digest, the settings'
    digest and the kind of object, so the same question has the same answer, byte for byte.

    Parameters
    ----------
    radiograph : Radiograph
        The image that was scored.
    result : SeverityResult or NotAssessable
        What was found, in the geometry of ``radiograph.pixels``.
    settings : ReportSettings
        What the destination wants.
    created_at : datetime.datetime
        Aware: when the result was made.

    Returns
    -------
    Report
        Both objects as PS3.10 bytes, explicit VR little endian.
    """
    return Report(
        structured_report=_encode(build_structured_report(radiograph, result, settings, created_at)),
        secondary_capture=_encode(build_secondary_capture(radiograph, result, settings, created_at)),
    )


def _encode(instance: Dataset) -> bytes:
    buffer = BytesIO()
    instance.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
