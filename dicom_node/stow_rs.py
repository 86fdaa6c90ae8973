"""Delivery over the web: store instances by STOW-RS (PS3.18 10.5) and say for each how it went.

The requests are built here and not by dicomweb-client, which would encode each instance anew, part them
with a boundary that is the same everywhere (so that an image could smuggle in another), and drop what a
server says of an instance that it refuses.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import requests

from dicom_node.errors import AssociationFailed
from dicom_node.outgoing import read_file_meta
from dicom_node.storage_scu import StoreOutcome
from dicom_node.web_search import ABOUT_THE_CALL, asking, refusal, search_client, status_of, values
from dicom_node.web_session import AnswerTooLong, RemoteWeb, open_session

__all__ = ["RemoteWeb", "echo_on_web", "holds", "store_on_web"]

logger = logging.getLogger(__name__)

DUPLICATE_SOP_INSTANCE = 0x0111
PROCESSING_FAILURE = 0x0110
CANNOT_UNDERSTAND = 0xC000
TRANSFER_SYNTAX_NOT_SUPPORTED = 0xC122
COERCION_OF_DATA_ELEMENTS = 0xB000

_REFERENCED_SOP_SEQUENCE, _FAILED_SOP_SEQUENCE, _OTHER_FAILURES_SEQUENCE = "00081199", "00081198", "0008119A"
_WARNING_REASON, _FAILURE_REASON = "00081196", "00081197"
_SOP_INSTANCE_UID, _REFERENCED_SOP_INSTANCE_UID = "00080018", "00081155"

_ABOUT_THE_INSTANCE = {415: TRANSFER_SYNTAX_NOT_SUPPORTED, 500: PROCESSING_FAILURE}
"""What an HTTP status says in PS3.18 I.2.2's terms; other 4xx: cannot understand."""


def store_on_web(remote: RemoteWeb, instances: Sequence[bytes]) -> tuple[StoreOutcome, ...]:
    """Send instances by STOW-RS, each in a request of its own and byte for byte as it is stored.

    A server's verdict on an instance is a C-STORE status, which PS3.18 I.2 shares; where it gives none,
    HTTP 400, 409, 413 and the like count as 0xC000 (for good), 415 as 0xC122 (for good) and 500 as 0x0110
    (transient). Where an answer leaves open what became of an instance, and where it is refused, the server
    is searched for it (QIDO-RS): what is there counts as 0x0000 or, refused because an earlier answer got
    lost, as 0x0111; what cannot be told, as not sent.

    Parameters
    ----------
    remote : RemoteWeb
        Where to.
    instances : sequence of bytes
        PS3.10 files.

    Returns
    -------
    tuple of StoreOutcome
        One for each instance, in order, also when the server goes away half-way.

    Raises
    ------
    AssociationFailed
        If the server cannot be reached, or refuses the call and not the instance (redirects; HTTP 401,
        403, 404, 405, 408, 429 and the like; 5xx but 500), or a certificate file cannot be used, and so
        nothing was stored. It is transient: until a person has mended token or network, the results wait.
    UndecodableInstance
        If one of the instances is no PS3.10 file; nothing is sent then.
    """
    outgoing = [(str(read_file_meta(encoded).sop_instance_uid), encoded) for encoded in instances]
    outcomes: list[StoreOutcome] = []
    with open_session(remote) as session:
        for uid, encoded in outgoing:
            try:
                outcomes.append(_store(session, remote, uid, encoded))
            except AssociationFailed as error:
                if not outcomes:
                    raise
                left = outgoing[len(outcomes) :]
                outcomes += [StoreOutcome(uid, None, str(error)) for uid, _ in left]
                break
    return tuple(outcomes)


def holds(remote: RemoteWeb, sop_instance_uid: str) -> bool:
    """Say whether a server has an instance, by searching for it (QIDO-RS, PS3.18 10.6).

    Raises
    ------
    AssociationFailed
        If the server cannot be reached or does not answer the question.
    """
    with open_session(remote) as session, asking(remote):
        return _has(session, remote, sop_instance_uid)


def echo_on_web(remote: RemoteWeb) -> None:
    """Verify that a DICOMweb server answers at the URL and accepts the credentials; store nothing.

    Raises
    ------
    AssociationFailed
        If it does not.
    """
    with open_session(remote) as session, asking(remote):
        try:
            search_client(session, remote).search_for_studies(limit=1)
        except requests.HTTPError as error:
            # a server that stores and cannot search says so
            if status_of(error) not in (400, 405, 406, 501):
                raise


