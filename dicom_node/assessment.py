"""What a reader says of one of our reports: accepted, rejected, or corrected with other values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydicom import uid
from pydicom.dataset import Dataset

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
        The total as the reader states it, and the largest of its scheme (6 or 18); None where not stated.
    zones : tuple of (int or None)
        Six scores as the reader states them, in ``ZONE_ORDER``.
    verified : bool
        Whether someone accountable has verified the document (Verification Flag).
    assessed_at : datetime.datetime or None
        When, without zone.
    subjects : frozenset of str
        SOP Instance UIDs of what is judged: it is about us only if one of them is a report of ours. Fewer
        than ``referred_instances``: a verified report replaces its predecessor, not its evidence.
    """

    document_uid: str
    sop_class_uid: str
    verdict: Verdict
    score: int | None
    zones: tuple[int | None, ...]
    verified: bool
    assessed_at: datetime | None
    score_max: int | None = None
    subjects: frozenset[str] = frozenset()


def referred_instances(dataset: Dataset) -> frozenset[str]:
    """Return the SOP Instance UID of everything to which a document refers.

    Parameters
    ----------
    dataset : pydicom.dataset.Dataset
        Any instance; what cannot be read within bounds is left out.
    """
    raise NotImplementedError


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
    raise NotImplementedError
