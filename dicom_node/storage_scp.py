"""The storage node: who may call, what is taken, and the one answer each instance gets.

``StorageSCP`` hands every radiograph and every document that arrives to ``accept`` and answers Success only
after ``accept`` has returned. Nothing is decoded here but four UIDs; the bytes go on as they came. What a
document is, a reader's assessment, a report of our own or somebody else's, is for ``accept`` to find out.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from threading import Thread
from types import TracebackType
from typing import Self, cast

from pydicom.dataset import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    Verification,
)

from dicom_node.admission import Admission, describe
from dicom_node.commitment_report import TRANSFER_SYNTAXES as COMMITMENT_TRANSFER_SYNTAXES
from dicom_node.commitment_report import CommitmentResult, answer_report
from dicom_node.connection import MAXIMUM_PDU_BYTES, ConnectionLimits
from dicom_node.errors import DicomNodeError, InvalidInstance, MismatchedInstance, UndecodableInstance
from dicom_node.incoming import Identity, read_identity
from dicom_node.instance import ReceivedInstance
from dicom_node.listener import LimitedAssociationServer, connection_of
from dicom_node.node_settings import NodeSettings
from dicom_node.peers import AddressList, printable
from dicom_node.storage_classes import STORAGE_SOP_CLASSES
from dicom_node.store_status import StoreStatus
from dicom_node.transfer_syntaxes import TRANSFER_SYNTAXES

__all__ = [
    "STORAGE_SOP_CLASSES",
    "CannotListen",
    "NodeSettings",
    "StorageSCP",
    "StoreStatus",
]

logger = logging.getLogger(__name__)

# pynetdicom's own log handlers describe every message, at a cost for every PDU, and quote peers' data.
_config.LOG_HANDLER_LEVEL = "none"

_NAMED_CLASSES = 8  # in one log line
_ABORT_WITHIN_S = 2.0
_SPARE_CONNECTIONS = 32  # room for callers that are about to be told that the limit is reached


class CannotListen(DicomNodeError):
    """The node's address cannot be used."""


