"""Which reports have been made of a radiograph, and what each was built upon."""

from __future__ import annotations

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_node.instance import InstanceReference
from dicom_node.prior import ReportBasis
from worker.entry import MadeReport
from worker.schema import ReportRow

_BASIS = TypeAdapter(ReportBasis)
_REFERENCE = TypeAdapter(InstanceReference)


def put_report(session: Session, report: MadeReport) -> None:
    """Record a report that lies in the spool."""
    reference = report.reference
    session.merge(
        ReportRow(
            sop_instance_uid=report.sop_instance_uid,
            variant=report.variant,
            algorithm=report.algorithm,
            algorithm_digest=report.algorithm_digest,
            form_digest=report.form_digest,
            kinds=list(report.kinds),
            report_uid=None if reference is None else reference.sop_instance_uid,
            reference=None if reference is None else _REFERENCE.dump_python(reference, mode="json"),
            basis=_BASIS.dump_python(report.basis, mode="json"),
            made_at=report.basis.created_at,
        )
    )


def reports_of(session: Session, sop_instance_uid: str) -> tuple[MadeReport, ...]:
    """Return what has been made of a radiograph, oldest first."""
    rows = session.scalars(
        select(ReportRow).where(ReportRow.sop_instance_uid == sop_instance_uid).order_by(ReportRow.made_at)
    )
    return tuple(_report(row) for row in rows)


def _report(row: ReportRow) -> MadeReport:
    return MadeReport(
        sop_instance_uid=row.sop_instance_uid,
        variant=row.variant,
        algorithm=row.algorithm,
        algorithm_digest=row.algorithm_digest,
        form_digest=row.form_digest,
        kinds=tuple(row.kinds),  # type: ignore[arg-type]
        reference=None if row.reference is None else _REFERENCE.validate_python(row.reference),
        basis=_BASIS.validate_python(row.basis),
    )
