"""The journal: what happens to every instance; the truth that queues only ring about.

Every method is one transaction. Values leave, rows do not. ``worker.deliveries`` has the reports' way to
their destinations; operators read the journal through ``worker.history``; ``worker.upkeep`` mends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dicom_node.instance import ReceivedInstance
from worker.database import transaction
from worker.entry import DeliveryStatus, EntryStatus, JournalEntry
from worker.schema import DeliveryRow, EntryRow, EventRow


class Journal:
    """All access to the journal's tables.

    Parameters
    ----------
    engine : sqlalchemy.Engine
        From ``open_engine``; the schema must be current.

    Raises
    ------
    StorageError
        By every method, when the database cannot be reached or written.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record_received(self, instance: ReceivedInstance, *, differs: bool = False) -> EntryStatus:
        """Record an instance that the spool holds durably.

        A known instance is not taken up again, unless it had failed; its story gets a line.

        Parameters
        ----------
        instance : ReceivedInstance
            The instance.
        differs : bool
            Whether the spool keeps other bytes under this UID, which came first and stay.

        Returns
        -------
        EntryStatus
            Where it stands now; RECEIVED and REPORTED want a bell.
        """
        now = datetime.now(UTC)
        try:
            with transaction(self._engine) as session:
                session.add(
                    EntryRow(
                        sop_instance_uid=instance.sop_instance_uid,
                        sop_class_uid=instance.sop_class_uid,
                        series_instance_uid=instance.series_instance_uid,
                        study_instance_uid=instance.study_instance_uid,
                        calling_ae_title=instance.calling_ae_title,
                        status=EntryStatus.RECEIVED,
                        attempts=0,
                        received_at=instance.received_at,
                        updated_at=now,
                        due_at=now,
                        rung_at=now,
                    )
                )
                session.flush()
                tell(session, instance.sop_instance_uid, now, f"received from {instance.calling_ae_title}")
        except IntegrityError:
            return self._record_resent(instance, now, differs)
        return EntryStatus.RECEIVED

    def _record_resent(self, instance: ReceivedInstance, now: datetime, differs: bool) -> EntryStatus:
        with transaction(self._engine) as session:
            row = session.get_one(EntryRow, instance.sop_instance_uid, with_for_update=True)
            told = f"sent again by {instance.calling_ae_title}"
            if differs:
                told += " with other content under the same UID; the first is kept"
            if row.status == EntryStatus.FAILED:
                revive(session, row, now)
                told += " after a failure; taken up again"
            # The sender's copy lies in the spool once more.
            row.purged_at = None
            tell(session, row.sop_instance_uid, now, told)
            return EntryStatus(row.status)

    def claim(self, sop_instance_uid: str) -> JournalEntry | None:
        """Take a received instance for scoring; None if another task has it or nothing is to do."""
        now = datetime.now(UTC)
        with transaction(self._engine) as session:
            taken = session.execute(
                update(EntryRow)
                .where(EntryRow.sop_instance_uid == sop_instance_uid, EntryRow.status == EntryStatus.RECEIVED)
                .values(
                    status=EntryStatus.SCORING, attempts=EntryRow.attempts + 1, updated_at=now, due_at=None
                )
            )
            if changed(taken) == 0:
                return None
            row = session.get_one(EntryRow, sop_instance_uid)
            tell(session, sop_instance_uid, now, f"scoring, attempt {row.attempts}")
            return row.value()

    def mark_reported(
        self, entry: JournalEntry, result: Mapping[str, Any], digest: str, deliveries: Mapping[str, str]
    ) -> bool:
        """Record that the report lies in the spool, and where it must go.

        Parameters
        ----------
        entry : JournalEntry
            The claim.
        result : Mapping
            What was found, ready for JSON, without patient data.
        digest : str
            Digest of the algorithm.
        deliveries : Mapping
            Variant of the report by destination.

        Returns
        -------
        bool
            False if the claim had been taken over; then nothing is changed.
        """
        now = datetime.now(UTC)
        with transaction(self._engine) as session:
            values = {"status": EntryStatus.REPORTED, "result": dict(result), "algorithm_digest": digest}
            if not _close(session, entry, now, values):
                return False
            known = set(
                session.scalars(
                    select(DeliveryRow.destination).where(
                        DeliveryRow.sop_instance_uid == entry.sop_instance_uid
                    )
                )
            )
            for destination, variant in deliveries.items():
                if destination not in known:
                    session.add(
                        DeliveryRow(
                            sop_instance_uid=entry.sop_instance_uid,
                            destination=destination,
                            variant=variant,
                            status=DeliveryStatus.PENDING,
                            attempts=0,
                            created_at=now,
                            updated_at=now,
                            due_at=now,
                            rung_at=now,
                        )
                    )
            told = f"reported: {result['outcome']}"
            tell(session, entry.sop_instance_uid, now, told if deliveries else f"{told}; no destination set")
            return True

    def mark_rejected(self, entry: JournalEntry, reason: str, message: str) -> bool:
        """Record that the instance is not eligible; False if the claim had been taken over."""
        return self._end(entry, EntryStatus.REJECTED, reason, message)

    def mark_failed(self, entry: JournalEntry, reason: str, message: str) -> bool:
        """Record that no attempt is left; False if the claim had been taken over."""
        return self._end(entry, EntryStatus.FAILED, reason, message)

    def _end(self, entry: JournalEntry, status: EntryStatus, reason: str, message: str) -> bool:
        now = datetime.now(UTC)
        with transaction(self._engine) as session:
            if not _close(session, entry, now, {"status": status, "reason": reason, "message": message}):
                return False
            tell(session, entry.sop_instance_uid, now, f"{status.lower()}: {reason}: {message}")
            return True

    def release(self, entry: JournalEntry, message: str, due_at: datetime, *, counted: bool = True) -> bool:
        """Give a claim back to be tried again at ``due_at``; False if it had been taken over.

        Parameters
        ----------
        entry : JournalEntry
            The claim.
        message : str
            What went wrong, without patient data.
        due_at : datetime.datetime
            When to try again.
        counted : bool
            Whether the attempt counts; one that a broken disk or database ended says nothing of the image.
        """
        now = datetime.now(UTC)
        with transaction(self._engine) as session:
            values = {
                "status": EntryStatus.RECEIVED,
                "message": message,
                "attempts": entry.attempts if counted else entry.attempts - 1,
                "due_at": due_at,
                "rung_at": None,
            }
            if not _close(session, entry, now, values):
                return False
            tell(session, entry.sop_instance_uid, now, f"attempt {entry.attempts} failed: {message}")
            return True


def tell(session: Session, uid: str, at: datetime, what: str) -> None:
    """Add a line to an instance's story."""
    session.add(EventRow(sop_instance_uid=uid, at=at, what=what))


def _close(session: Session, entry: JournalEntry, now: datetime, values: Mapping[str, Any]) -> bool:
    closed = session.execute(
        update(EntryRow)
        .where(
            EntryRow.sop_instance_uid == entry.sop_instance_uid,
            EntryRow.status == EntryStatus.SCORING,
            EntryRow.attempts == entry.attempts,
            EntryRow.updated_at == entry.updated_at,
        )
        .values({"reason": None, "message": None, "due_at": None, **values, "updated_at": now})
    )
    return changed(closed) == 1


def revive(session: Session, row: EntryRow, now: datetime) -> None:
    """Start an instance again where it ended: at scoring, or at the deliveries that failed."""
    row.reason, row.message, row.updated_at = None, None, now
    if row.result is None:
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


def changed(result: Any) -> int:
    """Return how many rows a statement changed."""
    return int(result.rowcount)
