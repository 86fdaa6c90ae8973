"""What the journal must say, kept in a dictionary: the model that its state machine is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo

from worker.entry import CommitmentRequest, Delivery, DeliveryStatus, EntryStatus, JournalEntry

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
    purged: bool = False
    sendings: dict[str, Sending] = field(default_factory=dict)
    requests: list[CommitmentRequest] = field(default_factory=list)

    def lose(self) -> None:
        if self.claim is not None:
            self.old.append(self.claim)
            self.claim = None

    def revive(self) -> None:
        if not self.reported:
            self.status, self.attempts = EntryStatus.RECEIVED, 0
            return
        self.status = EntryStatus.REPORTED
        for sending in self.sendings.values():
            if sending.status is DeliveryStatus.FAILED:
                sending.status = DeliveryStatus.PENDING

    def close(self) -> None:
        """The state that the deliveries' states amount to."""
        states = {sending.status for sending in self.sendings.values()}
        if states & UNDER_WAY:
            return
        asked = [sending for sending in self.sendings.values() if sending.asks]
        if DeliveryStatus.FAILED in states:
            self.status = EntryStatus.FAILED
        elif asked and all(sending.status is DeliveryStatus.COMMITTED for sending in asked):
            self.status = EntryStatus.COMMITTED
        else:
            self.status = EntryStatus.STORED
