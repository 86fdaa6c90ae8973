"""What readers said of our reports, and of which."""

from __future__ import annotations

from collections.abc import Sequence

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

    def find_report(self, uids: Sequence[str], study_instance_uid: str) -> tuple[str, str] | None:
        """Return the first of some instances that is a report of ours, as its radiograph's UID and its own.

        Parameters
        ----------
        uids : Sequence of str
            SOP Instance UIDs that a document may judge, the likeliest first.
        study_instance_uid : str
            The document's study: what destinations have taken of it is looked through as well.
        """
        sent = (
            select(DeliveryRow.sop_instance_uid, DeliveryRow.stored)
            .join(EntryRow, EntryRow.sop_instance_uid == DeliveryRow.sop_instance_uid)
            .where(EntryRow.study_instance_uid == study_instance_uid)
        )
        with transaction(self._engine) as session:
            ours = {
                uid: radiograph for radiograph, stored in session.execute(sent) for _, uid in stored or ()
            }
            for table in (PriorRow, ReportRow):
                known = select(table.report_uid, table.sop_instance_uid).where(table.report_uid.in_(uids))
                ours |= {str(uid): radiograph for uid, radiograph in session.execute(known)}
        return next(((ours[uid], uid) for uid in uids if uid in ours), None)


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
