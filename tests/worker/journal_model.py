"""What the journal must say, kept in a dictionary: the model that its state machine is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo

from dicom_node.commitment_report import CommitmentResult
from worker.entry import CommitmentRequest, Delivery, DeliveryStatus, EntryStatus, JournalEntry

ALGORITHMS = ("two-stage", "bs-net")
RESULTS = {
    name: {"algorithm": name, "algorithm_digest": "d", "outcome": "scored", "score": 3} for name in ALGORITHMS
}
Place = tuple[str, str]
"""A destination, and the algorithm whose report goes there."""
STORED = (("1.2.840.10008.5.1.4.1.1.88.33", "2.25.1"), ("1.2.840.10008.5.1.4.1.1.7", "2.25.2"))
UNDER_WAY = frozenset({DeliveryStatus.PENDING, DeliveryStatus.SENDING})


class Clock:
    """A wall clock that a test sets; no two readings are alike in their microseconds."""

    def __init__(self) -> None:
        self.seconds = 0
        self._readings = 0

    def now(self, zone: tzinfo | None = None) -> datetime:
        self._readings += 1
        start = datetime(2026, 1, 1, tzinfo=zone)
        return start + timedelta(seconds=self.seconds, microseconds=self._readings % 1_000_000)


@dataclass
class Sending:
    """What the model knows of one delivery."""

    status: DeliveryStatus = DeliveryStatus.PENDING
    variant: str = ""
    asks: bool = False
    claim: Delivery | None = None
    old: list[Delivery] = field(default_factory=list)

    def lose(self) -> None:
        if self.claim is not None:
            self.old.append(self.claim)
            self.claim = None


@dataclass
class Known:
    """What the model knows of one instance."""

    status: EntryStatus = EntryStatus.RECEIVED
    attempts: int = 0
    claim: JournalEntry | None = None
    old: list[JournalEntry] = field(default_factory=list)
    reported: bool = False
    refused: bool = False
    """Whether it FAILED because a destination refused its report."""
    purged: bool = False
    sendings: dict[Place, Sending] = field(default_factory=dict)
    requests: list[CommitmentRequest] = field(default_factory=list)

    def lose(self) -> None:
        if self.claim is not None:
            self.old.append(self.claim)
            self.claim = None

    @property
    def is_reported(self) -> bool:
        """Whether its state is what its deliveries amount to."""
        reported = (EntryStatus.REPORTED, EntryStatus.STORED, EntryStatus.COMMITTED)
        return self.status in reported or (self.status is EntryStatus.FAILED and self.refused)

    def revive(self) -> None:
        if not self.refused:
            self.status, self.attempts = EntryStatus.RECEIVED, 0
            return
        self.status, self.refused = EntryStatus.REPORTED, False
        for sending in self.sendings.values():
            if sending.status is DeliveryStatus.FAILED:
                sending.status = DeliveryStatus.PENDING

    def report(self, places: Sequence[Place], variant: str) -> None:
        """Reports are made: new, or those that a destination has been sent already."""
        self.status, self.reported = EntryStatus.REPORTED, True
        again = bool(self.sendings)
        for place in places:
            last = self.sendings.get(place)
            if last is None or last.variant != variant or last.status is DeliveryStatus.FAILED:
                self.sendings[place] = Sending(variant=variant)
        if again:
            self.close()

    def close(self) -> None:
        """The state that the deliveries' states amount to."""
        states = {sending.status for sending in self.sendings.values()}
        if states & UNDER_WAY or not self.is_reported:
            return
        self.refused = DeliveryStatus.FAILED in states
        asked = [sending for sending in self.sendings.values() if sending.asks]
        if DeliveryStatus.FAILED in states:
            self.status = EntryStatus.FAILED
        elif asked and all(sending.status is DeliveryStatus.COMMITTED for sending in asked):
            self.status = EntryStatus.COMMITTED
        else:
            self.status = EntryStatus.STORED

    def require_agreement(self) -> None:
        """Entry and deliveries must not contradict each other."""
        states = {sending.status for sending in self.sendings.values()}
        if self.status in (EntryStatus.STORED, EntryStatus.COMMITTED):
            assert states <= {DeliveryStatus.STORED, DeliveryStatus.COMMITTED}
        if self.status is EntryStatus.REPORTED:
            assert states & UNDER_WAY
        assert self.claim is None or self.status is EntryStatus.SCORING


def answer(request: CommitmentRequest, word: str) -> CommitmentResult:
    """A destination's word: it has committed, has lost both instances or one (half), or is unsure."""
    names = [name for _, name in STORED]
    committed = {"committed": names, "half": names[:1]}.get(word, [])
    failed = {"lost": names, "half": names[1:]}.get(word, [])
    return CommitmentResult(request.transaction_uid, frozenset(committed), dict.fromkeys(failed, 0x0112))
