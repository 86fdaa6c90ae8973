"""Which image a report is about: TID 1600 Image Library with one entry (PS3.16 Annex A)."""

from __future__ import annotations

from datetime import date, datetime, time

from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DateContentItem,
    ImageContentItem,
    NumContentItem,
    RelationshipTypeValues,
    TextContentItem,
    TimeContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard
from pydicom.sr.coding import Code
from pydicom.valuerep import DA, DT, TM

from dicom_node import codes
from dicom_node.header import UNREADABLE, text, texts
from dicom_node.report_context import ReportContext
from dicom_node.source_header import positive_pair

_ACQUIRED = RelationshipTypeValues.HAS_ACQ_CONTEXT
_CONTAINS = RelationshipTypeValues.CONTAINS
_DATES: tuple[tuple[str, Code, Code], ...] = (
    ("Study", standard.DCM.StudyDate, standard.DCM.StudyTime),
    ("Content", standard.DCM.ContentDate, standard.DCM.ContentTime),
    ("Acquisition", standard.DCM.AcquisitionDate, standard.DCM.AcquisitionTime),
)


def image_library(context: ReportContext) -> ContainerContentItem:
    """Build the library: one group with one entry, described after TID 1602 and 1603."""
    header = context.header
    entry = ImageContentItem(
        name=codes.SOURCE,
        referenced_sop_class_uid=header.SOPClassUID,
        referenced_sop_instance_uid=header.SOPInstanceUID,
        relationship_type=_CONTAINS,
    )
    dataset = context.radiograph.dataset
    entry.ContentSequence = ContentSequence(
        [*_kind(header), *_dates(dataset), *_raster(header), *_projection(context)]
    )
    return _container(standard.DCM.ImageLibrary, _container(standard.DCM.ImageLibraryGroup, entry))


def _container(name: Code, content: ContentItem) -> ContainerContentItem:
    container = ContainerContentItem(name=name, relationship_type=_CONTAINS)
    container.ContentSequence = ContentSequence([content])
    return container


def _kind(header: Dataset) -> list[ContentItem]:
    modality = codes.MODALITY.get(header.Modality, codes.MODALITY_OTHER)
    return [
        CodeContentItem(standard.DCM.Modality, modality, _ACQUIRED),
        CodeContentItem(standard.DCM.TargetRegion, codes.CHEST, _ACQUIRED),
    ]


def _dates(dataset: Dataset) -> list[ContentItem]:
    """Dates as the image states them; a reader of this report knows by them when it was taken."""
    described: list[ContentItem] = []
    for what, date_name, time_name in _DATES:
        day, clock = _day_and_clock(dataset, what)
        if day is not None:
            described.append(DateContentItem(date_name, day, _ACQUIRED))
        if day is not None and clock is not None:
            described.append(TimeContentItem(time_name, clock, _ACQUIRED))
    return described


def _day_and_clock(dataset: Dataset, what: str) -> tuple[date | None, time | None]:
    try:
        whole = DT(text(dataset, f"{what}DateTime")) if what == "Acquisition" else None
    except UNREADABLE:
        whole = None
    if isinstance(whole, datetime):
        return whole.date(), whole.time().replace(microsecond=0)
    try:
        day, clock = DA(text(dataset, f"{what}Date")), TM(text(dataset, f"{what}Time"))
    except UNREADABLE:
        return None, None
    return (
        None if day is None else date(day.year, day.month, day.day),
        None if clock is None else time(clock.hour, clock.minute, clock.second),
    )


def _raster(header: Dataset) -> list[ContentItem]:
    return [
        NumContentItem(standard.DCM.PixelDataRows, header.Rows, codes.PIXELS, relationship_type=_ACQUIRED),
        NumContentItem(
            standard.DCM.PixelDataColumns, header.Columns, codes.PIXELS, relationship_type=_ACQUIRED
        ),
    ]


def _projection(context: ReportContext) -> list[ContentItem]:
    described: list[ContentItem] = []
    dataset = context.radiograph.dataset
    view = codes.IMAGE_VIEW.get(context.radiograph.view_position)
    if view is not None:
        described.append(CodeContentItem(standard.DCM.ImageView, view, _ACQUIRED))
    directions = texts(dataset, "PatientOrientation")
    if len(directions) == 2 and all(directions):
        names = (standard.DCM.PatientOrientationRow, standard.DCM.PatientOrientationColumn)
        described += [TextContentItem(*pair, _ACQUIRED) for pair in zip(names, directions, strict=True)]
    spacing = positive_pair(dataset, "ImagerPixelSpacing")
    if spacing:
        names = (standard.DCM.VerticalPixelSpacing, standard.DCM.HorizontalPixelSpacing)
        described += [
            NumContentItem(name, value, codes.MILLIMETER, relationship_type=_ACQUIRED)
            for name, value in zip(names, spacing, strict=True)
        ]
    return described
