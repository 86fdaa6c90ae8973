"""What the journal says of one instance, as values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dicom_node.assessment import Assessment
    from dicom_node.instance import InstanceReference, ObjectKind
    from dicom_node.prior import PriorResult, ReportBasis


ALGORITHMS = ("two-stage", "bs-net")
"""In the order in which their results are told."""


class EntryStatus(StrEnum):
    """Where an instance stands."""

    RECEIVED = "RECEIVED"
    """Durable here; its sender was told Success."""
    SCORING = "SCORING"
    """One task holds it."""
    REPORTED = "REPORTED"
    """Its report lies in the spool."""
    STORED = "STORED"
    """Every destination has taken its report."""
    COMMITTED = "COMMITTED"
    """Every destination has taken its report, and all that were asked have committed to keeping it."""
    REJECTED = "REJECTED"
    """Not eligible: recorded with a coded reason, nothing sent."""
    NOTED = "NOTED"
    """No image: a reader's assessment of one of our reports, kept with its radiograph."""
    FAILED = "FAILED"
    """Attempts used up, or refused for good by a destination."""


class DeliveryStatus(StrEnum):
    """Where one report on its way to one destination stands."""

    PENDING = "PENDING"
    """To be sent when due."""
    SENDING = "SENDING"
    """One task holds it."""
    STORED = "STORED"
    """The destination answered Success or Warning; with ``due_at`` set, commitment is still to come."""
    COMMITTED = "COMMITTED"
    """The destination has committed to keeping it (PS3.4 annex J)."""
    FAILED = "FAILED"
    """Refused for good, or given up."""


@dataclass(frozen=True)
class JournalEntry:
    """One instance; ``attempts`` and ``updated_at`` also fence, so that only the latest claim closes it.

    ``results`` holds what each algorithm has found, the last time that it looked.
    """

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    calling_ae_title: str
    status: EntryStatus
    attempts: int
    reason: str | None
    message: str | None
    results: tuple[Mapping[str, Any], ...]
    received_at: datetime
    updated_at: datetime
    due_at: datetime | None

    @property
    def result(self) -> Mapping[str, Any] | None:
        """What the first algorithm has found, for those who know of one."""
        return self.results[0] if self.results else None

    def result_of(self, algorithm: str) -> Mapping[str, Any] | None:
        """Return what one algorithm has found, None where it has not looked."""
        return next((one for one in self.results if one["algorithm"] == algorithm), None)


def in_order(results: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Return records of results in the order of ``ALGORITHMS``."""
    places = {name: place for place, name in enumerate(ALGORITHMS)}
    return tuple(sorted(results, key=lambda one: places.get(one["algorithm"], len(places))))


@dataclass(frozen=True)
class Delivery:
    """One algorithm's report on its way to one destination.

    ``variant`` names the report in the spool; ``stored`` holds SOP Class and SOP Instance UID of what the
    destination has taken.
    """

    sop_instance_uid: str
    destination: str
    algorithm: str
    variant: str
    status: DeliveryStatus
    attempts: int
    message: str | None
    created_at: datetime
    updated_at: datetime
    due_at: datetime | None
    stored: tuple[tuple[str, str], ...] = ()
    asks_commitment: bool = False


@dataclass(frozen=True)
class Settlement:
    """How an attempt to deliver went.

    Parameters
    ----------
    status : DeliveryStatus
        STORED, FAILED, or PENDING to try again.
    message : str
        What the destination answered, in words.
    reached : bool
        Whether the destination answered at all; one that did not is left alone for a while.
    tried : bool
        Whether the report was sent at all; without an association nothing is learnt about it.
    stored : tuple
        SOP Class and SOP Instance UID of what it has taken.
    asks_commitment : bool
        Whether it is to be asked for commitment to that.
    """

    status: DeliveryStatus
    message: str
    reached: bool = True
    tried: bool = True
    stored: tuple[tuple[str, str], ...] = ()
    asks_commitment: bool = False


@dataclass(frozen=True)
class MadeReport:
    """One report that was made of a radiograph.

    Parameters
    ----------
    sop_instance_uid : str
        The radiograph.
    variant : str
        Its name in the spool.
    algorithm : str
        What scored the radiograph.
    algorithm_digest, form_digest : str
        That, exactly, and the settings that shaped the objects.
    kinds : tuple of str
        The objects it consists of.
    reference : InstanceReference or None
        Its Structured Report; None where it has none.
    basis : ReportBasis
        What it was built upon, its predecessor included.
    """

    sop_instance_uid: str
    variant: str
    algorithm: str
    algorithm_digest: str
    form_digest: str
    kinds: tuple[ObjectKind, ...]
    reference: InstanceReference | None
    basis: ReportBasis

    def is_named(self, report_uid: str) -> bool:
        """Tell whether its Structured Report has this UID."""
        return self.reference is not None and self.reference.sop_instance_uid == report_uid


@dataclass(frozen=True)
class PatientResult:
    """A result under its patient's pseudonym.

    Parameters
    ----------
    patient : str
        From ``PatientIdentity.pseudonym``.
    result : PriorResult
        What a later report may compare with.
    source : str
        The archive or sender it came from; ``""`` for a result of this installation.
    made_at : str
        What its report states, ``YYYYMMDDHHMMSS``; the later of two counts.
    """

    patient: str
    result: PriorResult
    source: str = ""
    made_at: str = ""


@dataclass(frozen=True)
class Finding:
    """All that scoring one radiograph with one algorithm leads to.

    Parameters
    ----------
    record : Mapping
        What was found, ready for JSON, without patient data; ``algorithm`` and ``algorithm_digest`` in it
        say by what.
    deliveries : Mapping
        Variant of the report by destination.
    reports : tuple of MadeReport
        The reports among them that are new.
    result : PatientResult, optional
        What later reports of the patient may compare with.
    notes : tuple of str
        Lines for the story.
    """

    record: Mapping[str, Any]
    deliveries: Mapping[str, str]
    reports: tuple[MadeReport, ...] = ()
    result: PatientResult | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReaderAssessment:
    """What a reader said of one of our reports, with the radiograph and the report it is about."""

    document_uid: str
    sop_instance_uid: str
    report_uid: str
    assessment: Assessment
    received_at: datetime


@dataclass(frozen=True)
class CommitmentRequest:
    """A destination to be asked for commitment to ``stored``; ``asked`` counts the requests, this one too."""

    transaction_uid: str
    sop_instance_uid: str
    destination: str
    algorithm: str
    variant: str
    stored: tuple[tuple[str, str], ...]
    asked: int


@dataclass(frozen=True)
class DestinationHealth:
    """A destination, how often in a row it could not be reached, and until when it is left alone."""

    name: str
    failures: int
    resting_until: datetime | None
    message: str | None


@dataclass(frozen=True)
class Overdue:
    """Whose bell should ring again; to deliver, once for each destination."""

    to_score: tuple[str, ...]
    to_deliver: tuple[str, ...]
