"""A result to a DICOM Structured Report (PS3.3 A.35): the document around the content tree."""

from __future__ import annotations

import highdicom as hd
from pydicom.dataset import Dataset

from dicom_node import codes
from dicom_node.identity import MANUFACTURER, SERIES_NUMBERS
from dicom_node.interval_change import as_evidence, prior_reports
from dicom_node.measurement_report import measurement_report
from dicom_node.report_context import ReportContext
from dicom_node.source_header import requested_procedures, without_names
from models.result import NotAssessable

SERIES_NUMBER = SERIES_NUMBERS["sr"]
_ACQUISITION_EQUIPMENT = "109101"  # PS3.16 CID 7005
_CLASSES = {
    "comprehensive": hd.sr.ComprehensiveSR,
    "comprehensive-3d": hd.sr.Comprehensive3DSR,
    "enhanced": hd.sr.EnhancedSR,
}


def build_structured_report(context: ReportContext) -> Dataset:
    """Build the Structured Report of one radiograph.

    Parameters
    ----------
    context : ReportContext
        Masks of its result lie in the geometry of ``radiograph.pixels``; regions are carried back to the
        stored image.

    Returns
    -------
    pydicom.dataset.Dataset
        A Comprehensive, Comprehensive 3D or Enhanced SR with file meta information; with equal contexts
        equal in every element.
    """
    result, moment = context.result, context.moment
    predecessor = context.basis.predecessor
    report: Dataset = _CLASSES[context.settings.sr_class](
        evidence=[without_names(context.header), *prior_reports(context)],
        content=measurement_report(context)[0],
        series_instance_uid=context.uid("SR series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=context.uid("SR"),
        instance_number=1,
        **context.equipment,
        is_complete=isinstance(result, NotAssessable) or all(zone.area_px for zone in result.zones),
        is_final=False,
        is_verified=False,
        requested_procedures=requested_procedures(context.radiograph.dataset, context.header.StudyInstanceUID)
        or None,
        previous_versions=None if predecessor is None else [as_evidence(predecessor)],
        content_qualification=hd.ContentQualificationValues.RESEARCH,
        coding_schemes=[_private_scheme()],
        series_description=context.series_description("severity"),
        content_date=moment.date(),
        content_time=moment.time(),
        series_date=moment.date(),
        series_time=moment.time(),
        specific_character_set=None,
    )
    finish(report, context)
    return report


def finish(instance: Dataset, context: ReportContext) -> None:
    """Settle what highdicom takes from the clock or must not see: dates, names, character set, zone."""
    moment = context.moment
    instance.InstanceCreationDate = moment.strftime("%Y%m%d")
    instance.InstanceCreationTime = moment.strftime("%H%M%S")
    for equipment in instance.get("ContributingEquipmentSequence", []):
        if equipment.PurposeOfReferenceCodeSequence[0].CodeValue != _ACQUISITION_EQUIPMENT:
            equipment.ContributionDateTime = moment.strftime("%Y%m%d%H%M%S")
    for keyword in ("SpecificCharacterSet", "TimezoneOffsetFromUTC", "PatientName", "ReferringPhysicianName"):
        if keyword in context.header:
            setattr(instance, keyword, context.header[keyword].value)


def _private_scheme() -> hd.coding_schemes.CodingSchemeIdentificationItem:
    return hd.coding_schemes.CodingSchemeIdentificationItem(
        designator=codes.PRIVATE_SCHEME,
        name=codes.PRIVATE_SCHEME_NAME,
        responsible_organization=MANUFACTURER,
    )
