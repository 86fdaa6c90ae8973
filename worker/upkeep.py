"""What mends the journal: dead claims, forgotten bells, requeueing, retention."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import Engine, or_, select, update

from worker.database import transaction
from worker.entry import DeliveryStatus, EntryStatus, Overdue
from worker.journal import revive, tell
from worker.schema import DeliveryRow, EntryRow

FINISHED = (EntryStatus.STORED, EntryStatus.COMMITTED, EntryStatus.REJECTED)


class Upkeep:
    """The sweeper's and the operator's verbs on the journal, each one transaction.

    Parameters
    ----------
    engine : sqlalchemy.Engine
        From ``worker.database.open_engine``.

    Raises
    ------
    StorageError
        By every method, when the database cannot be reached or written.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def restore_stale(self, claimed_before: datetime, maximum_attempts: int) -> None:
        """Take back claims whose task died: ready again, or FAILED when its attempts are used up.

        Parameters
        ----------
        claimed_before : datetime.datetime
            Claims older than this are taken for dead.
        maximum_attempts : int
            Attempts an instance has; ends the circle of one that kills its worker.
        """
        now = datetime.now(UTC)
        with transaction(self._engine) as session:
            for row in session.scalars(
                select(EntryRow)
                .where(EntryRow.status == EntryStatus.SCORING, EntryRow.updated_at < claimed_before)
                .with_for_update(skip_locked=True)
            ):
                row.updated_at = now
                if row.attempts >= maximum_attempts:
                    row.status, row.reason = EntryStatus.FAILED, "worker-lost"
                    row.message = (
                        f"the worker died or hung in each of {row.attempts} attempts on this image: "
                        "look at the worker's log and memory, then `cxr-worker requeue`"
                    )
                    tell(session, row.sop_instance_uid, now, f"failed: {row.message}")
                else:
                    row.status, row.due_at, row.rung_at = EntryStatus.RECEIVED, now, None
                    tell(session, row.sop_instance_uid, now, "its worker was lost; ready again")
            session.execute(
                update(DeliveryRow)
                .where(DeliveryRow.status == DeliveryStatus.SENDING, DeliveryRow.updated_at < claimed_before)
                .values(status=DeliveryStatus.PENDING, due_at=now, rung_at=None, updated_at=now)
            )

    def forget_bells(self) -> None:
        """Let every waiting instance's bell ring in the next round: the queue that held them is gone."""
        with transaction(self._engine) as session:
            for table in (EntryRow, DeliveryRow):
                session.execute(update(table).values(rung_at=None))

    def take_overdue(self, rung_before: datetime, limit: int = 1000) -> Overdue:
        """Return the instances that wait although they could go on, and note that their bell rings now.

        Parameters
        ----------
        rung_before : datetime.datetime
            A bell rung since then is still trusted.
        limit : int
            Most instances of either kind, those waiting longest first.
        """
        now = datetime.now(UTC)
        with transaction(self._engine) as session:
            entries = session.scalars(
                select(EntryRow)
                .where(
                    EntryRow.status == EntryStatus.RECEIVED,
                    EntryRow.due_at <= now,
                    or_(EntryRow.rung_at.is_(None), EntryRow.rung_at <= rung_before),
                )
                .order_by(EntryRow.due_at)
                .limit(limit)
                .with_for_update(skip_locked=True)
            ).all()
            deliveries = session.scalars(
                select(DeliveryRow)
                .where(
                    DeliveryRow.status == DeliveryStatus.PENDING,
                    DeliveryRow.due_at <= now,
                    or_(DeliveryRow.rung_at.is_(None), DeliveryRow.rung_at <= rung_before),
                )
                .order_by(DeliveryRow.due_at)
                .limit(limit)
                .with_for_update(skip_locked=True)
            ).all()
            for entry in entries:
                entry.rung_at = now
            for delivery in deliveries:
                delivery.rung_at = now
            return Overdue(
                to_score=tuple(row.sop_instance_uid for row in entries),
                to_deliver=tuple(dict.fromkeys(row.sop_instance_uid for row in deliveries)),
            )

    def requeue(self, uids: Sequence[str] | None) -> tuple[str, ...]:
        """Start failed instances again where they failed; return which.

        Parameters
        ----------
        uids : Sequence of str, optional
            The instances; those that are REJECTED are scored again too. None: all that FAILED.
        """
        now = datetime.now(UTC)
        wanted = EntryRow.status == EntryStatus.FAILED
        if uids is not None:
            wanted = or_(wanted, EntryRow.status == EntryStatus.REJECTED) & EntryRow.sop_instance_uid.in_(
                uids
            )
        with transaction(self._engine) as session:
            rows = session.scalars(select(EntryRow).where(wanted).with_for_update()).all()
            for row in rows:
                revive(session, row, now)
                tell(session, row.sop_instance_uid, now, "requeued by the operator")
            return tuple(row.sop_instance_uid for row in rows)

    def finished_before(self, moment: datetime, limit: int = 1000) -> tuple[str, ...]:
        """Return instances still in the spool that were rejected, or stored everywhere, before ``moment``."""
        with transaction(self._engine) as session:
            rows = session.scalars(
                select(EntryRow.sop_instance_uid)
                .where(
                    EntryRow.status.in_(FINISHED), EntryRow.updated_at < moment, EntryRow.purged_at.is_(None)
                )
                .limit(limit)
            )
            return tuple(rows)

    def mark_purged(self, sop_instance_uid: str) -> None:
        """Record that the spool holds nothing of this instance any more; its story stays."""
        now = datetime.now(UTC)
        with transaction(self._engine) as session:
            session.get_one(EntryRow, sop_instance_uid).purged_at = now
            tell(session, sop_instance_uid, now, "files removed after the retention time")
