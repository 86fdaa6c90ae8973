"""The storage node: who may call, what is taken, and the one answer each instance gets.

``StorageSCP`` hands every radiograph that arrives to ``accept`` and answers Success only after ``accept``
has returned. Nothing is decoded here but four UIDs; the bytes go on as they came.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from io import BytesIO
from ipaddress import ip_address
from types import TracebackType
from typing import Self, cast

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
    Verification,
)

from dicom_node.connection import ConnectionLimits, LimitedAssociationServer, stop_waiting
from dicom_node.errors import DicomNodeError, InvalidInstance, MismatchedInstance, UndecodableInstance
from dicom_node.incoming import Identity, read_identity
from dicom_node.instance import ReceivedInstance
from dicom_node.transfer_syntaxes import TRANSFER_SYNTAXES

logger = logging.getLogger(__name__)

# pynetdicom's own log handlers describe every message, at a cost for every PDU, and quote peers' data.
_config.LOG_HANDLER_LEVEL = "none"

STORAGE_SOP_CLASSES: tuple[UID, ...] = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)
"""What may be sent to the node; everything else, our own reports included, is not negotiated."""

_SPARE_CONNECTIONS = 32  # room for callers that are about to be told that the limit is reached


class StoreStatus(IntEnum):
    """The answers to C-STORE (PS3.4 B.2.3; 0x0117 from PS3.7 C.5.12)."""

    SUCCESS = 0x0000
    """The instance is durable here; the sender may forget it."""
    INVALID_INSTANCE = 0x0117
    """A UID is malformed, or data set and request name different instances."""
    OUT_OF_RESOURCES = 0xA700
    """It could not be kept; the sender should try again."""
    MISMATCHED_SOP_CLASS = 0xA900
    """The data set is not of the SOP class it was sent under."""
    CANNOT_UNDERSTAND = 0xC000
    """The bytes are no data set."""


class CannotListen(DicomNodeError):
    """The node's address cannot be used."""


@dataclass(frozen=True)
class NodeSettings:
    """How the node presents itself and whom it serves.

    Parameters
    ----------
    ae_title : str
        The node's AE title.
    host, port : str, int
        Where it listens; port 0 takes any free one, ``StorageSCP.port`` tells which.
    allowed_calling_ae_titles : tuple of str
        Who may open an association; ``("*",)`` is everyone, ``()`` nobody.
    require_called_ae_title : bool
        Whether callers must address the node by its own AE title.
    maximum_associations : int
        Associations served at the same time.
    maximum_instance_bytes : int
        Largest request that is taken in; bounds the memory of one association.
    association_timeout_s : float
        Seconds a caller may take from opening the connection to requesting an association.
    network_timeout_s : float
        Seconds an association may stay silent.
    shutdown_grace_s : float
        Seconds that running associations get to finish when the node stops.
    """

    ae_title: str = "CXRWORKER"
    host: str = "127.0.0.1"
    port: int = 11112
    allowed_calling_ae_titles: tuple[str, ...] = ()
    require_called_ae_title: bool = False
    maximum_associations: int = 25
    maximum_instance_bytes: int = 512 * 1024 * 1024
    association_timeout_s: float = 10.0
    network_timeout_s: float = 60.0
    shutdown_grace_s: float = 10.0


@dataclass(frozen=True)
class _Rejection:
    """One A-ASSOCIATE-RJ (PS3.8 table 9-21) and the log line that explains it."""

    result: int
    source: int
    diagnostic: int
    explanation: str


