"""Who an outgoing instance is, by its file meta information; the data set is not read."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

from pydicom.filereader import read_partial
from pydicom.uid import UID

from dicom_node.errors import UndecodableInstance


@dataclass(frozen=True)
class OutgoingMeta:
    """What an instance's file meta information says of it (PS3.10 7.1)."""

    sop_class_uid: UID
    sop_instance_uid: UID
    transfer_syntax: UID


def read_file_meta(encoded: bytes) -> OutgoingMeta:
    """Return what a PS3.10 file says of itself before its data set begins.

    Raises
    ------
    UndecodableInstance
        If it is no PS3.10 file, or leaves one of the three UIDs out.
    """
    try:
        meta = read_partial(BytesIO(encoded), stop_when=lambda *_: True).file_meta
        return OutgoingMeta(
            sop_class_uid=meta.MediaStorageSOPClassUID,
            sop_instance_uid=meta.MediaStorageSOPInstanceUID,
            transfer_syntax=meta.TransferSyntaxUID,
        )
    except Exception as error:
        # pydicom has no common error for broken bytes
        raise UndecodableInstance(
            f"an instance to be sent is no PS3.10 file ({type(error).__name__})"
        ) from error
