"""What mends the journal: dead claims, forgotten bells, requeueing, retention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Engine, and_, delete, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from worker.database import transaction
from worker.deliveries import TOO_FAR_AHEAD, awake, commitment_due, due
from worker.entry import DeliveryStatus, EntryStatus, Overdue
from worker.entry_rows import UNDER_WAY, close_when_settled, revive, tell, whose
from worker.schema import AssessmentRow, DeliveryRow, DestinationRow, EntryRow, PriorRow

FINISHED = (EntryStatus.STORED, EntryStatus.COMMITTED, EntryStatus.REJECTED, EntryStatus.NOTED)


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
            Claims older than this are taken for dead; so are those of a clock that was far ahead.
        maximum_attempts : int
            Attempts an instance has; ends the circle of one that kills its worker.
        """
        now = datetime.now(UTC)
        with transaction(self._engine) as session:
            for row in session.scalars(
                select(EntryRow)
                .where(
                    EntryRow.status == EntryStatus.SCORING, _stale(EntryRow.updated_at, claimed_before, now)
                )
                .with_for_update(skip_locked=True)
            ):
                _take_back(session, row, maximum_attempts, now)
            session.execute(
                update(DeliveryRow)
                .where(
                    DeliveryRow.status == DeliveryStatus.SENDING,
                    _stale(DeliveryRow.updated_at, claimed_before, now),
                )
                .values(status=DeliveryStatus.PENDING, due_at=now, rung_at=None, updated_at=now)
            )

    def lose_claim(self, sop_instance_uid: str, maximum_attempts: int) -> None:
        """Take back one instance's claim, because the process that held it is known to be dead."""
        with transaction(self._engine) as session:
            row = session.get(EntryRow, sop_instance_uid, with_for_update=True)
            if row is not None and row.status == EntryStatus.SCORING:
                _take_back(session, row, maximum_attempts, datetime.now(UTC))

    def give_up(self, created_before: datetime) -> None:
        """End what waits since before a moment: deliveries FAILED, those without commitment STORED."""
        now = datetime.now(UTC)
        with transaction(self._engine) as session:
            waiting = or_(
                DeliveryRow.status == DeliveryStatus.PENDING,
                and_(DeliveryRow.status == DeliveryStatus.STORED, DeliveryRow.due_at.is_not(None)),
            )
            uids = session.scalars(
                select(DeliveryRow.sop_instance_uid).where(waiting, DeliveryRow.created_at < created_before)
            ).all()
            for uid in sorted(set(uids)):
                entry = session.get_one(EntryRow, uid, with_for_update=True)
                rows = session.scalars(
                    select(DeliveryRow).where(
                        DeliveryRow.sop_instance_uid == uid, waiting, DeliveryRow.created_at < created_before
                    )
                ).all()
                for row in rows:
                    _give_up(session, row, now)
                session.flush()
                close_when_settled(session, entry, now)

    def forget_bells(self) -> None:
        """Let every waiting instance's bell ring in the next round: the queue that held them is gone.

        So are the callers that destinations were left to.
        """
        with transaction(self._engine) as session:
            for table in (EntryRow, DeliveryRow):
                session.execute(update(table).values(rung_at=None))
            session.execute(update(DestinationRow).values(resting_until=None))

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
                    due(EntryRow.due_at, now),
                    _unheard(EntryRow.rung_at, rung_before, now),
                )
                .order_by(EntryRow.due_at)
                .limit(limit)
                .with_for_update(skip_locked=True)
            ).all()
            deliveries = session.execute(
                select(DeliveryRow, DestinationRow.failures)
                .outerjoin(DestinationRow, DestinationRow.name == DeliveryRow.destination)
                .where(
                    or_(
                        and_(DeliveryRow.status == DeliveryStatus.PENDING, due(DeliveryRow.due_at, now)),
                        commitment_due(now),
                    ),
                    awake(now),
                    _unheard(DeliveryRow.rung_at, rung_before, now),
                )
                .order_by(DeliveryRow.due_at)
                .limit(limit)
                .with_for_update(skip_locked=True, of=DeliveryRow)
            ).all()
            rung = _one_for_each_suspect([(row, failures or 0) for row, failures in deliveries])
            for entry in entries:
                entry.rung_at = now
            for delivery in rung:
                delivery.rung_at = now
            return Overdue(
                to_score=tuple(row.sop_instance_uid for row in entries),
                to_deliver=tuple(row.sop_instance_uid for row in rung),
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

    def finished_before(
        self, moment: datetime, limit: int = 1000, *, failed: bool = False
    ) -> tuple[str, ...]:
        """Return instances still in the spool whose way ended before ``moment``.

        That is: rejected, or stored at every destination and not waiting for a commitment; with ``failed``
        those that failed, too.
        """
        ended = (*FINISHED, EntryStatus.FAILED) if failed else FINISHED
        awaited = select(DeliveryRow.sop_instance_uid).where(
            or_(
                DeliveryRow.status.in_(UNDER_WAY),
                and_(DeliveryRow.status == DeliveryStatus.STORED, DeliveryRow.due_at.is_not(None)),
            )
        )
        with transaction(self._engine) as session:
            rows = session.scalars(
                select(EntryRow.sop_instance_uid)
                .where(
                    EntryRow.status.in_(ended),
                    EntryRow.updated_at < moment,
                    EntryRow.purged_at.is_(None),
                    EntryRow.sop_instance_uid.not_in(awaited),
                )
                .limit(limit)
            )
            return tuple(rows)

    def forget_before(self, moment: datetime, limit: int = 1000) -> int:
        """Delete the stories of instances whose files were removed before ``moment``; return how many."""
        with transaction(self._engine) as session:
            uids = session.scalars(
                select(EntryRow.sop_instance_uid)
                .where(EntryRow.status.in_(FINISHED), EntryRow.purged_at < moment)
                .limit(limit)
            ).all()
            session.execute(delete(EntryRow).where(EntryRow.sop_instance_uid.in_(uids)))
            return len(uids)

    def forget_results_before(self, moment: datetime) -> None:
        """Delete what later reports compare with, and readers' assessments, from before a moment."""
        with transaction(self._engine) as session:
            session.execute(delete(PriorRow).where(PriorRow.recorded_at < moment))
            session.execute(delete(AssessmentRow).where(AssessmentRow.received_at < moment))

    def retire(self, sop_instance_uid: str, remove: Callable[[], None], *, failed: bool = False) -> bool:
        """Remove an ended instance's files and record it; False if it has been taken up again meanwhile.

        Parameters
        ----------
        sop_instance_uid : str
            The instance, of ``finished_before``.
        remove : callable
            Removes its files; called while the entry is locked, so that nobody takes it up in between.
        failed : bool
            As for ``finished_before``.
        """
        now = datetime.now(UTC)
        with transaction(self._engine) as session:
            row = session.get(EntryRow, sop_instance_uid, with_for_update=True)
            if row is None or row.status not in (FINISHED if not failed else (*FINISHED, EntryStatus.FAILED)):
                return False
            remove()
            row.purged_at = now
            tell(session, sop_instance_uid, now, "files removed after the retention time")
            return True

    def in_spool(self) -> tuple[str, ...]:
        """Return every instance whose files the spool should hold."""
        with transaction(self._engine) as session:
            return tuple(
                session.scalars(select(EntryRow.sop_instance_uid).where(EntryRow.purged_at.is_(None)))
            )


def _stale(
    column: InstrumentedAttribute[datetime], claimed_before: datetime, now: datetime
) -> ColumnElement[bool]:
    return or_(column < claimed_before, column > now + TOO_FAR_AHEAD)


def _unheard(
    column: InstrumentedAttribute[datetime | None], rung_before: datetime, now: datetime
) -> ColumnElement[bool]:
    return or_(column.is_(None), column <= rung_before, column > now + TOO_FAR_AHEAD)


def _take_back(session: Session, row: EntryRow, maximum_attempts: int, now: datetime) -> None:
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


def _give_up(session: Session, row: DeliveryRow, now: datetime) -> None:
    if row.status == DeliveryStatus.PENDING:
        row.status = DeliveryStatus.FAILED
        row.message = (
            f"{row.message or 'never tried'}; given up: mend the destination, then `cxr-worker requeue`"
        )
        told = row.message
    else:
        told = "commitment given up: it never came; the instances stay stored, unproven"
    row.due_at, row.updated_at = None, now
    tell(session, row.sop_instance_uid, now, f"{whose(row)}: {told}")


def _one_for_each_suspect(deliveries: Sequence[tuple[DeliveryRow, int]]) -> list[DeliveryRow]:
    # A destination that did not answer gets one caller, not a thousand.
    tried: set[str] = set()
    rung = []
    for row, failures in deliveries:
        if failures and row.destination in tried:
            continue
        tried.add(row.destination)
        rung.append(row)
    return rung
