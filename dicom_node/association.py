"""Calling a peer: one association, opened, guarded and ended in the same way for every service."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from dicom_node.errors import AssociationFailed


@dataclass(frozen=True)
class RemoteAE:
    """A peer to call.

    Parameters
    ----------
    ae_title, host, port
        Its AE title and address.
    timeout_s : float
        Seconds to wait for the connection, for the association, and for each answer.
    """

    ae_title: str
    host: str
    port: int
    timeout_s: float = 30.0

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
        If the peer cannot be reached, does not answer or refuses the association.
    """
    ae = AE(calling_ae_title)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = remote.timeout_s
    connections: list[socket.socket] = []
    bound: list[evt.EventHandlerType] = [(evt.EVT_ACSE_SENT, _keep_connection, [connections]), *handlers]
    try:
        try:
            association = ae.associate(
                remote.host, remote.port, contexts, remote.ae_title, max_pdu=0, evt_handlers=bound
            )
        except OSError as error:
            reason = error.strerror or error
            raise AssociationFailed(f"{remote} cannot be reached ({reason}): check the host name") from error
        # an association without any accepted context is a verdict on what was offered, not on the peer
        if not association.is_established and not association.rejected_contexts:
            raise AssociationFailed(_why_no_association(remote, calling_ae_title, association))
        try:
            yield association
        finally:
            association.release()
    finally:
        # pynetdicom leaves a socket open that was never connected, or whose peer was the first to go
        for connection in connections:
            connection.close()


def _keep_connection(event: evt.Event, connections: list[socket.socket]) -> None:
    # the request to associate passes here before the connection is tried
    wrapped = event.assoc.dul.socket
    if wrapped is not None and wrapped.socket is not None and wrapped.socket not in connections:
        wrapped.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connections.append(wrapped.socket)


def _why_no_association(remote: RemoteAE, calling_ae_title: str, association: Association) -> str:
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        return (
            f"{remote} refused the association ({answer.reason_str}): let it know {calling_ae_title} as a "
            "sender and check its own AE title"
        )
    return f"{remote} cannot be reached or does not speak DICOM: check host, port and that it is running"
