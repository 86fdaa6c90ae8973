"""The journal of deliveries: which report waits for which destination, who is sending it, who has proved it.

Every method is one transaction, or says otherwise. A destination that cannot be reached is left alone for a
while, so that it holds up nothing that is meant for others.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pydicom.uid import generate_uid
from sqlalchemy import ColumnElement, Engine, and_, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, Session

from worker.database import transaction
from worker.entry import CommitmentRequest, Delivery, DeliveryStatus, EntryStatus, Settlement
from worker.entry_rows import changed, close_when_settled, is_reported, tell, whose
from worker.retry import retry_at
from worker.schema import CommitmentRow, DeliveryRow, DestinationRow, EntryRow, ReportRow

if TYPE_CHECKING:
    from dicom_node.storage_commitment import CommitmentResult

TOO_FAR_AHEAD = timedelta(minutes=20)
"""Nothing is ever put off for longer; a time beyond it was written before the clock was set back."""

_PROBE_LEASE = timedelta(minutes=3)
_LONGEST_REST_S = 30.0
_NO_SUCH_OBJECT_INSTANCE = 0x0112
"""Failure Reason by which a destination says that it has not got the instance (PS3.3 C.14.1.1)."""


class Deliveries:
    """All access to the tables of deliveries, destinations and commitments.

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

    def claim(self, sop_instance_uid: str) -> Delivery | None:
        """Take one delivery of this instance that is due at a destination that does not rest, or None.

        A destination that was not reached the last time is tried by one claim at a time.
        """
        now = datetime.now(UTC)
        with transaction(self._engine) as session:
            rows = session.scalars(
                select(DeliveryRow)
                .outerjoin(DestinationRow, DestinationRow.name == DeliveryRow.destination)
                .where(
                    DeliveryRow.sop_instance_uid == sop_instance_uid,
                    DeliveryRow.status == DeliveryStatus.PENDING,
                    due(DeliveryRow.due_at, now),
                    awake(now),
                )
                .order_by(DeliveryRow.due_at)
                .with_for_update(skip_locked=True, of=DeliveryRow)
            ).all()
            row = next((row for row in rows if _may_call(session, row.destination, now)), None)
            if row is None:
                return None
            row.status, row.due_at, row.updated_at = DeliveryStatus.SENDING, None, now
            row.attempts += 1
            session.flush()
            return row.value()

    def kinds_made(self, delivery: Delivery) -> tuple[str, ...]:
        """Return the kinds of object of which a delivery's report consists; none where that is not known."""
        with transaction(self._engine) as session:
            row = session.get(ReportRow, (delivery.sop_instance_uid, delivery.variant))
            return () if row is None else tuple(row.kinds)

    def settle(self, delivery: Delivery, settlement: Settlement, due_at: datetime | None = None) -> bool:
        """Record how an attempt to deliver went, and close the entry when every destination is settled.

        Parameters
        ----------
        delivery : Delivery
            The claim.
        settlement : Settlement
            How it went.
        due_at : datetime.datetime, optional
            When to try again, if PENDING.

        Returns
        -------
        bool
            False if the claim had been taken over; then nothing is changed, unless the destination has the
            report: that is a fact whoever brought it there, and counts.
        """
        now = datetime.now(UTC)
        asks = settlement.asks_commitment and settlement.status is DeliveryStatus.STORED
        with transaction(self._engine) as session:
            # The entry's row is locked first by every path that may close it: no lost last delivery.
            entry = session.get_one(EntryRow, delivery.sop_instance_uid, with_for_update=True)
            settled = session.execute(
                update(DeliveryRow)
                .where(
                    DeliveryRow.sop_instance_uid == delivery.sop_instance_uid,
                    DeliveryRow.destination == delivery.destination,
                    DeliveryRow.algorithm == delivery.algorithm,
                    # A report that was replaced on its way says nothing of the one that replaced it.
                    DeliveryRow.variant == delivery.variant,
                    *_may_settle(delivery, settlement),
                )
                .values(
                    status=settlement.status,
                    message=settlement.message,
                    stored=[list(pair) for pair in settlement.stored],
                    asks_commitment=asks,
                    due_at=now if asks else due_at,
                    rung_at=now if asks else None,
                    updated_at=now,
                )
            )
            if changed(settled) == 0:
                return False
            tell(session, entry.sop_instance_uid, now, f"{whose(delivery)}: {settlement.message}")
            close_when_settled(session, entry, now)
            return True

    def note_reached(self, destination: str) -> None:
        """Record that a destination answered; what waited for it is rung for at once."""
        with transaction(self._engine) as session:
            woken = session.execute(
                update(DestinationRow)
                .where(DestinationRow.name == destination, DestinationRow.failures > 0)
                .values(failures=0, resting_until=None, message=None, updated_at=datetime.now(UTC))
            )
            if changed(woken) == 0:
                return
        # In a transaction of its own: rows of deliveries are locked before rows of destinations elsewhere.
        with transaction(self._engine) as session:
            session.execute(
                update(DeliveryRow)
                .where(DeliveryRow.destination == destination, DeliveryRow.status == DeliveryStatus.PENDING)
                .values(rung_at=None)
            )

    def note_unreached(self, destination: str, message: str) -> None:
        """Record that a destination did not answer, and leave it alone for 2 s, doubled, at most 30."""
        now = datetime.now(UTC)
        try:
            with transaction(self._engine) as session:
                row = session.get(DestinationRow, destination, with_for_update=True)
                if row is None:
                    row = DestinationRow(name=destination, failures=0)
                    session.add(row)
                row.failures += 1
                row.message, row.updated_at = message, now
                row.resting_until = retry_at(row.failures, now, _LONGEST_REST_S)
        except IntegrityError:
            # Another process met the same silence in this moment; its note is as good.
            return

    def claim_commitment(self, sop_instance_uid: str) -> CommitmentRequest | None:
        """Take one of this instance's destinations that is to be asked for commitment now, or None."""
        now = datetime.now(UTC)
        with transaction(self._engine) as session:
            row = session.scalars(
                select(DeliveryRow)
                .outerjoin(DestinationRow, DestinationRow.name == DeliveryRow.destination)
                .where(
                    DeliveryRow.sop_instance_uid == sop_instance_uid,
                    commitment_due(now),
                    awake(now),
                )
                .limit(1)
                .with_for_update(skip_locked=True, of=DeliveryRow)
            ).first()
            if row is None:
                return None
            row.due_at, row.updated_at = now + _PROBE_LEASE, now
            request = CommitmentRow(
                transaction_uid=generate_uid(prefix=None),
                sop_instance_uid=sop_instance_uid,
                destination=row.destination,
                algorithm=row.algorithm,
                variant=row.variant,
                requested_at=now,
            )
            session.add(request)
            session.flush()
            return CommitmentRequest(
                transaction_uid=request.transaction_uid,
                sop_instance_uid=sop_instance_uid,
                destination=row.destination,
                algorithm=row.algorithm,
                variant=row.variant,
                stored=row.value().stored,
                asked=_count_requests(session, row),
            )

    def settle_commitment(self, request: CommitmentRequest, message: str, due_at: datetime | None) -> None:
        """Record how a request for commitment went.

        Parameters
        ----------
        request : CommitmentRequest
            The claim.
        message : str
            What the destination answered, in words.
        due_at : datetime.datetime, optional
            When to ask again unless the answer comes first; None: never, the destination does not offer it.
        """
        now = datetime.now(UTC)
        with transaction(self._engine) as session:
            session.execute(
                update(DeliveryRow)
                .where(
                    DeliveryRow.sop_instance_uid == request.sop_instance_uid,
                    DeliveryRow.destination == request.destination,
                    DeliveryRow.algorithm == request.algorithm,
                    DeliveryRow.variant == request.variant,
                    DeliveryRow.status == DeliveryStatus.STORED,
                    DeliveryRow.due_at.is_not(None),
                )
                .values(due_at=due_at, rung_at=None, updated_at=now)
            )
            tell(session, request.sop_instance_uid, now, f"{whose(request)}: commitment {message}")

    def record_commitment(self, result: CommitmentResult) -> Delivery | None:
        """Record a destination's word on a request for commitment.

        COMMITTED when it vouches for everything it had taken; to be sent again when it says that it has
        not got an instance; asked again later when it cannot say.

        Parameters
        ----------
        result : CommitmentResult
            The word.

        Returns
        -------
        Delivery or None
            Where the delivery stands now; PENDING wants a bell. None if no such request was made here.
        """
        now = datetime.now(UTC)
        with transaction(self._engine) as session:
            request = session.get(CommitmentRow, result.transaction_uid)
            if request is None:
                return None
            entry = session.get_one(EntryRow, request.sop_instance_uid, with_for_update=True)
            row = session.get_one(
                DeliveryRow, (request.sop_instance_uid, request.destination, request.algorithm)
            )
            if row.variant != request.variant:
                tell(session, entry.sop_instance_uid, now, f"{whose(row)}: a word on a replaced report")
            elif row.status == DeliveryStatus.STORED:
                told = _judge(row, result, _count_requests(session, row), now)
                row.updated_at, row.rung_at = now, None
                tell(session, entry.sop_instance_uid, now, f"{whose(row)}: {told}")
                session.flush()
                if row.status == DeliveryStatus.PENDING and is_reported(entry):
                    entry.status, entry.updated_at = EntryStatus.REPORTED, now
                else:
                    close_when_settled(session, entry, now)
            return row.value()


