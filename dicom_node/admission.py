"""Who may open an association: the answer to each A-ASSOCIATE-RQ, and who makes room for whom."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakSet

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]

from dicom_node.listener import connection_of
from dicom_node.node_settings import NodeSettings
from dicom_node.peers import OncePerMinute, plain_address, printable

logger = logging.getLogger(__name__)

_STORES_NOTHING = {Verification, StorageCommitmentPushModel}


@dataclass(frozen=True)
class _Rejection:
    """One A-ASSOCIATE-RJ (PS3.8 table 9-21) and the log line that explains it."""

    result: int
    source: int
    diagnostic: int
    explanation: str


class Admission:
    """Examines requests to associate; bind ``examine`` to ``evt.EVT_REQUESTED``.

    Parameters
    ----------
    settings : NodeSettings
        Whom the node serves, and how many at once.
    why_refused : callable
        Returns why nothing can be stored at present, or None.
    """

    def __init__(self, settings: NodeSettings, why_refused: Callable[[], str | None]) -> None:
        self._settings = settings
        self._why_refused = why_refused
        # weak: one that was cut off may hold half an image
        self._admitted: WeakSet[Association] = WeakSet()
        self._lock = threading.Lock()
        self._news = OncePerMinute()

    def examine(self, event: evt.Event) -> None:
        """Reject an association that may not be, and abort the one that makes room for a new one."""
        association = event.assoc
        try:
            rejection = self._titles(association) or self._storage(association) or self._room(association)
        except Exception as error:
            # pynetdicom goes on to accept whom this handler did not reject
            rejection = _Rejection(1, 1, 1, f"it could not be examined: {describe(error)}")
        if rejection is None:
            return
        association.acse.send_reject(rejection.result, rejection.source, rejection.diagnostic)
        self._tell(association, rejection)
        # without this the connection is closed before the answer has left
        association.kill()

    def _titles(self, association: Association) -> _Rejection | None:
        calling, called = _titles_of(association)
        allowed = {title.strip() for title in self._settings.allowed_calling_ae_titles}
        if "*" not in allowed and calling not in allowed:
            return _Rejection(
                1, 1, 3, f"{calling} may not send here; add it to the allowed calling AE titles if it should"
            )
        if self._settings.require_called_ae_title and called != self._settings.ae_title.strip():
            return _Rejection(1, 1, 7, f"{calling} called {called}; this node is {self._settings.ae_title}")
        return None

    def _storage(self, association: Association) -> _Rejection | None:
        contexts = association.requestor.requested_contexts
        if all(context.abstract_syntax in _STORES_NOTHING for context in contexts):
            return None
        reason = self._why_refused()
        if reason is None:
            return None
        # transient, temporary congestion
        return _Rejection(2, 3, 1, f"{_titles_of(association)[0]} is to come again later: {reason}")

    def _room(self, association: Association) -> _Rejection | None:
        """Take one of the places, if need be that of the association that has been idle for longest."""
        limit = self._settings.maximum_associations
        idlest: Association | None = None
        with self._lock:
            self._admitted = WeakSet(other for other in self._admitted if _is_open(other))
            if len(self._admitted) >= limit:
                idlest = max(self._admitted, key=_idle_s, default=None)
                if idlest is None or _idle_s(idlest) < max(0.0, self._settings.idle_s):
                    calling = _titles_of(association)[0]
                    return _Rejection(2, 3, 2, f"{calling} came while all {limit} associations were in use")
                self._admitted.discard(idlest)
            self._admitted.add(association)
        if idlest is not None:
            logger.warning(
                "association with %s aborted: idle for %.0f s while all %d were in use",
                _titles_of(idlest)[0],
                _idle_s(idlest),
                limit,
            )
            idlest.abort()
        return None

    def _tell(self, association: Association, rejection: _Rejection) -> None:
        # a health check on this host asks under our own name, every half minute
        ourselves = _is_ourselves(association, self._settings)
        if ourselves or self._news.is_due(_address(association), rejection.explanation):
            level = logging.DEBUG if ourselves else logging.WARNING
            logger.log(level, "association refused: %s", rejection.explanation)


def describe(error: Exception) -> str:
    """Return kind and place of an error; its text may quote patient data."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
    return f"{type(error).__name__}{reason} in {frame.name}, {frame.filename}:{frame.lineno}"


def _titles_of(association: Association) -> tuple[str, str]:
    request = association.requestor.primitive
    if request is None:
        return "", ""
    return printable(request.calling_ae_title, 16), printable(request.called_ae_title, 16)


def _address(association: Association) -> str:
    peer = association.requestor.address_info
    return peer.address if peer else ""


def _is_ourselves(association: Association, settings: NodeSettings) -> bool:
    address = _address(association)
    if not address or not plain_address(address).is_loopback:
        return False
    return _titles_of(association)[0] == settings.ae_title.strip()


def _is_open(association: Association) -> bool:
    return association.is_alive() and not connection_of(association).has_ended


def _idle_s(association: Association) -> float:
    return connection_of(association).idle_s if association.is_established else -1.0
