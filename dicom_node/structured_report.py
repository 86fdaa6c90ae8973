"""A result to a DICOM Structured Report (PS3.3 A.35): the document around the content tree."""

from __future__ import annotations

from datetime import datetime

import highdicom as hd
from pydicom.dataset import Dataset

from dicom_node import codes
from dicom_node.identity import MANUFACTURER, MODEL_NAME
from dicom_node.measurement_report import ReportContext, measurement_report
from dicom_node.pixels import Radiograph
from dicom_node.report_settings import ReportSettings
from dicom_node.source_header import requested_procedures, source_header, without_names
from models.result import NotAssessable, Result

SERIES_NUMBER = 9801
_ACQUISITION_EQUIPMENT = "109101"  # PS3.16 CID 7005
_CLASSES = {
    "comprehensive": hd.sr.ComprehensiveSR,
    "comprehensive-3d": hd.sr.Comprehensive3DSR,
    "enhanced": hd.sr.EnhancedSR,
}


def build_structured_report(
    radiograph: Radiograph, result: Result, settings: ReportSettings, created_at: datetime
) -> Dataset:
    """Build the Structured Report of one radiograph.

    Parameters
    ----------
    radiograph : Radiograph
        The image that was scored.
    result : SeverityResult or NotAssessable
        Masks in the geometry of ``radiograph.pixels``; regions are carried back to the stored image.
    settings : ReportSettings
        Storage class and content choices.
    created_at : datetime.datetime
        Aware; with equal arguments the data set is equal in every element.

    Returns
    -------
    pydicom.dataset.Dataset
        A Comprehensive, Comprehensive 3D or Enhanced SR with file meta information.
    """
    context = ReportContext(radiograph, result, settings, source_header(radiograph.dataset))
    moment = local_moment(created_at, context.header)
    report: Dataset = _CLASSES[settings.sr_class](
        evidence=[without_names(context.header)],
        content=measurement_report(context)[0],
        series_instance_uid=context.uid("SR series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=context.uid("SR"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL_NAME,
        device_serial_number=result.algorithm.digest[:32],
        software_versions=f"{result.algorithm.name} {result.algorithm.version}"[:64],
        is_complete=isinstance(result, NotAssessable) or all(zone.area_px for zone in result.zones),
        is_final=False,
        is_verified=False,
        requested_procedures=requested_procedures(radiograph.dataset, context.header.StudyInstanceUID)
        or None,
        content_qualification=hd.ContentQualificationValues.RESEARCH,
        coding_schemes=[_private_scheme()],
        series_description="Research: AI lung opacity severity",
        content_date=moment.date(),
        content_time=moment.time(),
        series_date=moment.date(),
        series_time=moment.time(),
        specific_character_set=None,
    )
    finish(report, context.header, moment)
    return report


def local_moment(created_at: datetime, header: Dataset) -> datetime:
    """Return the moment in the zone of the study's own dates, without fraction and zone."""
    offset = header.get("TimezoneOffsetFromUTC")
    zone = datetime.strptime(offset, "%z").tzinfo if offset else None
    return created_at.astimezone(zone).replace(tzinfo=None, microsecond=0)


def finish(instance: Dataset, header: Dataset, moment: datetime) -> None:
    """Settle what highdicom takes from the clock or must not see: dates, names, character set, zone."""
    instance.InstanceCreationDate = moment.strftime("%Y%m%d")
    instance.InstanceCreationTime = moment.strftime("%H%M%S")
    for equipment in instance.get("ContributingEquipmentSequence", []):
        if equipment.PurposeOfReferenceCodeSequence[0].CodeValue != _ACQUISITION_EQUIPMENT:
            equipment.ContributionDateTime = moment.strftime("%Y%m%d%H%M%S")
    for keyword in ("SpecificCharacterSet", "TimezoneOffsetFromUTC", "PatientName", "ReferringPhysicianName"):
        if keyword in header:
            setattr(instance, keyword, header[keyword].value)


def _private_scheme() -> hd.coding_schemes.CodingSchemeIdentificationItem:
    return hd.coding_schemes.CodingSchemeIdentificationItem(
        designator=codes.PRIVATE_SCHEME,
        name=codes.PRIVATE_SCHEME_NAME,
        responsible_organization=MANUFACTURER,
    )