def due(column: InstrumentedAttribute[datetime | None], now: datetime) -> ColumnElement[bool]:
    """Return the condition that a time has come, or was written by a clock that was far ahead."""
    return or_(column <= now, column > now + TOO_FAR_AHEAD)


def commitment_due(now: datetime) -> ColumnElement[bool]:
    """Return the condition that a delivery's destination is to be asked for commitment now."""
    # A site may choose to wait for days, so here the clock's being set back shows in the last change.
    set_back = DeliveryRow.updated_at > now + TOO_FAR_AHEAD
    return and_(
        DeliveryRow.status == DeliveryStatus.STORED,
        DeliveryRow.due_at.is_not(None),
        or_(DeliveryRow.due_at <= now, set_back),
    )


def awake(now: datetime) -> ColumnElement[bool]:
    """Return the condition that the joined destination does not rest; one never met does not."""
    return or_(
        DestinationRow.resting_until.is_(None),
        DestinationRow.resting_until <= now,
        DestinationRow.resting_until > now + TOO_FAR_AHEAD,
    )


def _may_settle(delivery: Delivery, settlement: Settlement) -> tuple[ColumnElement[bool], ...]:
    if settlement.status is DeliveryStatus.STORED:
        return (DeliveryRow.status.in_((DeliveryStatus.SENDING, DeliveryStatus.PENDING)),)
    return (
        DeliveryRow.status == DeliveryStatus.SENDING,
        DeliveryRow.attempts == delivery.attempts,
        DeliveryRow.updated_at == delivery.updated_at,
    )


