"""What readers said of our reports, and of which."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import TypeAdapter
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from dicom_node.assessment import Assessment
from worker.database import transaction
from worker.entry import ReaderAssessment
from worker.schema import AssessmentRow, DeliveryRow, EntryRow, PriorRow, ReportRow

_ASSESSMENT = TypeAdapter(Assessment)


class Assessments:
    """Access to what tells a reader's assessment of ours from somebody else's document.

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

    def find_report(self, uids: Collection[str], study_instance_uid: str) -> tuple[str, str] | None:
        """Return which of some instances is a report of ours: its radiograph's UID and its own, or None.

        Parameters
        ----------
        uids : Collection of str
            SOP Instance UIDs that a document judges.
        study_instance_uid : str
            The document's study: there what destinations have taken is looked through as well.
        """
        with transaction(self._engine) as session:
            for table in (ReportRow, PriorRow):
                found = session.execute(
                    select(table.sop_instance_uid, table.report_uid)
                    .where(table.report_uid.in_(uids))
                    .limit(1)
                ).first()
                if found is not None:
                    return str(found[0]), str(found[1])
            sent = session.execute(
                select(DeliveryRow.sop_instance_uid, DeliveryRow.stored)
                .join(EntryRow, EntryRow.sop_instance_uid == DeliveryRow.sop_instance_uid)
                .where(EntryRow.study_instance_uid == study_instance_uid)
            )
            for radiograph, stored in sent:
                for _, uid in stored or ():
                    if uid in uids:
                        return str(radiograph), str(uid)
            return None


def put_assessment(session: Session, noted: ReaderAssessment) -> bool:
    """Record an assessment; False if the document has been read before."""
    if session.get(AssessmentRow, noted.document_uid) is not None:
        return False
    session.add(
        AssessmentRow(
            document_uid=noted.document_uid,
            sop_instance_uid=noted.sop_instance_uid,
            report_uid=noted.report_uid,
            assessment=_ASSESSMENT.dump_python(noted.assessment, mode="json"),
            received_at=noted.received_at,
        )
    )
    return True


def assessments_of(session: Session, sop_instance_uid: str | None) -> tuple[ReaderAssessment, ...]:
    """Return what readers said of one radiograph's reports, or of all; oldest first."""
    query = select(AssessmentRow).order_by(AssessmentRow.received_at)
    if sop_instance_uid is not None:
        query = query.where(AssessmentRow.sop_instance_uid == sop_instance_uid)
    return tuple(
        ReaderAssessment(
            document_uid=row.document_uid,
            sop_instance_uid=row.sop_instance_uid,
            report_uid=row.report_uid,
            assessment=_ASSESSMENT.validate_python(row.assessment),
            received_at=row.received_at,
        )
        for row in session.scalars(query)
    )
