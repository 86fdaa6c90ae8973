"""The journal's tables."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, Boolean, DateTime, ForeignKey, Index, Integer, String, Text, TypeDecorator
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from worker.entry import Delivery, DeliveryStatus, DestinationHealth, EntryStatus, JournalEntry, in_order


class UTCDateTime(TypeDecorator[datetime]):
    """An aware UTC time, also on databases that keep no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times and turn aware ones to UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without zone cannot be journaled")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the time as aware UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Metadata of all tables."""


class EntryRow(Base):
    """One received instance."""

    __tablename__ = "entry"

    sop_instance_uid: Mapped[str] = mapped_column(String(64), primary_key=True)
    sop_class_uid: Mapped[str] = mapped_column(String(64))
    series_instance_uid: Mapped[str] = mapped_column(String(64))
    study_instance_uid: Mapped[str] = mapped_column(String(64), index=True)
    calling_ae_title: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    reason: Mapped[str | None] = mapped_column(String(64))
    message: Mapped[str | None] = mapped_column(Text)
    received_at: Mapped[datetime] = mapped_column(UTCDateTime)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime)
    due_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    rung_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    purged_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    results: Mapped[list[ResultRow]] = relationship(viewonly=True)

    __table_args__ = (Index("ix_entry_status_due_at", "status", "due_at"),)

    def value(self) -> JournalEntry:
        """Return the row as a value."""
        fields = {name: getattr(self, name) for name in JournalEntry.__dataclass_fields__}
        results = in_order(row.value() for row in self.results)
        return JournalEntry(**{**fields, "status": EntryStatus(self.status), "results": results})


class ResultRow(Base):
    """What one algorithm has found on one radiograph, the last time that it looked."""

    __tablename__ = "result"

    sop_instance_uid: Mapped[str] = mapped_column(
        ForeignKey("entry.sop_instance_uid", ondelete="CASCADE"), primary_key=True
    )
    algorithm: Mapped[str] = mapped_column(String(64), primary_key=True)
    algorithm_digest: Mapped[str] = mapped_column(String(64))
    record: Mapped[dict[str, Any]] = mapped_column(JSON)

    def value(self) -> dict[str, Any]:
        """Return the record; those of early versions did not say what made them."""
        return {**self.record, "algorithm": self.algorithm, "algorithm_digest": self.algorithm_digest}


class DeliveryRow(Base):
    """One algorithm's report on its way to one destination."""

    __tablename__ = "delivery"

    sop_instance_uid: Mapped[str] = mapped_column(
        ForeignKey("entry.sop_instance_uid", ondelete="CASCADE"), primary_key=True
    )
    destination: Mapped[str] = mapped_column(String(300), primary_key=True)
    algorithm: Mapped[str] = mapped_column(String(64), primary_key=True)
    variant: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    message: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime)
    due_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    rung_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    stored: Mapped[list[list[str]] | None] = mapped_column(JSON)
    asks_commitment: Mapped[bool] = mapped_column(Boolean, default=False)

    __table_args__ = (Index("ix_delivery_status_due_at", "status", "due_at"),)

    def value(self) -> Delivery:
        """Return the row as a value."""
        fields = {name: getattr(self, name) for name in Delivery.__dataclass_fields__}
        stored = tuple((sop_class, uid) for sop_class, uid in self.stored or ())
        return Delivery(**{**fields, "status": DeliveryStatus(self.status), "stored": stored})


class DestinationRow(Base):
    """A destination that could not be reached, and until when it is left alone."""

    __tablename__ = "destination"

    name: Mapped[str] = mapped_column(String(300), primary_key=True)
    failures: Mapped[int] = mapped_column(Integer, default=0)
    resting_until: Mapped[datetime | None] = mapped_column(UTCDateTime)
    message: Mapped[str | None] = mapped_column(Text)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime)

    def value(self) -> DestinationHealth:
        """Return the row as a value."""
        return DestinationHealth(self.name, self.failures, self.resting_until, self.message)