class StorageSCP:
    """A DICOM node that takes radiographs and documents by C-STORE and answers C-ECHO.

    Parameters
    ----------
    settings : NodeSettings
        Identity, address and limits.
    accept : callable
        Called with each ``ReceivedInstance``, in the association's own thread, several at a time. When
        it returns, the sender is told Success. When it raises a ``DicomNodeError``, the sender gets that
        error's status; whatever else it raises becomes 0xA700, so that the sender tries again.
    confirm : callable, optional
        Called with each ``CommitmentResult`` that a PACS reports (PS3.4 J.3.3), several at a time; False
        says that the transaction is unknown here. Without it, storage commitment is not offered.
    refuse : callable, optional
        Returns why nothing can be stored at present, or None. Associations for more than Verification and
        storage commitment are then rejected as a temporary congestion, instances with 0xA700.

    Raises
    ------
    ValueError
        If an allowed address is none.

    Examples
    --------
    >>> with StorageSCP(NodeSettings(port=0, allowed_calling_ae_titles=("*",)), print) as node:
    ...     node.port  # doctest: +SKIP
    """

    def __init__(
        self,
        settings: NodeSettings,
        accept: Callable[[ReceivedInstance], None],
        *,
        confirm: Callable[[CommitmentResult], bool] | None = None,
        refuse: Callable[[], str | None] | None = None,
    ) -> None:
        self._settings = settings
        self._accept = accept
        self._confirm = confirm
        self._refuse = refuse
        self._allowed = AddressList(settings.allowed_addresses)
        self._server: LimitedAssociationServer | None = None

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
        ae = self._application_entity()
        address = (settings.host, settings.port)
        limits = ConnectionLimits(
            maximum_request_bytes=settings.maximum_instance_bytes,
            maximum_buffered_bytes=max(settings.maximum_buffered_bytes, 2 * settings.maximum_instance_bytes),
            negotiation_s=settings.association_timeout_s,
            silence_s=settings.network_timeout_s,
            slow_request_s=settings.slow_request_s,
            tls=settings.tls,
        )
        try:
            self._server = LimitedAssociationServer(
                ae,
                address,
                ae.ae_title,
                ae.supported_contexts,
                evt_handlers=self._handlers(),
                limits=limits,
                maximum_connections=settings.maximum_associations + _SPARE_CONNECTIONS,
                allowed=self._allowed,
            )
        except OSError as error:
            raise CannotListen(
                f"cannot listen on {settings.host}:{settings.port} ({error.strerror or error}): "
                "choose another port or stop what uses it"
            ) from error
        self._server.start()
        how = "listens with TLS" if settings.tls else "listens"
        logger.info("%s %s on %s:%d", settings.ae_title, how, settings.host, self.port)

    def stop(self) -> None:
        """Take no new caller, let running associations finish for the grace period, then abort them."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        deadline = time.monotonic() + self._settings.shutdown_grace_s
        for association in server.active_associations:
            if not connection_of(association).has_request:
                connection_of(association).give_up()
        for association in server.active_associations:
            association.join(max(0.0, deadline - time.monotonic()))
        aborting = [
            Thread(target=association.abort, daemon=True) for association in server.active_associations
        ]
        for thread in aborting:
            thread.start()
        for thread in aborting:
            thread.join(_ABORT_WITHIN_S)
        logger.info("%s stopped", self._settings.ae_title)

    def _application_entity(self) -> AE:
        settings = self._settings
        ae = AE(settings.ae_title)
        ae.maximum_pdu_size = MAXIMUM_PDU_BYTES
        ae.acse_timeout = settings.association_timeout_s
        ae.dimse_timeout = settings.network_timeout_s
        ae.network_timeout = settings.network_timeout_s
        # Admission counts instead: pynetdicom would count connections that never asked for anything
        ae.maximum_associations = sys.maxsize
        ae.add_supported_context(Verification)
        for sop_class, syntaxes in STORAGE_SOP_CLASSES.items():
            ae.add_supported_context(sop_class, list(syntaxes))
        if self._confirm is not None:
            # the PACS that calls is the provider here, whether or not it negotiates that (PS3.7 D.3.3.4)
            ae.add_supported_context(
                StorageCommitmentPushModel,
                list(COMMITMENT_TRANSFER_SYNTAXES),
                scu_role=False,
                scp_role=True,
            )
        return ae

    def _handlers(self) -> list[evt.EventHandlerType]:
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_REQUESTED, Admission(self._settings, self._why_refused).examine),
            (evt.EVT_ACCEPTED, self._on_accepted),
            (evt.EVT_C_STORE, self._on_store),
        ]
        if self._confirm is not None:
            handlers.append((evt.EVT_N_EVENT_REPORT, answer_report, [self._confirm]))
        return handlers

    def _why_refused(self) -> str | None:
        try:
            return self._refuse() if self._refuse is not None else None
        except Exception as error:
            # what cannot even be asked whether there is room will hardly take an image
            return f"it is not known whether there is room ({describe(error)})"

    def _on_accepted(self, event: evt.Event) -> None:
        refused = event.assoc.rejected_contexts
        if refused:
            level = logging.INFO if event.assoc.accepted_contexts else logging.WARNING
            logger.log(level, "%s", _describe_refused(event.assoc.requestor.ae_title, refused))

    def _on_store(self, event: evt.Event) -> Dataset:
        sender = printable(event.assoc.requestor.ae_title, 16)
        uid = "(no valid SOP Instance UID)"
        try:
            instance = _received(event, sender)
            uid = instance.sop_instance_uid
            reason = self._why_refused()
            if reason is not None:
                logger.warning("%s from %s refused with 0xA700: %s", uid, sender, reason)
                return _answer(StoreStatus.OUT_OF_RESOURCES, "no room at present; send it again later")
            self._accept(instance)
        except DicomNodeError as error:
            status = _status_of(error)
            logger.warning("%s from %s refused with 0x%04X: %s", uid, sender, status, error)
            return _answer(status, str(error))
        except Exception as error:
            # a sender that is told to try again loses nothing, whatever went wrong here
            logger.error("%s from %s could not be kept: %s", uid, sender, describe(error))  # noqa: TRY400
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


def _describe_refused(sender: str, refused: list[PresentationContext]) -> str:
    names = {context.abstract_syntax.name for context in refused if context.abstract_syntax}
    classes = sorted(printable(name) for name in names)
    if len(classes) > _NAMED_CLASSES:
        classes = [*classes[:_NAMED_CLASSES], f"and {len(classes) - _NAMED_CLASSES} more"]
    syntaxes_only = all(context.result == 0x04 for context in refused)  # PS3.8 table 9-18
    what = "transfer syntaxes for " if syntaxes_only else ""
    sender = printable(sender, 16)
    return (
        f"{sender} offered {what}{', '.join(classes)}: not accepted; this node takes CR, DX and Secondary "
        f"Capture images in {len(TRANSFER_SYNTAXES)} transfer syntaxes, and structured documents uncompressed"
    )
