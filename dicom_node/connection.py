"""TCP under the storage node: prompt acknowledgements, and limits that no peer can overstep."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import threading
from dataclasses import dataclass
from socketserver import BaseServer
from typing import Any, cast

from pynetdicom import evt
from pynetdicom.transport import ThreadedAssociationServer

logger = logging.getLogger(__name__)

_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
_RECV_CHUNK_BYTES = 4096  # what pynetdicom asks for while it is inside a PDU


@dataclass(frozen=True)
class ConnectionLimits:
    """What one peer, and all peers together, may use.

    Parameters
    ----------
    maximum_connections : int
        Open TCP connections, with or without an association.
    maximum_request_bytes : int
        Bytes that may arrive before the node answers; bounds the memory of one association.
    silence_s : float
        Seconds a peer may stay silent in the middle of a PDU.
    """

    maximum_connections: int
    maximum_request_bytes: int
    silence_s: float


class Connection(socket.socket):
    """One accepted connection, with the limits applied where the bytes come in.

    Kernels delay acknowledgements by up to 40 ms; a sender with Nagle's algorithm then waits that long
    at every boundary between command and data set. TCP_QUICKACK does not last, so it is armed again
    whenever a PDU begins or ends.
    """

    def __init__(self, accepted: socket.socket, limits: ConnectionLimits) -> None:
        super().__init__(fileno=accepted.detach())
        self._limits = limits
        self._received_bytes = 0
        self.settimeout(limits.silence_s)
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Receive, and break off when one request exceeds what a request may hold."""
        if _QUICKACK is not None and bufsize < _RECV_CHUNK_BYTES:
            self.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        data = super().recv(bufsize, flags)
        self._received_bytes += len(data)
        if self._received_bytes > self._limits.maximum_request_bytes:
            logger.warning(
                "a connection was closed: one request went beyond %d bytes; "
                "if it was a real image, raise the largest instance size in the settings",
                self._limits.maximum_request_bytes,
            )
            raise OSError(errno.EMSGSIZE, "request larger than this node takes")
        return data

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Send; an answer ends the request that was being counted."""
        self._received_bytes = 0
        return super().send(data, flags)

    def shutdown(self, how: int, /) -> None:
        """Shut down; a peer that is gone already is no error, or pynetdicom would not close the socket."""
        with contextlib.suppress(OSError):
            super().shutdown(how)


class LimitedAssociationServer(ThreadedAssociationServer):
    """pynetdicom's threaded server with ``Connection`` sockets and a bound on open connections."""

    request_queue_size = 128

    def __init__(self, *args: Any, limits: ConnectionLimits, **kwargs: Any) -> None:
        self._limits = limits
        super().__init__(*args, **kwargs)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept one connection."""
        accepted, address = super().get_request()
        return Connection(accepted, self._limits), address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Turn a connection away at once when too many are open already."""
        if len(self.active_associations) < self._limits.maximum_connections:
            return True
        logger.warning(
            "connection from %s closed: %d are open already",
            client_address[0],
            self._limits.maximum_connections,
        )
        return False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log in one line what went wrong before an association existed."""
        logger.warning(
            "connection from %s failed before an association began", client_address[0], exc_info=True
        )

    def start(self) -> None:
        """Serve in a background thread."""
        threading.Thread(target=self.serve_forever, args=(0.1,), name="storage-scp", daemon=True).start()

    def shutdown(self) -> None:
        """Stop accepting connections and close the listening socket; associations go on."""
        # AssociationServer.shutdown expects a server that AE.start_server has registered
        BaseServer.shutdown(self)
        self.server_close()


def stop_waiting(event: evt.Event) -> None:
    """End the thread of a connection that closed without asking for an association.

    pynetdicom lets it wait for the rest of the association timeout; port checks would pile such threads
    up. Bind it to ``evt.EVT_CONN_CLOSE``.
    """
    if event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(cast(Any, None))
