"""What operators read in the journal: counts, the oldest waiting, one image's whole story."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Engine, case, func, select
from sqlalchemy.orm import selectinload

from worker.assessments import assessments_of
from worker.database import transaction
from worker.entry import (
    Delivery,
    DeliveryStatus,
    DestinationHealth,
    EntryStatus,
    JournalEntry,
    MadeReport,
    ReaderAssessment,
)
from worker.reports import reports_of
from worker.schema import DeliveryRow, DestinationRow, EntryRow, EventRow


class History:
    """Reading access to the journal's tables.

    Parameters
    ----------
    engine : sqlalchemy.Engine
        From ``worker.database.open_engine``.

    Raises
    ------
    StorageError
        By every method, when the database cannot be reached.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def entry(self, sop_instance_uid: str) -> JournalEntry | None:
        """Return one instance, or None if it is unknown."""
        with transaction(self._engine) as session:
            row = session.get(EntryRow, sop_instance_uid)
            return None if row is None else row.value()

    def entries(self, limit: int = 1000) -> tuple[JournalEntry, ...]:
        """Return the instances received last, latest first."""
        with transaction(self._engine) as session:
            latest = select(EntryRow).order_by(EntryRow.received_at.desc()).limit(limit)
            rows = session.scalars(latest.options(selectinload(EntryRow.results)))
            return tuple(row.value() for row in rows)

    def deliveries(self, sop_instance_uid: str) -> tuple[Delivery, ...]:
        """Return all deliveries of one instance, by destination, then by algorithm."""
        with transaction(self._engine) as session:
            rows = session.scalars(
                select(DeliveryRow)
                .where(DeliveryRow.sop_instance_uid == sop_instance_uid)
                .order_by(DeliveryRow.destination, DeliveryRow.algorithm)
            )
            return tuple(row.value() for row in rows)

    def reports(self, sop_instance_uid: str) -> tuple[MadeReport, ...]:
        """Return the reports that were made of one radiograph, oldest first."""
        with transaction(self._engine) as session:
            return reports_of(session, sop_instance_uid)

    def assessments(self, sop_instance_uid: str | None = None) -> tuple[ReaderAssessment, ...]:
        """Return what readers said of one radiograph's reports, or of all, oldest first."""
        with transaction(self._engine) as session:
            return assessments_of(session, sop_instance_uid)

    def story(self, sop_instance_uid: str) -> tuple[tuple[datetime, str], ...]:
        """Return when what happened to one instance, in order."""
        with transaction(self._engine) as session:
            rows = session.scalars(
                select(EventRow).where(EventRow.sop_instance_uid == sop_instance_uid).order_by(EventRow.id)
            )
            return tuple((row.at, row.what) for row in rows)

    def counts(self) -> dict[EntryStatus, int]:
        """Return how many instances stand where; every status has a number."""
        with transaction(self._engine) as session:
            found = session.execute(select(EntryRow.status, func.count()).group_by(EntryRow.status)).all()
            counted = {status: count for status, count in found}
            return {status: counted.get(status, 0) for status in EntryStatus}

    def oldest_waiting(self) -> datetime | None:
        """Return since when the oldest instance without an outcome waits."""
        with transaction(self._engine) as session:
            return session.scalar(
                select(EntryRow.received_at)
                .where(EntryRow.status.in_([EntryStatus.RECEIVED, EntryStatus.SCORING]))
                .order_by(EntryRow.received_at)
                .limit(1)
            )

    def rests(self, destination: str) -> bool:
        """Tell whether a destination is left alone at present, because it did not answer."""
        with transaction(self._engine) as session:
            row = session.get(DestinationRow, destination)
            return row is not None and row.resting_until is not None and row.resting_until > datetime.now(UTC)

    def destinations(self) -> tuple[tuple[DestinationHealth, int], ...]:
        """Return every destination that has had a delivery, with how many wait for it, by name."""
        waiting = (DeliveryStatus.PENDING, DeliveryStatus.SENDING)
        with transaction(self._engine) as session:
            found = session.execute(
                select(
                    DeliveryRow.destination,
                    func.sum(case((DeliveryRow.status.in_(waiting), 1), else_=0)),
                )
                .group_by(DeliveryRow.destination)
                .order_by(DeliveryRow.destination)
            ).all()
            known = {row.name: row.value() for row in session.scalars(select(DestinationRow))}
            return tuple(
                (known.get(name, DestinationHealth(name, 0, None, None)), int(count)) for name, count in found
            )
