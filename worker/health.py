"""Whether a role on this host does its work; what container health checks ask."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from kombu.exceptions import OperationalError
from pynetdicom import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from dicom_node.association import RemoteAE, open_association
from dicom_node.errors import AssociationFailed, AssociationRefused
from dicom_node.peers import AddressList
from dicom_node.tls import unverified_context
from worker.errors import WorkerError
from worker.roles import heartbeat, worker_name
from worker.service import tls_files
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
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "") else settings.host  # noqa: S104
    host = "::1" if host == "::" else host
    if host not in AddressList(settings.allowed_addresses):
        # the node closes our connection without a word, which only a node that listens can do
        with (
            _unless_nobody_listens(host, settings.port),
            socket.create_connection((host, settings.port), _ANSWER_WITHIN_S) as connection,
        ):
            connection.recv(1)
        return
    tls = unverified_context(tls_files(settings)) if settings.tls_certificate else None
    remote = RemoteAE(settings.ae_title, host, settings.port, _ANSWER_WITHIN_S, tls)
    with (
        _unless_nobody_listens(host, settings.port),
        suppress(AssociationRefused),
        open_association(remote, settings.ae_title, [build_context(Verification)]),
    ):
        pass


@contextmanager
def _unless_nobody_listens(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except ConnectionResetError:
        return
    except (OSError, AssociationFailed):
        raise Unhealthy(f"no DICOM node answers on {host}:{port}: is `listen` running?") from None


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
