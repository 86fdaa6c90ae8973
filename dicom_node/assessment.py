"""What a reader says of one of our reports: accepted, rejected, or corrected with other values.

Any of the following documents is understood (``DOCUMENT_SOP_CLASSES``, PS3.3 A.35). It must refer to the
Structured Report that it judges; ``99CXRSEV`` codes stand in ``dicom_node/codes.py``.

======================================================  =========  ======================================
What stands in the document                             Verdict    Which report is judged
======================================================  =========  ======================================
CODE (ASSESSMENT, 99CXRSEV) = (ACCEPTED, 99CXRSEV),     as stated  a COMPOSITE below the CODE; without
(REJECTED, 99CXRSEV) or (CORRECTED, 99CXRSEV),                     one, whatever the document refers to
anywhere in the content
CODE with the value (122775, DCM) Agreement with prior  accepted,  the COMPOSITE below the CODE, which is
findings or (122776, DCM) Disagreement with prior       rejected   required
findings (PS3.16 CID 3217)
NUM (LUNG-SEV-0-6, 99CXRSEV) or (BRIXIA-0-18,           corrected  whatever the document refers to
99CXRSEV): the total; NUM (ZONE-SEV-A, 99CXRSEV) to
(ZONE-SEV-F, 99CXRSEV) or (BRIXIA-A, 99CXRSEV) to
(BRIXIA-F, 99CXRSEV): a zone, A to C the right lung
from above, D to F the left; CODE (INVOLVED-A,
99CXRSEV) to (INVOLVED-F, 99CXRSEV) = yes (373066001,
SCT) or no (373067005, SCT): a zone of the 0-6 score
Verification Flag VERIFIED and a Predecessor Document,  accepted   a predecessor; what is mere evidence of
none of the above                                                  a report is not judged by it
Key Object Selection titled (113001, DCM) Rejected for  rejected   what is selected
Quality Reasons or (113037, DCM) Rejected for Patient
Safety Reasons (IHE Imaging Object Change Management)
======================================================  =========  ======================================

The first row that applies gives the verdict; values are read whatever the verdict. A zone's NUM may also
be named (ZONE-SEV-0-1, 99CXRSEV) or (BRIXIA-ZONE-0-3, 99CXRSEV); its zone is then told by Finding Site
(363698007, SCT) with Laterality (272741003, SCT) below it, at the NUM or in its group (PS3.16 CID 6171);
else by a Tracking Identifier of its group that names side and level ("... right lower ...").

Not taken: a number outside its scheme; values that contradict one another; notes that withdraw an object
without judging it (113038, wrong worklist entry; 113039, retention expired); free text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard
from pydicom.sr.coding import Code
from pydicom.valuerep import DT

from dicom_node import codes
from dicom_node.document import ContentItem, Document, read_document
from dicom_node.header import UNREADABLE, items, text
from dicom_node.identity import is_own_result
from dicom_node.own_report import zone_of
from dicom_node.prior import acquired_at
from models.result import ZONE_ORDER, Level, Side

DOCUMENT_SOP_CLASSES: frozenset[str] = frozenset(
    {
        uid.BasicTextSRStorage,
        uid.EnhancedSRStorage,
        uid.ComprehensiveSRStorage,
        uid.Comprehensive3DSRStorage,
        uid.KeyObjectSelectionDocumentStorage,
    }
)
"""Documents in which an assessment may stand (PS3.3 A.35)."""

_COMPOSITE = ("COMPOSITE", "IMAGE")


class Verdict(StrEnum):
    """What became of a result in the eyes of a reader."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    CORRECTED = "corrected"


@dataclass(frozen=True)
class Assessment:
    """A reader's judgement of one of our reports; free text and names are left where they are.

    Parameters
    ----------
    document_uid, sop_class_uid : str
        The document in which it stands.
    verdict : Verdict
        CORRECTED also where the values stated may equal ours: the document alone cannot tell.
    score, score_max : int or None
        The total as the reader states it, or the sum of six zones stated; the largest of its scheme (6 or
        18). None where not stated.
    zones : tuple of (int or None)
        Six scores as the reader states them, in ``ZONE_ORDER``.
    verified : bool
        Whether someone accountable has verified the document (Verification Flag).
    assessed_at : datetime.datetime or None
        When, without zone.
    subjects : tuple of str
        SOP Instance UIDs of what may be judged, the likeliest first: it is about us only if one of them is
        a report of ours.
    """

    document_uid: str
    sop_class_uid: str
    verdict: Verdict
    score: int | None
    zones: tuple[int | None, ...]
    verified: bool
    assessed_at: datetime | None
    score_max: int | None = None
    subjects: tuple[str, ...] = ()


def referred_instances(dataset: Dataset) -> frozenset[str]:
    """Return the SOP Instance UID of everything to which a document refers.

    Parameters
    ----------
    dataset : pydicom.dataset.Dataset
        Any instance; what cannot be read within bounds is left out.
    """
    if text(dataset, "SOPClassUID") not in DOCUMENT_SOP_CLASSES:
        return frozenset()
    return frozenset(read_document(dataset).references)


