"""Reading our own Structured Reports back: the earlier results of a patient that an archive keeps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime

from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard
from pydicom.sr.coding import Code

from dicom_node import codes
from dicom_node.document import ContentItem, Document, read_document
from dicom_node.header import text
from dicom_node.identity import is_own_result
from dicom_node.instance import InstanceReference
from dicom_node.prior import PriorResult, ZoneFigures, acquired_at
from models.result import ZONE_ORDER, Level, Side

_SR_CLASSES = frozenset({uid.EnhancedSRStorage, uid.ComprehensiveSRStorage, uid.Comprehensive3DSRStorage})
_UID = re.compile(r"[0-9.]{1,64}")
_DATE_OR_TIME = re.compile(r"[0-9.:]{1,26}")
_DIGEST = re.compile(r"algorithm sha256=([0-9a-f]{64})")
_DATES: Mapping[str, str] = {
    "111060": "StudyDate", "111061": "StudyTime", "111018": "ContentDate", "111019": "ContentTime",
    "126201": "AcquisitionDate", "126202": "AcquisitionTime",
}  # fmt: skip
"""Attributes of the image by the descriptor that repeats them (PS3.16 TID 1602)."""


def reference_of(dataset: Dataset) -> InstanceReference:
    """Return how other objects refer to an instance; ``""`` for what it does not state."""
    return InstanceReference(
        sop_class_uid=text(dataset, "SOPClassUID"),
        sop_instance_uid=text(dataset, "SOPInstanceUID"),
        series_instance_uid=text(dataset, "SeriesInstanceUID"),
        study_instance_uid=text(dataset, "StudyInstanceUID"),
    )


def read_prior(dataset: Dataset) -> PriorResult | None:
    """Return what a Structured Report of this worker says, in any of its versions.

    Parameters
    ----------
    dataset : pydicom.dataset.Dataset
        Any instance, as received.

    Returns
    -------
    PriorResult or None
        None for whatever is not our report of a score: another object, a radiograph that was not
        assessable, a document that is damaged or contradicts itself.
    """
    reference = reference_of(dataset)
    if reference.sop_class_uid not in _SR_CLASSES or not is_own_result(dataset):
        return None
    identity = (reference.sop_instance_uid, reference.series_instance_uid, reference.study_instance_uid)
    document = read_document(dataset)
    if not document.complete or not all(_UID.fullmatch(one) for one in identity):
        return None
    groups = [item for item in document.root.walk() if item.is_named(standard.DCM.MeasurementGroup)]
    for score_max, name in codes.TOTAL_SCORE.items():
        totals = [group for group in groups if any(group.named(name))]
        if len(totals) == 1:
            return _prior(dataset, document, totals[0], _zones(groups, score_max), score_max)
    return None


def _prior(
    dataset: Dataset,
    document: Document,
    total: ContentItem,
    zones: tuple[ZoneFigures, ...] | None,
    score_max: int,
) -> PriorResult | None:
    figures = _figures(total, (codes.TOTAL_SCORE[score_max],), (codes.LUNG_FRACTION,), score_max)
    film, moment = _film(document, total), _acquired(document, dataset)
    name = _first_words(total, standard.DCM.AlgorithmName)
    digest = _digest(total)
    if figures is None or zones is None or moment is None or not (film and name and digest):
        return None
    if figures.score is None or figures.score != sum(zone.score or 0 for zone in zones):
        return None
    return PriorResult(
        sop_instance_uid=film,
        acquired_at=moment,
        algorithm=name,
        version=_first_words(total, standard.DCM.AlgorithmVersion),
        digest=digest,
        score=figures.score,
        score_max=score_max,
        percent=figures.percent,
        zones=zones,
        report=reference_of(dataset),
    )


def _zones(groups: list[ContentItem], score_max: int) -> tuple[ZoneFigures, ...] | None:
    """Return the figures of all six zones, or None unless each is there once and in range."""
    found: dict[tuple[Side, Level], ZoneFigures | None] = {}
    for group in groups:
        zone = zone_of(group)
        if zone is not None:
            twice = zone in found
            index = ZONE_ORDER.index(zone)
            scores = (codes.ZONE_SCORE[score_max][index], codes.UNSIDED_ZONE_SCORE[score_max])
            shares = (codes.ZONE_FRACTION[index], codes.UNSIDED_ZONE_FRACTION)
            figures = _figures(group, scores, shares, score_max // 6)
            found[zone] = None if twice else figures
    zones = [found.get(zone) for zone in ZONE_ORDER]
    return None if None in zones else tuple(zone for zone in zones if zone is not None)


def zone_of(container: ContentItem) -> tuple[Side, Level] | None:
    """Return the zone that a group's or measurement's finding site and laterality name, if any."""
    for site in container.named(codes.FINDING_SITE):
        for laterality in site.named(codes.LATERALITY):
            for side, level in ZONE_ORDER:
                if site.answers(codes.LEVEL_SITE[level]) and laterality.answers(codes.SIDE_LATERALITY[side]):
                    return side, level
    return None


def _figures(
    group: ContentItem, score_names: tuple[Code, ...], share_names: tuple[Code, ...], most: int
) -> ZoneFigures | None:
    """Return what a group measures, ``ZoneFigures(None, None)`` where nothing; None where out of range."""
    scores, shares = _numbers(group, score_names), _numbers(group, share_names)
    if len(scores) > 1 or len(shares) > 1 or len(shares) > len(scores):
        return None
    score, share = next(iter(scores), 0.0), next(iter(shares), 0.0)
    if score is None or share is None or not score.is_integer():
        return None
    if not (0 <= score <= most and 0 <= share <= 100):
        return None
    return ZoneFigures(int(score) if scores else None, share if shares else None)


def _numbers(group: ContentItem, names: tuple[Code, ...]) -> list[float | None]:
    return [item.number for name in names for item in group.named(name) if item.value_type == "NUM"]


def _film(document: Document, total: ContentItem) -> str:
    """Return the image of the image library, else that in which the region of the total lies."""
    entries = [item.reference for item in _library(document) if item.value_type == "IMAGE" and item.reference]
    regions = [item.reference for item in total.walk() if item.value_type == "IMAGE" and item.reference]
    return next(iter(entries + regions), "")


def _library(document: Document) -> Iterator[ContentItem]:
    for library in document.root.named(standard.DCM.ImageLibrary):
        yield from library.walk()


def _acquired(document: Document, dataset: Dataset) -> datetime | None:
    """Return when the image was taken, by its descriptors in the library, else the date of the study."""
    stated = Dataset()
    stated.StudyDate, stated.StudyTime = text(dataset, "StudyDate"), text(dataset, "StudyTime")
    for item in _library(document):
        keyword = _DATES.get(item.name.value) if item.name and item.name.scheme_designator == "DCM" else None
        if keyword and _DATE_OR_TIME.fullmatch(item.words):
            setattr(stated, keyword, item.words)
    return acquired_at(stated)


def _first_words(group: ContentItem, name: Code) -> str:
    return next((item.words for item in group.named(name)), "")


def _digest(group: ContentItem) -> str:
    for item in group.named(standard.DCM.AlgorithmParameters):
        found = _DIGEST.fullmatch(item.words)
        if found:
            return found[1]
    return ""
