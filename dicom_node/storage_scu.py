"""Delivery: send instances to a PACS in one association and say for each how it went."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config, build_context
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from dicom_node.association import RemoteAE, open_association
from dicom_node.errors import AssociationFailed
from dicom_node.outgoing import read_file_meta

__all__ = ["RemoteAE", "StoreOutcome", "echo", "store"]

logger = logging.getLogger(__name__)

# With this, and only with this, pynetdicom sends a file's data set as it is encoded.
_config.STORE_SEND_CHUNKED_DATASET = True

MAXIMUM_CONTEXTS = 128
"""Presentation context IDs are the odd numbers of one byte (PS3.8 9.3.2.2)."""

SOP_CLASS_NOT_SUPPORTED = 0x0122
"""PS3.7 C.5; also what an instance gets here whose presentation context was refused."""

_SUCCESS = 0x0000
_DUPLICATE_SOP_INSTANCE = 0x0111
_WARNINGS = {0x0001, 0x0107, 0x0116, _DUPLICATE_SOP_INSTANCE}
_TRANSIENT = {
    0x0110,  # processing failure (PS3.7 C.5.21): the peer's own trouble, says nothing about the instance
    0x0213,  # resource limitation (PS3.7 C.5)
}
_CONVERTIBLE = {ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian}


@dataclass(frozen=True)
class StoreOutcome:
    """How sending one instance went.

    Parameters
    ----------
    sop_instance_uid : str
        Which instance.
    status : int or None
        The C-STORE status; None when no answer came.
    comment : str
        What happened instead of an answer, in our own words; empty where the peer answered.
    """

    sop_instance_uid: str
    status: int | None
    comment: str = ""

    @property
    def succeeded(self) -> bool:
        """The peer has the instance: Success or Warning."""
        return self.status == _SUCCESS or self.warning

    @property
    def warning(self) -> bool:
        """The peer has the instance but remarks on it.

        0x0001, 0x0107, 0x0116 and 0xBxxx are warnings (PS3.7 annex C). 0x0111, duplicate SOP instance,
        counts as one: our UIDs name their content, so what the peer has is what was sent, and an
        earlier answer got lost.
        """
        return self.status is not None and (self.status in _WARNINGS or 0xB000 <= self.status <= 0xBFFF)

    @property
    def transient(self) -> bool:
        """Sending the same bytes again later may succeed.

        No answer, out of resources (0xA7xx, PS3.4 B.2.3), processing failure and resource limitation
        (PS3.7 C.5). Everything else is a verdict on the instance or on who may send it and stands until
        a person changes something.
        """
        if self.succeeded:
            return False
        return self.status is None or self.status in _TRANSIENT or 0xA700 <= self.status <= 0xA7FF


@dataclass(frozen=True)
class _Outgoing:
    """One instance with what negotiation needs of it."""

    sop_class_uid: UID
    sop_instance_uid: UID
    transfer_syntax: UID
    encoded: bytes = field(repr=False)


def store(remote: RemoteAE, calling_ae_title: str, instances: Sequence[bytes]) -> tuple[StoreOutcome, ...]:
    """Send instances in one association, each encoded as it is stored.

    Where the peer takes an instance's SOP class but only in Implicit VR Little Endian, an uncompressed
    little-endian data set is rewritten in that; nothing else is ever converted.

    Parameters
    ----------
    remote : RemoteAE
        Where to.
    calling_ae_title : str
        The AE title to call under.
    instances : sequence of bytes
        PS3.10 files.

    Returns
    -------
    tuple of StoreOutcome
        One for each instance, in order, also when the peer breaks off half-way.

    Raises
    ------
    AssociationFailed
        If there is no association, and so nothing was sent.
    UndecodableInstance
        If one of the instances is no PS3.10 file; nothing is sent then.
    ValueError
        If more kinds of instances are given than one association can negotiate.
    """
    outgoing = [_describe(encoded) for encoded in instances]
    if not outgoing:
        return ()
    with open_association(remote, calling_ae_title, _contexts(outgoing)) as association:
        return tuple(
            _send(association, remote, instance, number) for number, instance in enumerate(outgoing, 1)
        )


def echo(remote: RemoteAE, calling_ae_title: str) -> None:
    """Verify that the peer answers (C-ECHO).

    Raises
    ------
    AssociationFailed
        If there is no association, or no Success over it.
    """
    with open_association(remote, calling_ae_title, [build_context(Verification)]) as association:
        answer = association.send_c_echo() if association.is_established else Dataset()
        status = answer.get("Status")
        if status != _SUCCESS:
            how = "gave no answer" if status is None else f"answered 0x{status:04X}"
            raise AssociationFailed(f"{remote} {how} to C-ECHO: ask for its log of this call")


def _describe(encoded: bytes) -> _Outgoing:
    meta = read_file_meta(encoded)
    return _Outgoing(meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax, encoded)


def _contexts(outgoing: Iterable[_Outgoing]) -> list[PresentationContext]:
    """Return one context for each SOP class and transfer syntax, so that each is refused on its own."""
    wanted: dict[tuple[UID, UID], None] = {}
    for instance in outgoing:
        wanted[instance.sop_class_uid, instance.transfer_syntax] = None
        if instance.transfer_syntax in _CONVERTIBLE:
            wanted[instance.sop_class_uid, ImplicitVRLittleEndian] = None
    if len(wanted) > MAXIMUM_CONTEXTS:
        raise ValueError(f"{len(wanted)} presentation contexts needed, {MAXIMUM_CONTEXTS} possible")
    return [build_context(sop_class, syntax) for sop_class, syntax in wanted]


def _send(association: Association, remote: RemoteAE, instance: _Outgoing, number: int) -> StoreOutcome:
    uid = str(instance.sop_instance_uid)
    accepted = {
        context.transfer_syntax[0]
        for context in association.accepted_contexts
        if context.abstract_syntax == instance.sop_class_uid
    }
    if instance.transfer_syntax not in accepted:
        if not accepted:
            refusal = f"{remote} does not accept {instance.sop_class_uid.name}"
            if instance.transfer_syntax not in _CONVERTIBLE:
                refusal += f" in {instance.transfer_syntax.name}"
            return StoreOutcome(uid, SOP_CLASS_NOT_SUPPORTED, refusal)
        instance = _as_implicit_little_endian(instance)
    if not association.is_established:
        return StoreOutcome(uid, None, f"{remote} broke off the association before this instance")
    answer = _send_file(association, instance, number)
    if "Status" not in answer:
        return StoreOutcome(uid, None, f"{remote} gave no answer to this instance")
    # the peer's own comment is dropped: some quote names and patient identifiers
    outcome = StoreOutcome(uid, int(answer.Status))
    if not outcome.succeeded:
        logger.warning("%s refused by %s with 0x%04X", uid, remote, answer.Status)
    return outcome


def _send_file(association: Association, instance: _Outgoing, number: int) -> Dataset:
    with tempfile.TemporaryDirectory(prefix="cxr-send-") as folder:
        path = Path(folder) / "instance.dcm"
        path.write_bytes(instance.encoded)
        try:
            return association.send_c_store(path, msg_id=number)
        except RuntimeError:
            # the peer broke off between our look at the association and this call
            return Dataset()


def _as_implicit_little_endian(instance: _Outgoing) -> _Outgoing:
    dataset = dcmread(BytesIO(instance.encoded))
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    buffer = BytesIO()
    dcmwrite(buffer, dataset, implicit_vr=True, little_endian=True, enforce_file_format=True)
    return _Outgoing(
        instance.sop_class_uid, instance.sop_instance_uid, ImplicitVRLittleEndian, buffer.getvalue()
    )