class StorageSCP:
    """A DICOM node that takes radiographs by C-STORE and answers C-ECHO.

    Parameters
    ----------
    settings : NodeSettings
        Identity, address and limits.
    accept : callable
        Called with each ``ReceivedInstance``, in the association's own thread, several at a time. When
        it returns, the sender is told Success. When it raises a ``DicomNodeError``, the sender gets that
        error's status; whatever else it raises becomes 0xA700, so that the sender tries again.

    Examples
    --------
    >>> with StorageSCP(NodeSettings(port=0, allowed_calling_ae_titles=("*",)), print) as node:
    ...     node.port  # doctest: +SKIP
    """

    def __init__(self, settings: NodeSettings, accept: Callable[[ReceivedInstance], None]) -> None:
        self._settings = settings
        self._accept = accept
        self._server: LimitedAssociationServer | None = None
        self._admitted: set[Association] = set()
        self._admission = threading.Lock()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port in use; the one that was asked for while the node is stopped."""
        return int(self._server.server_address[1]) if self._server else self._settings.port

    def start(self) -> None:
        """Listen and serve in background threads.

        Raises
        ------
        CannotListen
            If host and port cannot be bound.
        """
        settings = self._settings
        ae = AE(settings.ae_title)
        # 0 lets senders use their largest PDU: an image in tens of PDUs instead of hundreds
        ae.maximum_pdu_size = 0
        ae.acse_timeout = settings.association_timeout_s
        ae.dimse_timeout = settings.network_timeout_s
        ae.network_timeout = settings.network_timeout_s
        # counted in _on_requested instead: pynetdicom would count connections that never asked for anything
        ae.maximum_associations = settings.maximum_associations + _SPARE_CONNECTIONS + 1
        ae.add_supported_context(Verification)
        for sop_class in STORAGE_SOP_CLASSES:
            ae.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_ACCEPTED, self._on_accepted),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_CONN_CLOSE, stop_waiting),
        ]
        limits = ConnectionLimits(
            maximum_connections=settings.maximum_associations + _SPARE_CONNECTIONS,
            maximum_request_bytes=settings.maximum_instance_bytes,
            silence_s=settings.network_timeout_s,
        )
        address = (settings.host, settings.port)
        try:
            self._server = LimitedAssociationServer(
                ae, address, ae.ae_title, ae.supported_contexts, evt_handlers=handlers, limits=limits
            )
        except OSError as error:
            raise CannotListen(
                f"cannot listen on {settings.host}:{settings.port} ({error.strerror or error}): "
                "choose another port or stop what uses it"
            ) from error
        self._server.start()
        logger.info("%s listens on %s:%d", settings.ae_title, settings.host, self.port)

    def stop(self) -> None:
        """Take no new caller, let running associations finish for the grace period, then abort them."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        deadline = time.monotonic() + self._settings.shutdown_grace_s
        for association in server.active_associations:
            association.join(max(0.0, deadline - time.monotonic()))
        for association in server.active_associations:
            association.abort()
        logger.info("%s stopped", self._settings.ae_title)

    def _on_requested(self, event: evt.Event) -> None:
        association = event.assoc
        try:
            rejection = self._examine(association)
        except Exception as error:
            # pynetdicom goes on to accept whom this handler did not reject
            rejection = _Rejection(1, 1, 1, f"it could not be examined: {_describe(error)}")
        if rejection is None:
            return
        association.acse.send_reject(rejection.result, rejection.source, rejection.diagnostic)
        # a health check on this host asks under our own name, every half minute
        level = logging.DEBUG if _is_ourselves(association, self._settings) else logging.WARNING
        logger.log(level, "association refused: %s", rejection.explanation)
        # without this the connection is closed before the answer has left
        association.kill()

    def _examine(self, association: Association) -> _Rejection | None:
        request = association.requestor.primitive
        calling = str(request.calling_ae_title).strip() if request else ""
        called = str(request.called_ae_title).strip() if request else ""
        settings = self._settings
        allowed = {title.strip() for title in settings.allowed_calling_ae_titles}
        if "*" not in allowed and calling not in allowed:
            return _Rejection(
                1, 1, 3, f"{calling} may not send here; add it to the allowed calling AE titles if it should"
            )
        if settings.require_called_ae_title and called != settings.ae_title.strip():
            return _Rejection(1, 1, 7, f"{calling} called {called}; this node is {settings.ae_title}")
        with self._admission:
            self._admitted = {other for other in self._admitted if _is_open(other)}
            if len(self._admitted) >= settings.maximum_associations:
                return _Rejection(
                    2,
                    3,
                    2,
                    f"{calling} came while all {settings.maximum_associations} associations were in use",
                )
            self._admitted.add(association)
        return None

    def _on_accepted(self, event: evt.Event) -> None:
        refused = event.assoc.rejected_contexts
        if refused:
            level = logging.INFO if event.assoc.accepted_contexts else logging.WARNING
            logger.log(level, "%s", _describe_refused(event.assoc.requestor.ae_title, refused))

    def _on_store(self, event: evt.Event) -> Dataset:
        sender = str(event.assoc.requestor.ae_title).strip()
        uid = "(no valid SOP Instance UID)"
        try:
            instance = _received(event, sender)
            uid = instance.sop_instance_uid
            self._accept(instance)
        except DicomNodeError as error:
            status = _status_of(error)
            logger.warning("%s from %s refused with 0x%04X: %s", uid, sender, status, error)
            return _answer(status, str(error))
        except Exception as error:
            # a sender that is told to try again loses nothing, whatever went wrong here
            logger.error("%s from %s could not be kept: %s", uid, sender, _describe(error))  # noqa: TRY400
            return _answer(StoreStatus.OUT_OF_RESOURCES, "cannot be stored at present; send it again")
        logger.info("%s from %s taken, %d bytes", uid, sender, len(instance.encoded))
        return _answer(StoreStatus.SUCCESS)


