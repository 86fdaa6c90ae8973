"""One result to the objects that are sent: built together, from one record, so they cannot disagree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO

from pydicom.dataset import Dataset

from dicom_node.instance import OBJECT_KINDS, ObjectKind, Report
from dicom_node.pixels import Radiograph
from dicom_node.presentation_state import build_presentation_state
from dicom_node.prior import ReportBasis
from dicom_node.report_context import ReportContext
from dicom_node.report_settings import ReportSettings
from dicom_node.secondary_capture import build_explanation_map, build_secondary_capture
from dicom_node.segmentation import build_segmentation
from dicom_node.structured_report import build_structured_report
from models.result import Result

__all__ = ["ReportBasis", "ReportSettings", "build_report"]

_BUILDERS: Mapping[ObjectKind, Callable[[ReportContext], Dataset]] = {
    "sr": build_structured_report,
    "sc": build_secondary_capture,
    "gsps": build_presentation_state,
    "seg": build_segmentation,
    "map": build_explanation_map,
}


def build_report(
    radiograph: Radiograph, result: Result, settings: ReportSettings, basis: ReportBasis
) -> Report:
    """Build the objects that tell the result of one radiograph.

    All UIDs are derived from the source's SOP Instance UID, the algorithm's digest, the settings'
    digest, what the report is built upon and the kind of object, so the same question has the same
    answer, byte for byte.

    Parameters
    ----------
    radiograph : Radiograph
        The image that was scored.
    result : SeverityResult or NotAssessable
        What was found, in the geometry of ``radiograph.pixels``.
    settings : ReportSettings
        What the destination wants; ``objects`` says what is built, as far as the result has it.
    basis : ReportBasis
        When the result was made, earlier results, and the report that this one replaces.

    Returns
    -------
    Report
        The objects as PS3.10 bytes.
    """
    context = ReportContext(radiograph, result, settings, basis)
    possible = settings.for_result(result).objects
    wanted = [kind for kind in OBJECT_KINDS if kind in possible]
    return Report({kind: _encode(_BUILDERS[kind](context)) for kind in wanted})


def _encode(instance: Dataset) -> bytes:
    buffer = BytesIO()
    instance.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
