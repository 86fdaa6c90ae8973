"""Whether a role on this host does its work; what container health checks ask."""

from __future__ import annotations

import time
from collections.abc import Sequence

from kombu.exceptions import OperationalError
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from worker.errors import WorkerError
from worker.roles import heartbeat, worker_name
from worker.settings import Settings
from worker.tasks import make_queue

_ANSWER_WITHIN_S = 5.0


class Unhealthy(WorkerError):
    """The role does not answer."""


def require_listening(settings: Settings) -> None:
    """Check that the node answers an association request; a refusal of our AE title is an answer too.

    Raises
    ------
    Unhealthy
        When nothing answers.
    """
    ae = AE(settings.ae_title)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = _ANSWER_WITHIN_S
    ae.add_requested_context(Verification)
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "") else settings.host  # noqa: S104
    host = "::1" if host == "::" else host
    association = ae.associate(host, settings.port, ae_title=settings.ae_title)
    if association.is_established:
        association.release()
    elif not association.is_rejected:
        raise Unhealthy(f"no DICOM node answers on {host}:{settings.port}: is `listen` running?")


def require_working(settings: Settings, queues: Sequence[str]) -> None:
    """Check that this host's worker for ``queues`` answers through the broker.

    Raises
    ------
    Unhealthy
        When it does not, or the broker is away.
    """
    name = worker_name(queues)
    app = make_queue(settings).app
    try:
        answers = app.control.ping(destination=[name], timeout=_ANSWER_WITHIN_S)
    except (OperationalError, OSError) as error:
        raise Unhealthy(f"the broker is away ({type(error).__name__}): check CXR_BROKER_URL") from None
    if not answers:
        raise Unhealthy(f"the worker {name} does not answer through the broker: see its log")


def require_sweeping(settings: Settings) -> None:
    """Check that this host's sweeper finished a round lately.

    Raises
    ------
    Unhealthy
        When its last round is older than ten intervals and a minute.
    """
    path = heartbeat(settings)
    limit_s = 60 + 10 * settings.sweep_interval_s
    try:
        age_s = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        raise Unhealthy("the sweeper has not finished a round yet: see its log") from None
    if age_s > limit_s:
        raise Unhealthy(f"the sweeper's last round was {age_s:.0f} s ago: see its log")
