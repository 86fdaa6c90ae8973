"""A result to a picture that every archive and viewer can show: a Secondary Capture Image."""

from __future__ import annotations

from datetime import datetime

import cv2
import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.header import text
from dicom_node.identity import MANUFACTURER, MODEL_NAME, RESEARCH_LABEL
from dicom_node.rendering import COLOUR, MONOCHROME, render_overlay
from dicom_node.report_context import ReportContext
from dicom_node.source_header import without_names
from dicom_node.structured_report import finish

__all__ = ["SERIES_NUMBER", "build_secondary_capture", "render_overlay"]

SERIES_NUMBER = 9802


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
    radiograph, result, header, moment = context.radiograph, context.result, context.header, context.moment
    colour = context.settings.capture == "rgb"
    pixels = render_overlay(
        radiograph.pixels, result, context.warnings, palette=COLOUR if colour else MONOCHROME
    )
    if not colour:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    unnamed = without_names(header)
    capture: Dataset = hd.sc.SCImage(
        pixel_array=pixels,
        photometric_interpretation="RGB" if colour else "MONOCHROME2",
        bits_allocated=8,
        coordinate_system=hd.CoordinateSystemNames.PATIENT,
        patient_orientation=("L", "F"),
        study_instance_uid=header.StudyInstanceUID,
        series_instance_uid=context.uid("SC series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=context.uid("SC"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL_NAME,
        device_serial_number=result.algorithm.digest[:32],
        software_versions=f"{result.algorithm.name} {result.algorithm.version}"[:64],
        patient_id=header.PatientID,
        patient_birth_date=header.PatientBirthDate,
        patient_sex=header.PatientSex,
        accession_number=header.AccessionNumber,
        study_id=header.StudyID,
        study_date=header.StudyDate,
        study_time=header.StudyTime,
        content_qualification=hd.ContentQualificationValues.RESEARCH,
        series_description="Research: AI lung opacity overlay",
        content_date=moment.date(),
        content_time=moment.time(),
        series_date=moment.date(),
        series_time=moment.time(),
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    capture.copy_patient_and_study_information(unnamed)
    _describe(capture, radiograph.dataset, moment)
    finish(capture, context)
    return capture


def _describe(capture: Dataset, source: Dataset, moment: datetime) -> None:
    """Add what a viewer and an archive look for: body part, origin, window, compression history."""
    capture.DateOfSecondaryCapture = moment.strftime("%Y%m%d")
    capture.TimeOfSecondaryCapture = moment.strftime("%H%M%S")
    capture.ConversionType = "WSD"
    # CHEST is not a paired part, so Laterality may be absent (PS3.3 C.7.3.1).
    capture.BodyPartExamined = "CHEST"
    capture.DerivationDescription = f"Contours and scores drawn by an AI algorithm, {RESEARCH_LABEL}"
    reference = Dataset()
    reference.ReferencedSOPClassUID = text(source, "SOPClassUID")
    reference.ReferencedSOPInstanceUID = text(source, "SOPInstanceUID")
    capture.SourceImageSequence = [reference]
    if text(source, "BurnedInAnnotation") in ("YES", "NO"):
        capture.BurnedInAnnotation = text(source, "BurnedInAnnotation")
    if text(source, "LossyImageCompression") == "01":
        capture.LossyImageCompression = "01"
    if capture.SamplesPerPixel == 1:
        capture.WindowCenter, capture.WindowWidth = "128", "256"
        capture.PresentationLUTShape = "IDENTITY"
