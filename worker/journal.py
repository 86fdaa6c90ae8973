"""The journal: what happens to every instance; the truth that queues only ring about.

Every method is one transaction. Values leave, rows do not. ``worker.deliveries`` has the reports' way to
their destinations; operators read the journal through ``worker.history``; ``worker.upkeep`` mends it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dicom_node.instance import ReceivedInstance
from worker.assessments import put_assessment
from worker.database import transaction
from worker.entry import DeliveryStatus, EntryStatus, Finding, JournalEntry, PatientResult, ReaderAssessment
from worker.entry_rows import changed, close_when_settled, revive, tell
from worker.priors import put_result
from worker.reports import put_report
from worker.schema import DeliveryRow, EntryRow, ResultRow


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
            if row.purged_at is not None:
                # The sender's copy lies in the spool once more, and stays for the retention time.
                row.purged_at, row.updated_at = None, now
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

    def mark_reported(self, entry: JournalEntry, *findings: Finding) -> bool:
        """Record that the reports lie in the spool, and where they must go.

        A destination that has been sent another report of this radiograph by the same algorithm gets the
        new one; one that has been sent this very report gets it again only if it refused it. What other
        algorithms found before stays.

        Parameters
        ----------
        entry : JournalEntry
            The claim.
        *findings : Finding
            What each algorithm has found, and what was made of it.

        Returns
        -------
        bool
            False if the claim had been taken over; then nothing is changed.
        """
        now = datetime.now(UTC)
        uid = entry.sop_instance_uid
        with transaction(self._engine) as session:
            if not _close(session, entry, now, {"status": EntryStatus.REPORTED}):
                return False
            for finding in findings:
                _put_finding(session, uid, finding, now)
            for line in dict.fromkeys(line for finding in findings for line in finding.notes):
                tell(session, uid, now, line)
            if _send_out(session, uid, findings, now):
                close_when_settled(session, session.get_one(EntryRow, uid, populate_existing=True), now)
            return True

    def mark_rejected(
        self, entry: JournalEntry, reason: str, message: str, result: PatientResult | None = None
    ) -> bool:
        """Record that the instance is not eligible; False if the claim had been taken over.

        Parameters
        ----------
        entry : JournalEntry
            The claim.
        reason, message : str
            Why, coded and in words.
        result : PatientResult, optional
            What it tells of an earlier radiograph all the same: one of our own reports.
        """
        return self._end(entry, EntryStatus.REJECTED, reason, message, result)

    def mark_noted(self, entry: JournalEntry, noted: ReaderAssessment, message: str) -> bool:
        """Record a reader's assessment with its radiograph; False if the claim had been taken over."""
        now = datetime.now(UTC)
        with transaction(self._engine) as session:
            if not _close(session, entry, now, {"status": EntryStatus.NOTED, "message": message}):
                return False
            tell(session, entry.sop_instance_uid, now, f"noted: {message}")
            # Said twice, it stands there once.
            new = put_assessment(session, noted)
            if new and session.get(EntryRow, noted.sop_instance_uid) is not None:
                tell(session, noted.sop_instance_uid, now, f"{message}; in {entry.sop_instance_uid}")
            return True

    def mark_failed(self, entry: JournalEntry, reason: str, message: str) -> bool:
        """Record that no attempt is left; False if the claim had been taken over."""
        return self._end(entry, EntryStatus.FAILED, reason, message)

    def _end(
        self,
        entry: JournalEntry,
        status: EntryStatus,
        reason: str,
        message: str,
        result: PatientResult | None = None,
    ) -> bool:
        now = datetime.now(UTC)
        with transaction(self._engine) as session:
            if not _close(session, entry, now, {"status": status, "reason": reason, "message": message}):
                return False
            if result is not None:
                put_result(session, result, now)
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


def _put_finding(session: Session, uid: str, finding: Finding, now: datetime) -> None:
    record = finding.record
    session.merge(
        ResultRow(
            sop_instance_uid=uid,
            algorithm=record["algorithm"],
            algorithm_digest=record["algorithm_digest"],
            record=dict(record),
        )
    )
    for report in finding.reports:
        put_report(session, report)
    if finding.result is not None:
        put_result(session, finding.result, now)
    told = f"reported by {record['algorithm']}: {record['outcome']}"
    tell(session, uid, now, told if finding.deliveries else f"{told}; no destination set")


def _send_out(session: Session, uid: str, findings: Sequence[Finding], now: datetime) -> bool:
    """Let every destination have its reports; return whether one had been sent a report before."""
    known = {
        (row.destination, row.algorithm): row
        for row in session.scalars(
            select(DeliveryRow).where(DeliveryRow.sop_instance_uid == uid).with_for_update()
        )
    }
    wanted = {
        (destination, str(finding.record["algorithm"])): variant
        for finding in findings
        for destination, variant in finding.deliveries.items()
    }
    for key, variant in wanted.items():
        row = known.get(key)
        if row is None:
            row = DeliveryRow(sop_instance_uid=uid, destination=key[0], algorithm=key[1], variant="")
            session.add(row)
        if row.variant == variant and row.status != DeliveryStatus.FAILED:
            continue
        row.variant, row.status, row.attempts, row.message = variant, DeliveryStatus.PENDING, 0, None
        row.created_at = row.updated_at = row.due_at = row.rung_at = now
        row.stored, row.asks_commitment = None, False
    session.flush()
    return bool(known)
