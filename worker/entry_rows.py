"""What several verbs of the journal do to an instance's rows, each within its caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from worker.entry import CommitmentRequest, Delivery, DeliveryStatus, EntryStatus
from worker.schema import DeliveryRow, EntryRow, EventRow

REFUSED = "delivery-refused"
"""Why an entry FAILED that has its report: a destination did not take it."""

UNDER_WAY = (DeliveryStatus.PENDING, DeliveryStatus.SENDING)
_REPORTED = (EntryStatus.REPORTED, EntryStatus.STORED, EntryStatus.COMMITTED)


def tell(session: Session, uid: str, at: datetime, what: str) -> None:
    """Add a line to an instance's story."""
    session.add(EventRow(sop_instance_uid=uid, at=at, what=what))


def whose(row: DeliveryRow | Delivery | CommitmentRequest) -> str:
    """Return what a line of the story is about: a destination, and whose report it was sent."""
    return f"{row.destination}, {row.algorithm}"


def changed(result: Any) -> int:
    """Return how many rows a statement changed."""
    return int(result.rowcount)


def revive(session: Session, row: EntryRow, now: datetime) -> None:
    """Start an instance again where it ended: at scoring, or at the deliveries that failed."""
    refused = row.reason == REFUSED
    row.reason, row.message, row.updated_at = None, None, now
    if not refused:
        row.status, row.attempts, row.due_at, row.rung_at = EntryStatus.RECEIVED, 0, now, None
        return
    row.status, row.due_at = EntryStatus.REPORTED, None
    session.execute(
        update(DeliveryRow)
        .where(
            DeliveryRow.sop_instance_uid == row.sop_instance_uid, DeliveryRow.status == DeliveryStatus.FAILED
        )
        .values(status=DeliveryStatus.PENDING, created_at=now, due_at=now, rung_at=None, updated_at=now)
    )


def is_reported(row: EntryRow) -> bool:
    """Tell whether an entry's state is what its deliveries amount to.

    One that is scored again is not, nor is one that ended otherwise then: what is heard of its last report
    in the meantime changes no entry.
    """
    return row.status in _REPORTED or (row.status == EntryStatus.FAILED and row.reason == REFUSED)


def close_when_settled(session: Session, entry: EntryRow, now: datetime) -> None:
    """Give an entry its final state once none of its deliveries is under way."""
    if not is_reported(entry):
        return
    deliveries: Sequence[DeliveryRow] = session.scalars(
        select(DeliveryRow)
        .where(DeliveryRow.sop_instance_uid == entry.sop_instance_uid)
        .execution_options(populate_existing=True)
    ).all()
    states = {row.status for row in deliveries}
    if states & set(UNDER_WAY):
        return
    asked = [row for row in deliveries if row.asks_commitment]
    entry.updated_at = now
    entry.message = "; ".join(f"{whose(row)}: {row.message}" for row in deliveries)
    if DeliveryStatus.FAILED in states:
        entry.status, entry.reason = EntryStatus.FAILED, REFUSED
    elif asked and all(row.status == DeliveryStatus.COMMITTED for row in asked):
        entry.status, entry.reason = EntryStatus.COMMITTED, None
    else:
        entry.status, entry.reason = EntryStatus.STORED, None