def _may_call(session: Session, destination: str, now: datetime) -> bool:
    row = session.get(DestinationRow, destination, with_for_update=True, populate_existing=True)
    if row is None or row.failures == 0:
        return True
    if row.resting_until is not None and now < row.resting_until <= now + TOO_FAR_AHEAD:
        return False
    row.resting_until = now + _PROBE_LEASE
    return True


def _count_requests(session: Session, row: DeliveryRow) -> int:
    mine = and_(
        CommitmentRow.sop_instance_uid == row.sop_instance_uid,
        CommitmentRow.destination == row.destination,
        CommitmentRow.algorithm == row.algorithm,
        CommitmentRow.variant == row.variant,
    )
    return session.scalar(select(func.count()).select_from(CommitmentRow).where(mine)) or 0


def _judge(row: DeliveryRow, result: CommitmentResult, asked: int, now: datetime) -> str:
    wanted = {uid for _, uid in row.stored or ()}
    if wanted and wanted <= result.committed:
        row.status, row.due_at = DeliveryStatus.COMMITTED, None
        return f"commits to keeping {len(wanted)} instances"
    reasons = {result.failed[uid] for uid in wanted & result.failed.keys()}
    codes = ", ".join(f"0x{reason:04X}" for reason in sorted(reasons)) or "not mentioned"
    if _NO_SUCH_OBJECT_INSTANCE in reasons:
        row.status, row.due_at = DeliveryStatus.PENDING, retry_at(row.attempts, now)
        return f"has lost what it had taken ({codes}); sent again"
    row.due_at = retry_at(asked, now)
    return f"does not commit ({codes}); asked again"