def read_assessment(dataset: Dataset) -> Assessment | None:
    """Return the judgement that a document holds.

    Parameters
    ----------
    dataset : pydicom.dataset.Dataset
        Any instance, as received.

    Returns
    -------
    Assessment or None
        None for our own results, and for documents without a judgement. Whether one of ``subjects`` is a
        report of ours is the caller's to check.
    """
    sop_class_uid = text(dataset, "SOPClassUID")
    if sop_class_uid not in DOCUMENT_SOP_CLASSES or is_own_result(dataset):
        return None
    document = read_document(dataset)
    if not document.complete:
        return None
    verified = text(dataset, "VerificationFlag") == "VERIFIED"
    if sop_class_uid == uid.KeyObjectSelectionDocumentStorage:
        values, judged = _Values(), _rejection_note(document)
    else:
        values = _values(document.root)
        judged = _judgement(document, values, verified=verified)
    if judged is None or not judged[1]:
        return None
    return Assessment(
        document_uid=text(dataset, "SOPInstanceUID"),
        sop_class_uid=sop_class_uid,
        verdict=judged[0],
        score=values.score,
        zones=values.zones,
        verified=verified,
        assessed_at=_assessed_at(dataset, verified=verified),
        score_max=values.score_max,
        subjects=judged[1],
    )


@dataclass(frozen=True)
class _Values:
    score: int | None = None
    zones: tuple[int | None, ...] = (None,) * 6
    score_max: int | None = None


_Judgement = tuple[Verdict, tuple[str, ...]]


def _rejection_note(document: Document) -> _Judgement | None:
    titled = any(document.root.is_named(title) for title in codes.REJECTION_NOTES)
    return (Verdict.REJECTED, document.content_references) if titled else None


def _judgement(document: Document, values: _Values, *, verified: bool) -> _Judgement | None:
    stated = list(_stated(document))
    if stated:
        verdicts = {verdict for verdict, _ in stated}
        return stated[0] if len(verdicts) == 1 else None
    if values.score_max is not None:
        return Verdict.CORRECTED, document.references
    return (Verdict.ACCEPTED, document.predecessors) if verified and document.predecessors else None


def _stated(document: Document) -> Iterator[_Judgement]:
    """Yield the verdicts that codes state, each with what it judges."""
    for item in document.root.walk():
        referred = tuple(
            child.reference for child in item.children if child.value_type in _COMPOSITE and child.reference
        )
        if item.is_named(codes.ASSESSMENT):
            for value, verdict in _PRIVATE_VERDICTS:
                if item.answers(value):
                    yield verdict, referred or document.references
        elif referred:
            for value, verdict in _STANDARD_VERDICTS:
                if item.answers(value):
                    yield verdict, referred


_PRIVATE_VERDICTS = (
    (codes.ACCEPTED, Verdict.ACCEPTED),
    (codes.REJECTED, Verdict.REJECTED),
    (codes.CORRECTED, Verdict.CORRECTED),
)
_STANDARD_VERDICTS = (
    (codes.AGREEMENT, Verdict.ACCEPTED),
    (codes.DISAGREEMENT, Verdict.REJECTED),
)


def _values(root: ContentItem) -> _Values:
    """Return the numbers under our codes; none where they contradict one another."""
    told = {score_max: _values_of(root, score_max) for score_max in codes.TOTAL_SCORE}
    used = {score_max: values for score_max, values in told.items() if any(values)}
    if len(used) != 1:
        return _Values()
    ((score_max, values),) = used.items()
    if any(len(numbers) > 1 for numbers in values):
        return _Values()
    total, *zones = (next(iter(numbers), None) for numbers in values)
    if total is None and None not in zones:
        total = sum(zone for zone in zones if zone is not None)
    return _Values(total, tuple(zones), score_max)


def _values_of(root: ContentItem, score_max: int) -> tuple[set[int], ...]:
    """Return what is stated of the total and of each zone under one scheme."""
    values: tuple[set[int], ...] = tuple(set() for _ in range(7))
    for group in root.walk():
        for item in group.children:
            if item.is_named(codes.TOTAL_SCORE[score_max]):
                values[0].update(_score(item, score_max))
            zone = _zone(item, group, score_max)
            if zone is not None:
                values[1 + zone].update(_score(item, score_max // 6))
    if score_max == 6 and not any(values[1:]):
        for index, name in enumerate(codes.INVOLVED):
            values[1 + index].update(_involved(root, name))
    return values


def _zone(item: ContentItem, group: ContentItem, score_max: int) -> int | None:
    """Return the place in ``ZONE_ORDER`` of the zone whose score an item is, if it is one."""
    for index, name in enumerate(codes.ZONE_SCORE[score_max]):
        if item.is_named(name):
            return index
    if not item.is_named(codes.UNSIDED_ZONE_SCORE[score_max]):
        return None
    zone = zone_of(item) or zone_of(group) or _tracked(group)
    return None if zone is None else ZONE_ORDER.index(zone)


def _score(item: ContentItem, most: int) -> Iterator[int]:
    value = item.number if item.value_type == "NUM" else None
    if value is not None and value.is_integer() and 0 <= value <= most:
        yield int(value)


def _involved(root: ContentItem, name: Code) -> Iterator[int]:
    for item in root.walk():
        if item.is_named(name):
            yield from (point for point, answer in enumerate((codes.NO, codes.YES)) if item.answers(answer))


def _tracked(group: ContentItem) -> tuple[Side, Level] | None:
    for item in group.named(standard.DCM.TrackingIdentifier):
        words = item.words.lower()
        found = [zone for zone in ZONE_ORDER if f"{zone[0]} {zone[1]}" in words]
        if len(found) == 1:
            return found[0]
    return None


def _assessed_at(dataset: Dataset, *, verified: bool) -> datetime | None:
    """Return when the document was verified, else when its content was made (PS3.3 C.17.2)."""
    for observer in items(dataset, "VerifyingObserverSequence") if verified else ():
        try:
            moment = DT(text(observer, "VerificationDateTime"))
        except UNREADABLE:
            continue
        if isinstance(moment, datetime):
            return moment.replace(tzinfo=None, microsecond=0)
    content = Dataset()
    content.ContentDate, content.ContentTime = text(dataset, "ContentDate"), text(dataset, "ContentTime")
    return acquired_at(content)
