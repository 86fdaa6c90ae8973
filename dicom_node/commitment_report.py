"""A PACS's answer to a storage commitment request: read with bounded effort, kept, acknowledged."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.dimse_primitives import N_EVENT_REPORT

from dicom_node.errors import InvalidInstance
from dicom_node.incoming import is_valid_uid
from dicom_node.peers import printable

logger = logging.getLogger(__name__)

MAXIMUM_REFERENCES = 4096
"""Instances in one request, and in one answer that is read."""

MAXIMUM_REPORT_BYTES = 2 * 1024 * 1024
"""Largest answer that is decoded; 4096 references need about half of it."""

TRANSFER_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""What is negotiated: not the deflated one, in which a short answer can decode to a huge one."""

PROCESSING_FAILURE = 0x0110
"""PS3.3 C.14.1.1; also what an instance gets here whose failure reason is missing."""

_EVENT_TYPES = (1, 2)  # all committed; failures exist (PS3.4 table J.3.3-1)
_MALFORMED = (0x0115, None)  # invalid argument value (PS3.7 C.5)

_TRANSACTION_UID = Tag("TransactionUID")
_REFERENCED_SOP_SEQUENCE = Tag("ReferencedSOPSequence")
_FAILED_SOP_SEQUENCE = Tag("FailedSOPSequence")
_REFERENCED_SOP_INSTANCE_UID = Tag("ReferencedSOPInstanceUID")
_FAILURE_REASON = Tag("FailureReason")


@dataclass(frozen=True)
class CommitmentResult:
    """A PACS's answer to one request; what it names nowhere, it has not answered for.

    Parameters
    ----------
    transaction_uid : str
        The request's Transaction UID.
    committed : frozenset of str
        SOP Instance UIDs that the PACS takes responsibility for.
    failed : mapping of str to int
        SOP Instance UIDs that it does not, each with the Failure Reason (PS3.3 C.14.1.1): 0x0110
        processing failure, 0x0112 no such instance, 0x0119 class and instance conflict, 0x0122 SOP class
        not supported, 0x0131 duplicate transaction, 0x0213 resource limitation.
    """

    transaction_uid: str
    committed: frozenset[str]
    failed: Mapping[str, int]


def read_commitment(event_type_id: int, event_information: Dataset) -> CommitmentResult:
    """Return what a PACS says of a request (PS3.4 J.3.3.1).

    The two sequences decide, not the event type. An instance that stands in both counts as failed, and a
    failure without a usable reason as 0x0110: sending again costs little.

    Parameters
    ----------
    event_type_id : int
        1 or 2.
    event_information : Dataset
        As decoded from the N-EVENT-REPORT; need not be well-formed.

    Raises
    ------
    InvalidInstance
        If it is no such answer, or names more than ``MAXIMUM_REFERENCES`` instances.
    """
    if event_type_id not in _EVENT_TYPES:
        raise InvalidInstance("event type of a storage commitment answer is neither 1 nor 2")
    try:
        return _read(event_information)
    except InvalidInstance:
        raise
    except Exception as error:
        # pydicom decodes late and has no common error for broken bytes
        raise InvalidInstance(
            f"storage commitment answer cannot be decoded ({type(error).__name__})"
        ) from error


def answer_report(event: evt.Event, confirm: Callable[[CommitmentResult], bool]) -> tuple[int, None]:
    """Take in an N-EVENT-REPORT and return its answer; a handler for ``evt.EVT_N_EVENT_REPORT``.

    Parameters
    ----------
    event : pynetdicom event
        The request.
    confirm : callable
        Called with a well-formed result; returns whether the transaction is known. What it raises is
        answered with 0x0110, so that the PACS sends the result again.

    Returns
    -------
    int, None
        The status (PS3.7 10.1.1.1.8), and no reply: 0x0000; 0x0110; 0x0113 for another event type; 0x0115
        for a malformed answer or an unknown transaction.
    """
    request = cast(N_EVENT_REPORT, event.request)
    sender = printable(event.assoc.remote["ae_title"], 16)
    event_type_id, information = request.EventTypeID, request.EventInformation
    if event_type_id not in _EVENT_TYPES:
        logger.warning("%s sent an event that storage commitment does not have", sender)
        return 0x0113, None
    if information is None or information.getbuffer().nbytes > MAXIMUM_REPORT_BYTES:
        logger.warning("%s sent a storage commitment answer that is empty or too long", sender)
        return _MALFORMED
    try:
        result = read_commitment(event_type_id, event.event_information)
    except InvalidInstance as error:
        logger.warning("%s sent a malformed answer: %s", sender, error)
        return _MALFORMED
    try:
        known = confirm(result)
    except Exception as error:
        # a PACS that is told of a failure sends its answer again, whatever went wrong here
        logger.error("storage commitment answer could not be kept (%s)", type(error).__name__)  # noqa: TRY400
        return PROCESSING_FAILURE, None
    if not known:
        logger.warning("%s answered a storage commitment request that is unknown here", sender)
        return _MALFORMED
    return 0x0000, None


def _read(information: Dataset) -> CommitmentResult:
    succeeded = _items(information, _REFERENCED_SOP_SEQUENCE)
    refused = _items(information, _FAILED_SOP_SEQUENCE)
    if len(succeeded) + len(refused) > MAXIMUM_REFERENCES:
        raise InvalidInstance(f"storage commitment answer names more than {MAXIMUM_REFERENCES} instances")
    failed = {_uid(item, _REFERENCED_SOP_INSTANCE_UID): _reason(item) for item in refused}
    committed = {_uid(item, _REFERENCED_SOP_INSTANCE_UID) for item in succeeded}
    return CommitmentResult(
        transaction_uid=_uid(information, _TRANSACTION_UID),
        committed=frozenset(committed - failed.keys()),
        failed=MappingProxyType(failed),
    )


def _uid(dataset: Dataset, tag: BaseTag) -> str:
    # unconverted: pydicom warns of a malformed value and quotes it
    element = dataset.get_item(tag)
    value = element.value if element is not None else None
    text = value.decode("ascii", "replace").rstrip("\0 ") if isinstance(value, bytes) else str(value)
    if not is_valid_uid(text):
        raise InvalidInstance("a UID in a storage commitment answer is missing or malformed")
    return text


def _items(dataset: Dataset, tag: BaseTag) -> Sequence[Dataset]:
    if tag not in dataset:
        return ()
    value = dataset[tag].value if _may_be(dataset, tag, "SQ") else None
    if not isinstance(value, DicomSequence):
        raise InvalidInstance("a sequence in a storage commitment answer is none")
    return cast(Sequence[Dataset], value)


def _reason(item: Dataset) -> int:
    value = item[_FAILURE_REASON].value if _may_be(item, _FAILURE_REASON, "US") else None
    return value if isinstance(value, int) else PROCESSING_FAILURE


def _may_be(dataset: Dataset, tag: BaseTag, vr: str) -> bool:
    """Say whether a value can be of a VR: pydicom warns of others when it converts them, and quotes them."""
    element = dataset.get_item(tag)
    return element is not None and element.VR in (None, "UN", vr)
