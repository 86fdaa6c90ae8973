"""TCP and TLS under the storage node: prompt acknowledgements, and limits that no peer can overstep."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

from dicom_node.peers import OncePerMinute
from dicom_node.tls import explain

logger = logging.getLogger(__name__)

MAXIMUM_PDU_BYTES = 1024 * 1024
"""What senders are told (PS3.8 D.1): an image in tens of PDUs, and little is held twice."""

_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
_CHUNK_BYTES = 64 * 1024
_LOOK_S = 0.1  # how long a thread waits for bytes before it looks at anything else
_SEND_WITHIN_S = 30.0
_MINIMUM_BYTES_PER_S = 1000

_HEADER_BYTES = 6  # of every PDU: type, reserved, length (PS3.8 9.3)
_ASSOCIATE_RQ, _P_DATA_TF, _RELEASE_RQ, _ABORT = 0x01, 0x04, 0x05, 0x07
_TLS_HANDSHAKE = 0x16  # content type of a record (RFC 8446, 5.1)
# 128 presentation contexts of 40 transfer syntaxes make less than half of it
_MAXIMUM_NEGOTIATION_BYTES = 1024 * 1024
# senders that go beyond what they were told are borne with up to here
_MAXIMUM_P_DATA_BYTES = 16 * 1024 * 1024
_MAXIMUM_FRAGMENTS = 1000  # PDVs in one PDU; one to three are usual
_MAXIMUM_COMMAND_BYTES = 64 * 1024


@dataclass(frozen=True)
class ConnectionLimits:
    """What one peer, and all peers together, may use.

    Parameters
    ----------
    maximum_request_bytes : int
        Bytes of one request.
    maximum_buffered_bytes : int
        What ``has_memory`` goes by, for the log.
    negotiation_s : float
        Seconds from the connection to the end of the request to associate, TLS included.
    silence_s : float
        Seconds a peer may stay silent in the middle of a PDU.
    slow_request_s : float
        Seconds after which a request must have come in at 1 kB/s on average.
    has_memory : callable
        Says whether the requests that all peers have here are within what they may take together.
    news : OncePerMinute
        Says whether a log line is due.
    tls : ssl.SSLContext or None
        With it, nothing but TLS is spoken.
    """

    maximum_request_bytes: int
    maximum_buffered_bytes: int
    negotiation_s: float
    silence_s: float
    slow_request_s: float
    has_memory: Callable[[], bool] = lambda: True
    news: OncePerMinute = field(default_factory=OncePerMinute)
    tls: ssl.SSLContext | None = None


class _BrokenOff(Exception):
    """The connection has to end; the text says why, and is empty where nobody need know."""


class GuardedSocket(AssociationSocket):
    """One accepted connection, with the limits applied where the bytes come in.

    Requests are taken one at a time, as PS3.7 D.3.3.3 has it where nothing else was agreed: while one waits
    for its answer nothing is read, so that what a peer has in memory here is bounded.

    Kernels delay acknowledgements by up to 40 ms; a sender with Nagle's algorithm then waits that long
    at every boundary between command and data set. TCP_QUICKACK does not last, so it is armed again
    before every read.
    """

    def __init__(
        self, association: Association, accepted: socket.socket, peer: str, limits: ConnectionLimits
    ) -> None:
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if limits.tls is not None:
            # the handshake waits for this connection's own thread, or one silent peer would block all
            accepted = limits.tls.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        super().__init__(association, client_socket=accepted)
        self.peer = peer
        self.held_bytes = 0
        self.has_request = False
        self.has_ended = False
        self._limits = limits
        self._greeted = limits.tls is None
        self._answer_due = False
        self._in_body = False
        self._command_bytes = 0
        self._opened_at = self._active_at = self._request_began = time.monotonic()
        self._given_up = False
        accepted.settimeout(_LOOK_S)

    @property
    def age_s(self) -> float:
        """Seconds since the connection was opened."""
        return time.monotonic() - self._opened_at

    @property
    def idle_s(self) -> float:
        """Seconds since the last answer; negative while a request is under way."""
        if self._answer_due or self.held_bytes:
            return -1.0
        return time.monotonic() - self._active_at

    def give_up(self) -> None:
        """Have the connection closed by its own thread, at once and without another word."""
        self._given_up = True

    def expect_answer(self) -> None:
        """Take nothing more from the peer until an answer has been sent."""
        self._answer_due = True

    @property
    def ready(self) -> bool:
        """Say whether the peer has sent something that may be read now; waits a little for it."""
        if self.socket is None or not self._is_connected:
            return False
        try:
            if self._answer_due or not self._wait():
                self._require_association()
                return False
            if self._greeted:
                return True
            self._shake_hands(cast(ssl.SSLSocket, self.socket))
        except (OSError, ValueError, _BrokenOff) as end:
            self.say(str(end) if isinstance(end, _BrokenOff) else "")
            # another event may stand before this one, and then this is asked again
            self._given_up = True
            self.event_queue.put("Evt17")  # transport connection closed (PS3.8 9.2.2)
        return False

    def recv(self, nr_bytes: int) -> bytearray:
        """Read one PDU's header or the rest of it; fewer bytes mean that the connection has ended."""
        data = bytearray()
        try:
            if self._in_body:
                self._check_length(nr_bytes)
            while len(data) < nr_bytes:
                chunk = self._read(min(_CHUNK_BYTES, nr_bytes - len(data)))
                if not chunk:
                    break
                data += chunk
            if len(data) == nr_bytes:
                self._inspect(data)
        except _BrokenOff as end:
            self.say(str(end))
            return bytearray()
        except (OSError, ValueError):
            return bytearray()
        return data

    def send(self, bytestream: bytes) -> None:
        """Send; an answer ends the request that was being counted."""
        self.held_bytes = self._command_bytes = 0
        self._answer_due = False
        self._active_at = time.monotonic()
        if self.socket is None:
            return
        with contextlib.suppress(OSError):
            self.socket.settimeout(_SEND_WITHIN_S)
        super().send(bytestream)
        with contextlib.suppress(OSError):
            self.socket.settimeout(_LOOK_S)

    def _shutdown_socket(self) -> None:
        self.held_bytes = 0
        self.has_ended = True
        if self.socket is not None:
            # a peer that is gone already is no reason to leave the socket open
            with contextlib.suppress(OSError, ValueError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()

    def _require_association(self) -> None:
        # whoever ended it waits for this thread to end, and has nothing more to say
        if self.assoc._kill and self.provider_queue.empty():
            raise _BrokenOff("")

    def _wait(self) -> bool:
        if self._given_up:
            raise _BrokenOff("")
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            return True
        if not self.has_request and self.age_s > self._limits.negotiation_s:
            raise _BrokenOff("")
        poll = select.poll()
        poll.register(cast(socket.socket, self.socket), select.POLLIN)
        # meanwhile the association's own thread has nothing to do; left alone it would look every millisecond
        self.assoc._reactor_checkpoint.clear()
        try:
            return bool(poll.poll(1000 * _LOOK_S))
        finally:
            self.assoc._reactor_checkpoint.set()

    def _shake_hands(self, connection: ssl.SSLSocket) -> None:
        while not self._greeted:
            try:
                connection.do_handshake()
                self._greeted = True
            except TimeoutError as error:
                if self._given_up or self.age_s > self._limits.negotiation_s:
                    raise _BrokenOff(f"no TLS connection came about: {explain(error)}") from None
            except OSError as error:
                raise _BrokenOff(f"no TLS connection came about: {explain(error)}") from None

    def _read(self, at_most: int) -> bytes:
        connection = cast(socket.socket, self.socket)
        silent_since = time.monotonic()
        while True:
            if _QUICKACK is not None:
                connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            try:
                data = connection.recv(at_most)
            except TimeoutError:
                data = None
            self._check_time(silent_since)
            if data is not None:
                self._count(len(data))
                return data

    def _check_time(self, silent_since: float) -> None:
        now = time.monotonic()
        # nobody sends while a peer has the floor, but to break the association off
        if self._given_up or not self.provider_queue.empty():
            raise _BrokenOff("")
        if not self.has_request and self.age_s > self._limits.negotiation_s:
            raise _BrokenOff(f"its request to associate took more than {self._limits.negotiation_s:g} s")
        if now - silent_since > self._limits.silence_s:
            raise _BrokenOff(f"it stopped in the middle of a PDU for {self._limits.silence_s:g} s")
        taken_s = now - self._request_began
        if (
            self.held_bytes
            and taken_s > self._limits.slow_request_s
            and self.held_bytes < taken_s * _MINIMUM_BYTES_PER_S
        ):
            raise _BrokenOff(f"{self.held_bytes} bytes in {taken_s:.0f} s are too slow: look at the network")

    def _count(self, received: int) -> None:
        if not self.held_bytes:
            self._request_began = time.monotonic()
        self.held_bytes += received
        self._check_size(self.held_bytes)
        if not self._limits.has_memory():
            raise _BrokenOff(
                f"all connections together wait for answers to {self._limits.maximum_buffered_bytes} bytes; "
                "it can send again, and more memory may be allowed in the settings"
            )

    def _check_size(self, request_bytes: int) -> None:
        if request_bytes > self._limits.maximum_request_bytes:
            raise _BrokenOff(
                f"one request went beyond {self._limits.maximum_request_bytes} bytes; "
                "if it was a real image, raise the largest instance size in the settings"
            )

    def _check_length(self, length: int) -> None:
        if not self.has_request or self._pdu_type != _P_DATA_TF:
            if length > _MAXIMUM_NEGOTIATION_BYTES:
                raise _BrokenOff(f"it announced a PDU of type {self._pdu_type} with {length} bytes")
            return
        self._check_size(self.held_bytes + length)
        if length > _MAXIMUM_P_DATA_BYTES:
            raise _BrokenOff(f"it announced {length} bytes in one PDU; {MAXIMUM_PDU_BYTES} had been agreed")

    def _inspect(self, data: bytearray) -> None:
        if not self._in_body:
            self._pdu_type = data[0]
            if self._pdu_type == _TLS_HANDSHAKE and self._greeted and self._limits.tls is None:
                raise _BrokenOff(
                    "it speaks TLS and this node does not: set tls_certificate, or switch it off there"
                )
            self._in_body = 0 < self._pdu_type <= _ABORT
            return
        self._in_body = False
        if self._pdu_type == _P_DATA_TF:
            self._inspect_fragments(data)
        elif self._pdu_type in (_ASSOCIATE_RQ, _RELEASE_RQ):
            self.has_request = True
            self._answer_due = True
        # known to the next caller before this one hears of it, who may well be the same
        self.has_ended = self._pdu_type in (_RELEASE_RQ, _ABORT)

    def _inspect_fragments(self, data: bytearray) -> None:
        """Look at the presentation data values of one P-DATA-TF (PS3.8 9.3.5.1, E.2)."""
        start, fragments = 0, 0
        while start + 6 <= len(data):
            length = int.from_bytes(data[start : start + 4], "big")
            fragments += 1
            if data[start + 5] & 1:
                self._command_bytes += length
            if fragments > _MAXIMUM_FRAGMENTS or self._command_bytes > _MAXIMUM_COMMAND_BYTES:
                raise _BrokenOff(
                    "what it sends is no DICOM message: too many fragments, or an endless command"
                )
            start += 4 + length

    def say(self, reason: str) -> None:
        """Log why the connection ends, if that is known and not being said all the time."""
        kind = "".join(letter for letter in reason if not letter.isdigit())
        if reason and self._limits.news.is_due(self.peer, kind):
            logger.warning("connection from %s closed: %s", self.peer, reason)
