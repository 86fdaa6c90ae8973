"""Calling a peer: one association, opened, guarded and ended in the same way for every service."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from dicom_node.errors import AssociationFailed, AssociationRefused
from dicom_node.tls import RememberingSocket, explain

_NEGOTIATION_BYTES = 1024 * 1024  # for the answer to the request to associate


@dataclass(frozen=True)
class RemoteAE:
    """A peer to call.

    Parameters
    ----------
    ae_title, host, port
        Its AE title and address.
    timeout_s : float
        Seconds to wait for the connection, for the association, and for each answer.
    tls : ssl.SSLContext or None
        With it, the peer is called over TLS, and its certificate must be made out to ``host``
        (``dicom_node.tls.client_context``).
    """

    ae_title: str
    host: str
    port: int
    timeout_s: float = 30.0
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"


class CallBudget:
    """What a peer may make of one call; what goes beyond it ends the connection.

    Parameters
    ----------
    within_s : float
        Seconds that the call may last, from the request to associate to the release.

    Attributes
    ----------
    exceeded : str
        What the peer went beyond, in words that follow its name; ``""`` as long as it kept within.
    """

    def __init__(self, within_s: float) -> None:
        self.exceeded = ""
        self._within_s = within_s
        self._ends_at = time.monotonic() + within_s
        self._bytes_left = _NEGOTIATION_BYTES

    @property
    def left_s(self) -> float:
        """Seconds that are left, never negative."""
        return max(0.0, self._ends_at - time.monotonic())

    def allow(self, maximum_bytes: int) -> None:
        """Let the peer send so much from now on, whatever it has sent before."""
        self._bytes_left = maximum_bytes

    def spend(self, received: int) -> bool:
        """Say whether so many bytes more may be read."""
        self._bytes_left -= received
        if self._bytes_left < 0:
            self.exceeded = "sends far more than it was asked for"
        return not self.exceeded

    def expire(self) -> None:
        """Take note that the time is up."""
        self.exceeded = self.exceeded or f"took more than {self._within_s:g} s"


@contextmanager
def open_association(
    remote: RemoteAE,
    calling_ae_title: str,
    contexts: list[PresentationContext],
    handlers: Sequence[evt.EventHandlerType] = (),
    *,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    budget: CallBudget | None = None,
) -> Iterator[Association]:
    """Call a peer for the time of a ``with`` block; the association is released at its end.

    Parameters
    ----------
    remote : RemoteAE
        Whom to call.
    calling_ae_title : str
        The AE title to call under.
    contexts : list of PresentationContext
        What to propose. A peer that accepts none of them is no error: the association is then not
        established, and ``rejected_contexts`` names them.
    handlers : sequence of pynetdicom event handlers
        Bound before the association is requested.
    roles : sequence of SCP/SCU role selections
        Proposed with the contexts (PS3.7 D.3.3.4); without any, we are the SCU.
    budget : CallBudget, optional
        Limits for time and bytes.

    Yields
    ------
    Association

    Raises
    ------
    AssociationFailed
        If the peer cannot be reached or does not answer; ``AssociationRefused`` if it refuses.
    """
    caller = _Caller(remote, budget)
    try:
        association = caller.associate(calling_ae_title, contexts, handlers, roles)
        # an association without any accepted context is a verdict on what was offered, not on the peer
        if not association.is_established and not association.rejected_contexts:
            raise caller.failure(calling_ae_title, association)
        try:
            yield association
        finally:
            association.release()
    finally:
        caller.close()


class _Caller:
    """What one call holds besides pynetdicom's association: its sockets, and how TLS went."""

    def __init__(self, remote: RemoteAE, budget: CallBudget | None) -> None:
        self._remote = remote
        self._budget = budget
        self._connections: list[socket.socket] = []
        self._watchdog: threading.Timer | None = None

    def associate(
        self,
        calling_ae_title: str,
        contexts: list[PresentationContext],
        handlers: Sequence[evt.EventHandlerType],
        roles: Sequence[SCP_SCU_RoleSelectionNegotiation],
    ) -> Association:
        """Request the association, within the times and the budget."""
        remote = self._remote
        ae = AE(calling_ae_title)
        ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = remote.timeout_s
        if self._budget is not None:
            self._watchdog = threading.Timer(self._budget.left_s, self._cut_off)
            self._watchdog.daemon = True
            self._watchdog.start()
        bound = [(evt.EVT_ACSE_SENT, self.keep_connection), (evt.EVT_CONN_OPEN, self.limit_silence)]
        try:
            return ae.associate(
                remote.host,
                remote.port,
                contexts,
                remote.ae_title,
                max_pdu=0,
                ext_neg=list(roles),
                # pynetdicom asks the context for nothing but to wrap a socket
                tls_args=(cast(ssl.SSLContext, self), remote.host) if remote.tls else None,
                evt_handlers=[*bound, *handlers],
            )
        except OSError as error:
            reason = error.strerror or error
            raise AssociationFailed(f"{remote} cannot be reached ({reason}): check the host name") from error

    def wrap_socket(
        self, sock: socket.socket, server_side: bool = False, server_hostname: str | None = None
    ) -> ssl.SSLSocket:
        """Put TLS on a socket that is not connected yet, as ``ssl.SSLContext.wrap_socket`` does."""
        wrapped = cast(ssl.SSLContext, self._remote.tls).wrap_socket(
            sock, server_side=server_side, server_hostname=server_hostname
        )
        self._connections.append(wrapped)
        return wrapped

    def keep_connection(self, event: evt.Event) -> None:
        """Remember the socket; the request to associate passes here before the connection is tried."""
        wrapped = event.assoc.dul.socket
        if wrapped is not None and wrapped.socket is not None and wrapped.socket not in self._connections:
            wrapped.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(wrapped.socket)

    def limit_silence(self, event: evt.Event) -> None:
        """Bound each wait for bytes: pynetdicom would wait for the rest of a PDU for ever."""
        wrapped = event.assoc.dul.socket
        if wrapped is not None and wrapped.socket is not None:
            wrapped.socket.settimeout(self._remote.timeout_s)
            if self._budget is not None:
                # pynetdicom would read whatever length a PDU announces
                cast(Any, wrapped).recv = partial(_receive, self._budget, wrapped.recv)

    def close(self) -> None:
        """Close what pynetdicom leaves open: never connected, or left by the peer first."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        for connection in self._connections:
            with suppress(OSError):
                connection.close()

    def failure(self, calling_ae_title: str, association: Association) -> AssociationFailed:
        """Return what happened and what to do."""
        remote, answer = self._remote, association.acceptor.primitive
        if association.is_rejected and answer is not None:
            return AssociationRefused(
                f"{remote} refused the association ({answer.reason_str}): let it know {calling_ae_title} as "
                "a sender and check its own AE title"
            )
        for connection in self._connections:
            if isinstance(connection, RememberingSocket) and connection.failure is not None:
                return AssociationRefused(
                    f"{remote} cannot be called over TLS: {explain(connection.failure)}"
                )
        if self._budget is not None and self._budget.exceeded:
            return AssociationFailed(f"{remote} {self._budget.exceeded}: see its log of this call")
        hint = "check host, port and that it is running"
        if remote.tls:
            return AssociationFailed(
                f"{remote} cannot be reached, or closed the connection during TLS: {hint}, with TLS"
            )
        return AssociationFailed(f"{remote} cannot be reached or does not speak DICOM: {hint}")

    def _cut_off(self) -> None:
        cast(CallBudget, self._budget).expire()
        for connection in list(self._connections):
            # the thread that reads hears of it, whatever it waits for
            with suppress(OSError):
                # beneath TLS, whose own shutdown would take the connection from the thread that reads
                socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _receive(budget: CallBudget, read: Callable[[int], bytearray], nr_bytes: int) -> bytearray:
    # fewer bytes than asked for end the connection
    return read(nr_bytes) if budget.spend(nr_bytes) else bytearray()
