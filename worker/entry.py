"""What the journal says of one instance, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


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
    """Every destination has committed to keeping the report."""
    REJECTED = "REJECTED"
    """Not eligible: recorded with a coded reason, nothing sent."""
    FAILED = "FAILED"
    """Attempts used up, or refused for good by a destination."""


class DeliveryStatus(StrEnum):
    """Where one report on its way to one destination stands."""

    PENDING = "PENDING"
    SENDING = "SENDING"
    STORED = "STORED"
    FAILED = "FAILED"


@dataclass(frozen=True)
class JournalEntry:
    """One instance; ``attempts`` and ``updated_at`` also fence, so that only the latest claim closes it."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    calling_ae_title: str
    status: EntryStatus
    attempts: int
    reason: str | None
    message: str | None
    result: Mapping[str, Any] | None
    algorithm_digest: str | None
    received_at: datetime
    updated_at: datetime
    due_at: datetime | None


@dataclass(frozen=True)
class Delivery:
    """One report on its way to one destination; ``variant`` names the report in the spool."""

    sop_instance_uid: str
    destination: str
    variant: str
    status: DeliveryStatus
    attempts: int
    message: str | None
    created_at: datetime
    updated_at: datetime
    due_at: datetime | None


@dataclass(frozen=True)
class Overdue:
    """Whose bell should ring again."""

    to_score: tuple[str, ...]
    to_deliver: tuple[str, ...]