def _store(session: requests.Session, remote: RemoteWeb, uid: str, encoded: bytes) -> StoreOutcome:
    body, headers = _multipart(encoded)
    url = f"{remote.url.rstrip('/')}/studies"
    with (
        asking(remote),
        session.post(url, data=body, headers=headers, timeout=remote.timeout_s, stream=True) as response,
    ):
        http_status, answer = response.status_code, _read_answer(response, uid)
    if not _is_verdict(http_status):
        raise AssociationFailed(refusal(remote, http_status))
    status = _judge(http_status, answer)
    if status is None or not StoreOutcome(uid, status).succeeded:
        status = _look_again(session, remote, uid, http_status, status)
    if status is None:
        return StoreOutcome(uid, None, f"{remote} answered HTTP {http_status} and not what became of it")
    outcome = StoreOutcome(uid, status, "" if answer.told else f"{remote} answered HTTP {http_status}")
    if not outcome.succeeded:
        logger.warning("%s refused by %s with 0x%04X (HTTP %d)", uid, remote, status, http_status)
    return outcome


def _look_again(
    session: requests.Session, remote: RemoteWeb, uid: str, http_status: int, status: int | None
) -> int | None:
    """Search for an instance of which the answer says nothing, or that it is refused."""
    try:
        with asking(remote):
            held = _has(session, remote, uid)
    except AssociationFailed:
        # a server that cannot be searched: what its 200 means stands in PS3.18
        return 0x0000 if status is None and http_status == 200 else status
    if held:
        return 0x0000 if status is None else DUPLICATE_SOP_INSTANCE
    return status


def _multipart(encoded: bytes) -> tuple[bytes, dict[str, str]]:
    """Return a request's body and header fields (PS3.18 8.6.1.2, 8.7.3.5)."""
    # nobody can foretell it, and so no image hold it
    boundary = secrets.token_hex(16)
    # without the transfer syntax, which the file itself names: Orthanc passes over parts that name it here
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    body = b"".join((head, encoded, f"\r\n--{boundary}--\r\n".encode()))
    return body, {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Accept": "application/dicom+json",
    }


@dataclass(frozen=True)
class _Answer:
    """What a response's body says of the one instance that was sent (PS3.18 I.2)."""

    stored: int | None = None
    failure: int | None = None

    @property
    def told(self) -> bool:
        return self.stored is not None or self.failure is not None


def _read_answer(response: requests.Response, uid: str) -> _Answer:
    try:
        told = json.loads(response.content)
    except (AnswerTooLong, ValueError, RecursionError):
        return _Answer()
    for item in (*values(told, _FAILED_SOP_SEQUENCE), *values(told, _OTHER_FAILURES_SEQUENCE)):
        return _Answer(failure=_as_failure(_number(item, _FAILURE_REASON)))
    for item in values(told, _REFERENCED_SOP_SEQUENCE):
        if uid in values(item, _REFERENCED_SOP_INSTANCE_UID):
            return _Answer(stored=_as_warning(_number(item, _WARNING_REASON)))
    return _Answer()


def _number(item: Any, name: str) -> int | None:
    found = values(item, name)
    return found[0] if found and type(found[0]) is int and 0 <= found[0] <= 0xFFFF else None


def _as_failure(reason: int | None) -> int:
    if reason == DUPLICATE_SOP_INSTANCE:
        return reason
    # among C-STORE statuses, what some servers give as a reason for failure would be a success
    if reason is None or StoreOutcome("", reason).succeeded:
        return PROCESSING_FAILURE
    return reason


def _as_warning(reason: int | None) -> int:
    if reason is None or StoreOutcome("", reason).warning:
        return reason or 0x0000
    return COERCION_OF_DATA_ELEMENTS


def _is_verdict(http_status: int) -> bool:
    """Say whether an HTTP status is about the instance, and not about the call."""
    if http_status in ABOUT_THE_CALL:
        return False
    return 200 <= http_status < 300 or 400 <= http_status <= 500


def _judge(http_status: int, answer: _Answer) -> int | None:
    """Return the C-STORE status that an answer amounts to; None where it leaves open what happened."""
    if answer.failure is not None:
        return answer.failure
    # Orthanc answers 200 also for what it has passed over
    if http_status < 300:
        return answer.stored
    return _ABOUT_THE_INSTANCE.get(http_status, CANNOT_UNDERSTAND)


def _has(session: requests.Session, remote: RemoteWeb, uid: str) -> bool:
    found = search_client(session, remote).search_for_instances(
        search_filters={"SOPInstanceUID": uid}, limit=1
    )
    return any(uid in values(item, _SOP_INSTANCE_UID) for item in found)
