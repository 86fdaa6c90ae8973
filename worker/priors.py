"""Earlier results by patient, whom only a pseudonym names: no Patient ID, name or birth date is kept."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property

from pydantic import TypeAdapter
from sqlalchemy import Engine, delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dicom_node.prior import PatientIdentity, PriorResult
from worker.database import transaction
from worker.entry import PatientResult
from worker.schema import InquiryRow, InstallationRow, PriorRow

MOST = 20
"""Earlier results that a report is built upon at most: the latest."""

ASK_AGAIN_AFTER = timedelta(days=1)
"""How long an archive's answer about a patient is good for; what is scored here is known anyway."""

_RESULT = TypeAdapter(PriorResult)
_KEY_BYTES = 32


class Priors:
    """Access to earlier results and to what archives were asked.

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

    def pseudonym(self, patient: PatientIdentity) -> str:
        """Return the name under which this installation keeps a patient's results."""
        return patient.pseudonym(self._key)

    def before(
        self, patient: str, moment: datetime, other_than: str, algorithm: str
    ) -> tuple[PriorResult, ...]:
        """Return an algorithm's results of a patient's radiographs taken before a moment, oldest first.

        Parameters
        ----------
        patient : str
            From ``pseudonym``.
        moment : datetime.datetime
            Without zone, as the radiograph states it.
        other_than : str
            SOP Instance UID of the radiograph itself.
        algorithm : str
            Its name: only results of the same one can be compared.
        """
        with transaction(self._engine) as session:
            rows = session.scalars(
                select(PriorRow)
                .where(
                    PriorRow.patient == patient,
                    PriorRow.acquired_at < moment,
                    PriorRow.sop_instance_uid != other_than,
                    PriorRow.algorithm == algorithm,
                )
                .order_by(PriorRow.acquired_at.desc(), PriorRow.sop_instance_uid)
                .limit(MOST)
            ).all()
            return tuple(_RESULT.validate_python(row.result) for row in reversed(rows))

    def record(self, results: Iterable[PatientResult]) -> None:
        """Keep results that an archive has told."""
        with transaction(self._engine) as session:
            for result in results:
                put_result(session, result, datetime.now(UTC))

    def asked_lately(self, patient: str, archive: str) -> bool:
        """Tell whether an archive has answered about a patient within ``ASK_AGAIN_AFTER``."""
        with transaction(self._engine) as session:
            row = session.get(InquiryRow, (patient, archive))
            return row is not None and abs(datetime.now(UTC) - row.asked_at) < ASK_AGAIN_AFTER

    def note_asked(self, patient: str, archive: str) -> None:
        """Record that an archive has answered about a patient; what is no longer good is forgotten."""
        now = datetime.now(UTC)
        try:
            with transaction(self._engine) as session:
                session.execute(delete(InquiryRow).where(InquiryRow.asked_at < now - ASK_AGAIN_AFTER))
                session.merge(InquiryRow(patient=patient, archive=archive, asked_at=now))
        except IntegrityError:
            # Another process has just asked the same; its note is as good.
            return

    @cached_property
    def _key(self) -> bytes:
        try:
            with transaction(self._engine) as session:
                row = session.get(InstallationRow, 1)
                if row is None:
                    row = InstallationRow(id=1, pseudonym_key=secrets.token_hex(_KEY_BYTES))
                    session.add(row)
                    session.flush()
                return bytes.fromhex(row.pseudonym_key)
        except IntegrityError:
            # Another process has made one in this moment.
            with transaction(self._engine) as session:
                return bytes.fromhex(session.get_one(InstallationRow, 1).pseudonym_key)


def put_result(session: Session, known: PatientResult, now: datetime) -> None:
    """Keep a result; our own counts before one that was told, a later one before an earlier.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
        Of the transaction that it belongs to.
    known : PatientResult
        The result.
    now : datetime.datetime
        Aware.
    """
    result = known.result
    key = (result.sop_instance_uid, result.algorithm)
    row = session.get(PriorRow, key)
    if row is None:
        with suppress(IntegrityError), session.begin_nested():
            session.add(_filled(PriorRow(sop_instance_uid=key[0], algorithm=key[1]), known, now))
        # Another process may have told of it in this moment.
        row = session.get_one(PriorRow, key)
    if not known.source or (row.source and row.made_at < known.made_at):
        _filled(row, known, now)


def _filled(row: PriorRow, known: PatientResult, now: datetime) -> PriorRow:
    report = known.result.report
    row.patient, row.acquired_at = known.patient, known.result.acquired_at
    row.result = _RESULT.dump_python(known.result, mode="json")
    row.report_uid = None if report is None else report.sop_instance_uid
    row.source, row.made_at, row.recorded_at = known.source[:300], known.made_at, now
    return row
