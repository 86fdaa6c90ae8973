"""Scoring again what has its result: after a change of the algorithm, its weights, or the form of reports.

What is reported again with the same algorithm in the same form is the report made before; otherwise the new
one names its predecessor (``worker.reporting``).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import click
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from worker.database import transaction
from worker.entry import EntryStatus
from worker.entry_rows import UNDER_WAY, tell
from worker.schema import DeliveryRow, EntryRow
from worker.settings import Settings
from worker.tasks import make_queue

_UNENDED = (EntryStatus.RECEIVED, EntryStatus.SCORING)
_SHOWN = 20


class Reprocessing:
    """The operator's verb on results that are to be made again.

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

    def candidates(self, since: datetime | None = None) -> tuple[str, ...]:
        """Return every instance that has a result, or that was received since a moment; oldest first."""
        query = select(EntryRow.sop_instance_uid).where(EntryRow.results.any())
        if since is not None:
            query = query.where(EntryRow.received_at >= since)
        with transaction(self._engine) as session:
            return tuple(session.scalars(query.order_by(EntryRow.received_at)))

    def start(self, sop_instance_uid: str) -> str | None:
        """Let an instance be scored again; return why not, or None if so. The sweeper rings for it."""
        now = datetime.now(UTC)
        with transaction(self._engine) as session:
            row = session.get(EntryRow, sop_instance_uid, with_for_update=True)
            if row is None:
                return "is unknown here: it never arrived, or was forgotten"
            why = _why_not(session, row)
            if why is None:
                row.status, row.attempts, row.reason, row.message = EntryStatus.RECEIVED, 0, None, None
                row.updated_at, row.due_at, row.rung_at = now, now, None
                tell(session, sop_instance_uid, now, "to be reprocessed, says the operator")
            return why


def reprocess(settings: Settings, uids: Sequence[str], since: datetime | None) -> None:
    """Let images be scored again, and say which cannot be.

    Parameters
    ----------
    settings : Settings
        Where the journal lies.
    uids : Sequence of str
        SOP Instance UIDs; none: all that have a result.
    since : datetime.datetime, optional
        Of those, only what was received since then.
    """
    reprocessing = Reprocessing(make_queue(settings).service().engine)
    left = 0
    chosen = tuple(dict.fromkeys(uids)) or reprocessing.candidates(since)
    for uid in chosen:
        why = reprocessing.start(uid)
        if why is not None:
            left += 1
            if left <= _SHOWN:
                click.echo(f"{uid}: {why}", err=True)
    if left > _SHOWN:
        click.echo(f"and {left - _SHOWN} more that are left as they are", err=True)
    click.echo(f"{len(chosen) - left} to be reprocessed, {left} left as they are")


def _why_not(session: Session, row: EntryRow) -> str | None:
    if row.status in _UNENDED:
        return "waits for its score already"
    if not row.results:
        return "has no result yet; `cxr-worker requeue` takes up what failed or was refused"
    if row.purged_at is not None:
        return "its file was removed after the retention time: send the image again, then reprocess it"
    waiting = session.scalars(
        select(DeliveryRow.destination).where(
            DeliveryRow.sop_instance_uid == row.sop_instance_uid, DeliveryRow.status.in_(UNDER_WAY)
        )
    ).first()
    return None if waiting is None else f"its report is still on its way to {waiting}; say it again later"
