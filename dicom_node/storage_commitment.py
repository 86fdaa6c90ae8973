"""Storage commitment: ask a PACS to answer for what it was sent (PS3.4 annex J)."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence

from pydicom.dataset import Dataset
from pynetdicom import build_context, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)
from pynetdicom.status import STATUS_SUCCESS, STATUS_WARNING, code_to_category

from dicom_node.association import RemoteAE, open_association
from dicom_node.commitment_report import (
    MAXIMUM_REFERENCES,
    TRANSFER_SYNTAXES,
    CommitmentResult,
    answer_report,
    read_commitment,
)
from dicom_node.errors import AssociationFailed, CommitmentRefused
from dicom_node.outgoing import read_file_meta

__all__ = [
    "CommitmentResult",
    "answer_report",
    "offers_commitment",
    "read_commitment",
    "references",
    "request_commitment",
]

_REQUEST_COMMITMENT = 1  # action type ID (PS3.4 table J.3.2-1)
_LONGEST_RELEASE_S = 5.0


def references(instances: Sequence[bytes]) -> tuple[tuple[str, str], ...]:
    """Return SOP Class UID and SOP Instance UID of PS3.10 files, from their file meta information only.

    Raises
    ------
    UndecodableInstance
        If one of them is no PS3.10 file.
    """
    metas = [read_file_meta(encoded) for encoded in instances]
    return tuple((meta.sop_class_uid, meta.sop_instance_uid) for meta in metas)


def request_commitment(
    remote: RemoteAE,
    calling_ae_title: str,
    transaction_uid: str,
    instances: Sequence[tuple[str, str]],
    wait_s: float,
) -> CommitmentResult | None:
    """Ask a PACS to commit itself to instances, and wait a little for the answer.

    A PACS may answer on this association or, at any later time, on one that it opens to our node.
    Record the transaction before calling: its answer can arrive there before this function returns.

    Parameters
    ----------
    remote : RemoteAE
        Whom to ask.
    calling_ae_title : str
        The AE title to call under; the PACS sends a later answer to the node it knows by that title.
    transaction_uid : str
        A UID never used before.
    instances : sequence of (str, str)
        SOP Class UID and SOP Instance UID of each, at most ``MAXIMUM_REFERENCES``.
    wait_s : float
        Seconds to keep the association open for the answer after the request was accepted.

    Returns
    -------
    CommitmentResult or None
        None if the answer has not come here in time.

    Raises
    ------
    CommitmentRefused
        If the peer does not offer storage commitment or answers the request with a failure status.
    AssociationFailed
        If there is no association, or it breaks before the request is answered; the PACS may have
        taken the request all the same.
    ValueError
        If there is nothing to ask for, or too much.
    """
    distinct = tuple(dict.fromkeys(instances))
    if not 0 < len(distinct) <= MAXIMUM_REFERENCES:
        raise ValueError(f"{len(distinct)} instances; 1 to {MAXIMUM_REFERENCES} can be asked for at once")
    reports = _Reports(transaction_uid)
    handlers: list[evt.EventHandlerType] = [
        (evt.EVT_N_EVENT_REPORT, reports.answer),
        (evt.EVT_CONN_CLOSE, reports.close),
    ]
    with open_association(remote, calling_ae_title, [_context()], handlers) as association:
        # an association that only waits is silent for as long as that takes
        association.network_timeout = remote.timeout_s + wait_s
        _ask(association, remote, _action_information(transaction_uid, distinct))
        result = reports.wait(wait_s)
        _release(association, min(remote.timeout_s, _LONGEST_RELEASE_S))
    return result


def offers_commitment(remote: RemoteAE, calling_ae_title: str) -> bool:
    """Say whether a PACS offers storage commitment; nothing is asked of it.

    Raises
    ------
    AssociationFailed
        If there is no association.
    """
    with open_association(remote, calling_ae_title, [_context()]) as association:
        return bool(association.accepted_contexts)


class _Reports:
    """The N-EVENT-REPORTs of one association, of which one transaction's is waited for."""

    def __init__(self, transaction_uid: str) -> None:
        self._transaction_uid = transaction_uid
        self._ended: queue.SimpleQueue[tuple[CommitmentResult, threading.Thread] | None] = queue.SimpleQueue()

    def answer(self, event: evt.Event) -> tuple[int, None]:
        """Handle one."""
        return answer_report(event, self._confirm)

    def close(self, _event: evt.Event) -> None:
        """Hear that nothing more can come."""
        self._ended.put(None)

    def wait(self, wait_s: float) -> CommitmentResult | None:
        """Return the result once its answer is on its way; None after ``wait_s`` seconds or at the end."""
        try:
            ended = self._ended.get(timeout=wait_s)
        except queue.Empty:
            return None
        if ended is None:
            return None
        result, thread = ended
        # pynetdicom would let a release overtake the answer that this thread is about to send
        thread.join(_LONGEST_RELEASE_S)
        return result

    def _confirm(self, result: CommitmentResult) -> bool:
        if result.transaction_uid != self._transaction_uid:
            return False
        self._ended.put((result, threading.current_thread()))
        return True


def _context() -> PresentationContext:
    return build_context(StorageCommitmentPushModel, list(TRANSFER_SYNTAXES))


def _ask(association: Association, remote: RemoteAE, information: Dataset) -> None:
    if not association.accepted_contexts:
        raise CommitmentRefused(
            f"{remote} does not offer storage commitment: switch it on there, or off for this destination",
            status=None,
        )
    try:
        answer, _ = association.send_n_action(
            information, _REQUEST_COMMITMENT, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
    except RuntimeError:
        # the peer broke off between negotiation and this call
        answer = Dataset()
    status = answer.get("Status")
    if status is None:
        raise AssociationFailed(f"{remote} gave no answer to a storage commitment request")
    if code_to_category(status) not in (STATUS_SUCCESS, STATUS_WARNING):
        # the peer's own comment is dropped: some quote names and patient identifiers
        raise CommitmentRefused(
            f"{remote} refused storage commitment with 0x{status:04X}: ask for its log of this call",
            status=int(status),
        )


def _action_information(transaction_uid: str, instances: Sequence[tuple[str, str]]) -> Dataset:
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = [_reference(*instance) for instance in instances]
    return information


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return item


def _release(association: Association, wait_s: float) -> None:
    # a peer that reports just now may be deaf to anything but an answer
    association.acse_timeout = wait_s
    # and pynetdicom may, for that report, wait for ever for its own pause, which aborting ends
    watchdog = threading.Timer(2 * wait_s, association.abort)
    watchdog.daemon = True
    watchdog.start()
    try:
        association.release()
    finally:
        watchdog.cancel()
