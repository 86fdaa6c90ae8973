"""Calling a peer: one association, opened, guarded and ended in the same way for every service."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import cast

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from dicom_node.errors import AssociationFailed, AssociationRefused
from dicom_node.tls import RememberingSocket, explain


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


@contextmanager
def open_association(
    remote: RemoteAE,
    calling_ae_title: str,
    contexts: list[PresentationContext],
    handlers: Sequence[evt.EventHandlerType] = (),
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

    Yields
    ------
    Association

    Raises
    ------
    AssociationFailed
        If the peer cannot be reached or does not answer; ``AssociationRefused`` if it refuses.
    """
    ae = AE(calling_ae_title)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = remote.timeout_s
    caller = _Caller(remote)
    bound: list[evt.EventHandlerType] = [
        (evt.EVT_ACSE_SENT, caller.keep_connection),
        (evt.EVT_CONN_OPEN, caller.limit_silence),
        *handlers,
    ]
    # pynetdicom asks the context for nothing but to wrap a socket
    tls = (cast(ssl.SSLContext, caller), remote.host) if remote.tls else None
    try:
        try:
            association = ae.associate(
                remote.host,
                remote.port,
                contexts,
                remote.ae_title,
                max_pdu=0,
                tls_args=tls,
                evt_handlers=bound,
            )
        except OSError as error:
            reason = error.strerror or error
            raise AssociationFailed(f"{remote} cannot be reached ({reason}): check the host name") from error
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

    def __init__(self, remote: RemoteAE) -> None:
        self._remote = remote
        self._connections: list[socket.socket] = []

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

    def close(self) -> None:
        """Close what pynetdicom leaves open: never connected, or left by the peer first."""
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
        hint = "check host, port and that it is running"
        if remote.tls:
            return AssociationFailed(
                f"{remote} cannot be reached, or closed the connection during TLS: {hint}, with TLS"
            )
        return AssociationFailed(f"{remote} cannot be reached or does not speak DICOM: {hint}")