def _received(event: evt.Event, sender: str) -> ReceivedInstance:
    """Return the instance of a C-STORE request, its bytes untouched.

    Raises
    ------
    UndecodableInstance, MismatchedInstance, InvalidInstance
        As ``read_identity``, or if request, presentation context and data set disagree.
    """
    request, context = cast(C_STORE, event.request), event.context
    with cast(BytesIO, request.DataSet).getbuffer() as data_set:
        identity = read_identity(data_set, context.transfer_syntax)
        _compare(identity, request)
        if context.abstract_syntax != identity.sop_class_uid:
            raise MismatchedInstance("SOP Class UID differs from the presentation context's")
        encoded = b"".join((b"\0" * 128, b"DICM", encode_file_meta(event.file_meta), data_set))
    return ReceivedInstance(
        sop_class_uid=identity.sop_class_uid,
        sop_instance_uid=identity.sop_instance_uid,
        series_instance_uid=identity.series_instance_uid,
        study_instance_uid=identity.study_instance_uid,
        calling_ae_title=sender,
        encoded=encoded,
        received_at=datetime.now(UTC),
    )


def _compare(identity: Identity, request: C_STORE) -> None:
    if identity.sop_class_uid != request.AffectedSOPClassUID:
        raise MismatchedInstance("SOP Class UID of request and data set differ")
    if identity.sop_instance_uid != request.AffectedSOPInstanceUID:
        raise InvalidInstance("SOP Instance UID of request and data set differ")


def _status_of(error: DicomNodeError) -> StoreStatus:
    match error:
        case InvalidInstance():
            return StoreStatus.INVALID_INSTANCE
        case MismatchedInstance():
            return StoreStatus.MISMATCHED_SOP_CLASS
        case UndecodableInstance():
            return StoreStatus.CANNOT_UNDERSTAND
        case _:
            return StoreStatus.OUT_OF_RESOURCES if error.transient else StoreStatus.CANNOT_UNDERSTAND


def _answer(status: StoreStatus, comment: str = "") -> Dataset:
    answer = Dataset()
    answer.Status = int(status)
    if comment:
        # LO (PS3.5 6.2) in the default character repertoire (PS3.7 C.5)
        answer.ErrorComment = comment.encode("ascii", "replace").decode().replace("\\", "/")[:64]
    return answer


def _describe(error: Exception) -> str:
    """Return kind and place of an error; its text may quote patient data."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
    return f"{type(error).__name__}{reason} in {frame.name}, {frame.filename}:{frame.lineno}"


def _describe_refused(sender: str, refused: list[PresentationContext]) -> str:
    classes = sorted({context.abstract_syntax.name for context in refused if context.abstract_syntax})
    syntaxes_only = all(context.result == 0x04 for context in refused)  # PS3.8 table 9-18
    what = "transfer syntaxes for " if syntaxes_only else ""
    return (
        f"{sender.strip()} offered {what}{', '.join(classes)}: not accepted; this node takes CR, DX and "
        f"Secondary Capture images in {len(TRANSFER_SYNTAXES)} transfer syntaxes"
    )


def _is_ourselves(association: Association, settings: NodeSettings) -> bool:
    peer, request = association.requestor.address_info, association.requestor.primitive
    if peer is None or request is None or not ip_address(peer.address).is_loopback:
        return False
    return str(request.calling_ae_title).strip() == settings.ae_title.strip()


def _is_open(association: Association) -> bool:
    ended = association.is_released or association.is_aborted or association.is_rejected
    return association.is_alive() and not ended
