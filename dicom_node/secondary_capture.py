"""A result, or what it rests on, to a picture that every archive can show: a Secondary Capture Image.

What is drawn, and why so, says ``dicom_node.rendering``; the numbers stand in the header of both pictures,
see ``dicom_node.capture_figures``. Choices within the standard:

- Modality is that of the film: PS3.3 C.7.3.1 and C.8.6.1 mean the equipment that acquired what the picture
  is made of, and OHIF lays a film strip's player over a picture of modality ``OT``. It is not taken for a
  film: class, Image Type, a series of its own and its description say what it is.
- Burned In Annotation is ``YES``: no name and no number of the patient is drawn, but dates are, and whoever
  removes identities must know it (PS3.15 E.3.1).
- Source Image and Referenced Series name the film; Referenced Instance names the report that this one
  replaces and those that hold the earlier results (PS3.3 C.12.2, C.12.4). No code of CID 7203 means contours
  drawn by a program, so Derivation Code Sequence is left out and Derivation Description says it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.capture_figures import write_capture_figures
from dicom_node.header import text
from dicom_node.identity import RESEARCH_LABEL, SERIES_NUMBERS
from dicom_node.instance import InstanceReference, ObjectKind
from dicom_node.prior import acquired_at
from dicom_node.rendering import (
    COLOUR,
    MONOCHROME,
    Circumstances,
    Palette,
    render_explanation,
    render_overlay,
)
from dicom_node.report_context import ReportContext
from dicom_node.source_header import without_names
from dicom_node.structured_report import finish
from models.result import SeverityResult

__all__ = ["SERIES_NUMBER", "build_explanation_map", "build_secondary_capture", "render_overlay"]

SERIES_NUMBER = SERIES_NUMBERS["sc"]
_SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")  # CID 7202
_REPLACED_REPORT = Code("121360", "DCM", "Replaced Report")  # CID 7009
_PRIOR_REPORT = Code("122075", "DCM", "Prior report for current patient")  # CID 3407


@dataclass(frozen=True)
class _Kind:
    """What tells one kind of picture from the other."""

    kind: ObjectKind
    uid: str
    description: str
    derivation: str


_OVERLAY = _Kind("sc", "SC", "overlay", "Contours and scores drawn by an AI algorithm")
_MAP = _Kind("map", "MAP", "explanation map", "Parts of the lungs that an AI algorithm's scores rest on")


def build_secondary_capture(context: ReportContext) -> Dataset:
    """Build the Secondary Capture Image of one radiograph's result.

    Parameters
    ----------
    context : ReportContext
        A film that cannot be assessed gets a picture that says so and why; the setting ``capture``
        chooses RGB or MONOCHROME2, both 8 bit, uncompressed.

    Returns
    -------
    pydicom.dataset.Dataset
        A Secondary Capture Image with file meta information (PS3.3 A.8.1), in the standard display
        orientation, in a series of its own; with equal contexts equal in every element.
    """
    palette = _palette(context)
    picture = render_overlay(context.radiograph.pixels, context.result, circumstances_of(context), palette)
    return _capture(context, picture, _OVERLAY)


def build_explanation_map(context: ReportContext) -> Dataset:
    """Build the Secondary Capture Image of what one radiograph's score rests on.

    Parameters
    ----------
    context : ReportContext
        Of a result with an explanation.

    Returns
    -------
    pydicom.dataset.Dataset
        As from ``build_secondary_capture``, in another series.

    Raises
    ------
    ValueError
        If the result has no explanation.
    """
    result = context.result
    if not isinstance(result, SeverityResult):
        raise ValueError("a film without a score has no explanation")  # noqa: TRY004 - a value, whatever its type
    drawn = render_explanation(
        context.radiograph.pixels, result, circumstances_of(context), _palette(context)
    )
    return _capture(context, drawn, _MAP)


def _palette(context: ReportContext) -> Palette:
    return COLOUR if context.settings.capture == "rgb" else MONOCHROME


def _capture(context: ReportContext, picture: NDArray[np.uint8], kind: _Kind) -> Dataset:
    """Return the object of a picture, uint8, shape (rows, columns, 3)."""
    result, header, moment = context.result, context.header, context.moment
    colour = context.settings.capture == "rgb"
    pixels = picture if colour else np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    capture: Dataset = hd.sc.SCImage(
        pixel_array=pixels,
        photometric_interpretation="RGB" if colour else "MONOCHROME2",
        bits_allocated=8,
        coordinate_system=hd.CoordinateSystemNames.PATIENT,
        patient_orientation=("L", "F"),
        study_instance_uid=header.StudyInstanceUID,
        series_instance_uid=context.uid(f"{kind.uid} series"),
        series_number=SERIES_NUMBERS[kind.kind],
        sop_instance_uid=context.uid(kind.uid),
        instance_number=1,
        **context.equipment,
        patient_id=header.PatientID,
        patient_birth_date=header.PatientBirthDate,
        patient_sex=header.PatientSex,
        accession_number=header.AccessionNumber,
        study_id=header.StudyID,
        study_date=header.StudyDate,
        study_time=header.StudyTime,
        content_qualification=hd.ContentQualificationValues.RESEARCH,
        series_description=context.series_description(kind.description),
        content_date=moment.date(),
        content_time=moment.time(),
        series_date=moment.date(),
        series_time=moment.time(),
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    capture.copy_patient_and_study_information(without_names(header))
    capture.DerivationDescription = f"{kind.derivation}, {RESEARCH_LABEL}"
    _describe(capture, context)
    _refer(capture, context)
    write_capture_figures(capture, result)
    finish(capture, context)
    return capture


def circumstances_of(context: ReportContext) -> Circumstances:
    """Return what is printed beside a result: dates, comparable priors, what is replaced, warnings."""
    result, basis = context.result, context.basis
    return Circumstances(
        created_at=context.moment,
        acquired_at=acquired_at(context.radiograph.dataset),
        priors=basis.comparable(result) if isinstance(result, SeverityResult) else (),
        predecessor=basis.predecessor,
        warnings=context.radiograph.warnings,
    )


def _describe(capture: Dataset, context: ReportContext) -> None:
    """Add what a viewer and an archive look for: body part, derivation, window, compression history."""
    source, moment = context.radiograph.dataset, context.moment
    capture.DateOfSecondaryCapture = moment.strftime("%Y%m%d")
    capture.TimeOfSecondaryCapture = moment.strftime("%H%M%S")
    capture.ConversionType = "WSD"
    # CHEST is not a paired part, so Laterality may be absent (PS3.3 C.7.3.1).
    capture.BodyPartExamined = "CHEST"
    capture.Modality = context.header.Modality
    capture.BurnedInAnnotation = "YES"
    if text(source, "LossyImageCompression") == "01":
        capture.LossyImageCompression = "01"
    if capture.SamplesPerPixel == 1:
        capture.WindowCenter, capture.WindowWidth = "128", "256"
        capture.PresentationLUTShape = "IDENTITY"


def _refer(capture: Dataset, context: ReportContext) -> None:
    """Name the film, the report that this one replaces, and the reports of the earlier results."""
    header = context.header
    film = InstanceReference(
        header.SOPClassUID, header.SOPInstanceUID, header.SeriesInstanceUID, header.StudyInstanceUID
    )
    capture.SourceImageSequence = [_reference(film, _SOURCE_IMAGE)]
    others = [*_reports(context)]
    if others:
        capture.ReferencedInstanceSequence = [_reference(report, purpose) for report, purpose in others]
    by_study: dict[str, dict[str, list[Dataset]]] = {}
    for one in (film, *(report for report, _ in others)):
        series = by_study.setdefault(one.study_instance_uid, {})
        series.setdefault(one.series_instance_uid, []).append(_reference(one))
    capture.ReferencedSeriesSequence = _series(by_study.pop(header.StudyInstanceUID))
    if by_study:
        capture.StudiesContainingOtherReferencedInstancesSequence = []
    for study_instance_uid, series in by_study.items():
        item = Dataset()
        item.StudyInstanceUID = study_instance_uid
        item.ReferencedSeriesSequence = _series(series)
        capture.StudiesContainingOtherReferencedInstancesSequence.append(item)


def _reports(context: ReportContext) -> Iterator[tuple[InstanceReference, Code]]:
    if context.basis.predecessor is not None:
        yield context.basis.predecessor, _REPLACED_REPORT
    for prior in circumstances_of(context).priors:
        if prior.report is not None and prior.report != context.basis.predecessor:
            yield prior.report, _PRIOR_REPORT


def _series(by_series: dict[str, list[Dataset]]) -> list[Dataset]:
    found = []
    for series_instance_uid, references in by_series.items():
        item = Dataset()
        item.SeriesInstanceUID = series_instance_uid
        item.ReferencedInstanceSequence = references
        found.append(item)
    return found


def _reference(instance: InstanceReference, purpose: Code | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = instance.sop_class_uid
    item.ReferencedSOPInstanceUID = instance.sop_instance_uid
    if purpose is not None:
        item.PurposeOfReferenceCodeSequence = [hd.sr.CodedConcept.from_code(purpose)]
    return item
