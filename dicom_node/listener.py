"""The listening socket of the storage node: who may connect, how many at once, and what ends with each."""

from __future__ import annotations

import errno
import gc
import logging
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from socketserver import BaseServer
from typing import Any, cast

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.fsm import StateMachine
from pynetdicom.transport import AssociationServer, RequestHandler

from dicom_node.connection import ConnectionLimits, GuardedSocket
from dicom_node.peers import AddressList, plain_address

logger = logging.getLogger(__name__)

_ROOM_WITHIN_S = 1.0
_LOOK_S = 0.02
_COLLECT_EVERY_S = 5.0
_COPIES = 2  # of each byte of a request, while it is handed on


class _GuardedStateMachine(StateMachine):
    """pynetdicom's, but what a peer makes fail ends this connection with a line instead of a traceback."""

    def do_action(self, event: str) -> None:
        try:
            super().do_action(event)
        except Exception as error:
            # pynetdicom does not say of which kind errors about a peer's bytes are
            _end(self.dul.assoc, error)
            self.dul.to_user_queue.put(cast(Any, None))


class _Handler(RequestHandler):
    """Starts the association of one connection."""

    server: LimitedAssociationServer

    def _create_association(self) -> Association:
        association = super()._create_association()
        dul = association.dul
        # the base class has announced the connection already, for a socket that is replaced here
        dul.event_queue = queue.Queue()
        peer = str(plain_address(str(self.client_address[0])))
        dul.socket = GuardedSocket(association, cast(socket.socket, self.request), peer, self.server.limits)
        dul.state_machine = _GuardedStateMachine(dul)
        dul.daemon = True
        association.run = _guarded(association, association.run)  # type: ignore[method-assign]
        self.server.register(association)
        return association


class LimitedAssociationServer(AssociationServer):
    """pynetdicom's server with ``GuardedSocket``, a list of who may connect, and a bound on connections."""

    request_queue_size = 128

    def __init__(
        self,
        *args: Any,
        limits: ConnectionLimits,
        maximum_connections: int,
        allowed: AddressList,
        **kwargs: Any,
    ) -> None:
        self.limits = replace(limits, has_memory=self.has_memory)
        self._maximum_connections = maximum_connections
        self._allowed = allowed
        self._open: tuple[Association, ...] = ()
        self._ended = 0
        self._collected_at = time.monotonic()
        super().__init__(*args, **(kwargs | {"request_handler": _Handler}))
        self.bind(evt.EVT_CONN_CLOSE, _stop_waiting)
        self.bind(evt.EVT_DIMSE_RECV, _expect_answer)

    def has_memory(self) -> bool:
        """Say whether the requests that are held are within what all of them may take."""
        held = sum(connection.held_bytes for connection in map(connection_of, self._open))
        return _COPIES * held <= self.limits.maximum_buffered_bytes

    def register(self, association: Association) -> None:
        """Count a connection from now on."""
        self._open = (*self._open, association)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept one connection."""
        try:
            return cast(socket.socket, self.socket).accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                if self.limits.news.is_due(str(error.errno)):
                    logger.warning("no connection can be accepted (%s): raise the limit", error.strerror)
                # the connection stays in the queue, and accepting it would be tried again at once
                time.sleep(_LOOK_S)
            raise

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Turn a connection away before anything is read from it."""
        address = str(client_address[0])
        if address not in self._allowed:
            if self.limits.news.is_due(address, "address"):
                logger.warning(
                    "connection from %s closed: add it to the allowed addresses if it should", address
                )
            return False
        if self._make_room():
            return True
        if self.limits.news.is_due(address, "connections"):
            logger.warning("connection from %s closed: %d are open already", address, len(self._open))
        return False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log in one line what went wrong before an association existed."""
        if isinstance(sys.exc_info()[1], OSError):
            return  # whoever it was has gone again: most often a port scan
        if self.limits.news.is_due(str(client_address[0]), "error"):
            logger.warning(
                "connection from %s failed before an association began", client_address[0], exc_info=True
            )

    def service_actions(self) -> None:
        """Let go of associations that have ended; pynetdicom's are cycles, and may hold half an image."""
        before = len(self._open)
        self._forget_ended()
        self._ended += before - len(self._open)
        if self._ended and time.monotonic() - self._collected_at > _COLLECT_EVERY_S:
            self._ended, self._collected_at = 0, time.monotonic()
            gc.collect()

    def start(self) -> None:
        """Serve in a background thread."""
        threading.Thread(target=self.serve_forever, args=(0.1,), name="storage-scp", daemon=True).start()

    def shutdown(self) -> None:
        """Stop accepting connections and close the listening socket; associations go on."""
        # AssociationServer.shutdown expects a server that AE.start_server has registered
        BaseServer.shutdown(self)
        self.server_close()

    def _forget_ended(self) -> None:
        self._open = tuple(other for other in self._open if other.is_alive() or other.dul.is_alive())

    def _make_room(self) -> bool:
        """Wait for a connection to end, and close the oldest that has not asked for anything yet."""
        deadline = time.monotonic() + _ROOM_WITHIN_S
        while True:
            self._forget_ended()
            if len(self._open) < self._maximum_connections:
                return True
            silent = [other for other in self._open if _is_silent(connection_of(other))]
            if silent:
                connection_of(silent[0]).give_up()
                self._open = tuple(other for other in self._open if other is not silent[0])
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_S)


def connection_of(association: Association) -> GuardedSocket:
    """Return what lies under an association of a ``LimitedAssociationServer``."""
    return cast(GuardedSocket, association.dul.socket)


def _is_silent(connection: GuardedSocket) -> bool:
    return not connection.has_request and connection.age_s > _ROOM_WITHIN_S


def _guarded(association: Association, run: Callable[[], None]) -> Callable[[], None]:
    def guarded() -> None:
        try:
            run()
        except Exception as error:
            # pynetdicom does not say of which kind errors about a peer's bytes are
            _end(association, error)

    return guarded


def _end(association: Association, error: Exception) -> None:
    connection = connection_of(association)
    if not isinstance(error, OSError):  # that is a peer who has gone
        connection.say(f"what it sent cannot be understood ({type(error).__name__})")
    connection._shutdown_socket()
    association.dul.kill_dul()


def _stop_waiting(event: evt.Event) -> None:
    """End the thread of a connection that closed without asking for an association.

    pynetdicom lets it wait for the rest of the association timeout; port checks would pile such threads up.
    """
    if event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(cast(Any, None))


def _expect_answer(event: evt.Event) -> None:
    name = type(event.message).__name__
    if name.endswith("_RQ") and name != "C_CANCEL_RQ":
        connection_of(event.assoc).expect_answer()