class CommitmentRow(Base):
    """One request for storage commitment; its transaction UID is what an answer names."""

    __tablename__ = "commitment"

    transaction_uid: Mapped[str] = mapped_column(String(64), primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(
        ForeignKey("entry.sop_instance_uid", ondelete="CASCADE"), index=True
    )
    destination: Mapped[str] = mapped_column(String(300))
    algorithm: Mapped[str] = mapped_column(String(64))
    variant: Mapped[str] = mapped_column(String(64), default="")
    requested_at: Mapped[datetime] = mapped_column(UTCDateTime)


class EventRow(Base):
    """One line of an instance's story."""

    __tablename__ = "event"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    sop_instance_uid: Mapped[str] = mapped_column(
        ForeignKey("entry.sop_instance_uid", ondelete="CASCADE"), index=True
    )
    at: Mapped[datetime] = mapped_column(UTCDateTime)
    what: Mapped[str] = mapped_column(Text)


class InstallationRow(Base):
    """The one row of what belongs to this installation: the key under which patients have pseudonyms."""

    __tablename__ = "installation"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    pseudonym_key: Mapped[str] = mapped_column(String(64))


class PriorRow(Base):
    """What one radiograph was given by one algorithm, under its patient's pseudonym.

    It outlives the entry. ``source`` names the archive or sender that it came from, ``""`` for results of
    this installation; ``made_at`` is what its report says, to prefer the later of two.
    """

    __tablename__ = "prior"

    sop_instance_uid: Mapped[str] = mapped_column(String(64), primary_key=True)
    algorithm: Mapped[str] = mapped_column(String(64), primary_key=True)
    patient: Mapped[str] = mapped_column(String(64))
    acquired_at: Mapped[datetime] = mapped_column(DateTime)
    result: Mapped[dict[str, Any]] = mapped_column(JSON)
    report_uid: Mapped[str | None] = mapped_column(String(64), index=True)
    source: Mapped[str] = mapped_column(String(300), default="")
    made_at: Mapped[str] = mapped_column(String(32), default="")
    recorded_at: Mapped[datetime] = mapped_column(UTCDateTime)

    __table_args__ = (Index("ix_prior_patient_acquired_at", "patient", "acquired_at"),)


class InquiryRow(Base):
    """When an archive was last asked for a patient's earlier results, and answered."""

    __tablename__ = "inquiry"

    patient: Mapped[str] = mapped_column(String(64), primary_key=True)
    archive: Mapped[str] = mapped_column(String(300), primary_key=True)
    asked_at: Mapped[datetime] = mapped_column(UTCDateTime)


class ReportRow(Base):
    """One report that was made of a radiograph, and what it was built upon."""

    __tablename__ = "report"

    sop_instance_uid: Mapped[str] = mapped_column(
        ForeignKey("entry.sop_instance_uid", ondelete="CASCADE"), primary_key=True
    )
    variant: Mapped[str] = mapped_column(String(64), primary_key=True)
    algorithm: Mapped[str] = mapped_column(String(64))
    algorithm_digest: Mapped[str] = mapped_column(String(64))
    form_digest: Mapped[str] = mapped_column(String(64))
    kinds: Mapped[list[str]] = mapped_column(JSON)
    report_uid: Mapped[str | None] = mapped_column(String(64), index=True)
    reference: Mapped[dict[str, str] | None] = mapped_column(JSON)
    basis: Mapped[dict[str, Any]] = mapped_column(JSON)
    made_at: Mapped[datetime] = mapped_column(UTCDateTime)


class AssessmentRow(Base):
    """What a reader said of one of our reports; it outlives the radiograph's entry."""

    __tablename__ = "assessment"

    document_uid: Mapped[str] = mapped_column(String(64), primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(String(64), index=True)
    report_uid: Mapped[str] = mapped_column(String(64))
    assessment: Mapped[dict[str, Any]] = mapped_column(JSON)
    received_at: Mapped[datetime] = mapped_column(UTCDateTime)
