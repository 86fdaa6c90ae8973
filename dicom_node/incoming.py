"""Who an incoming data set says it is: four UIDs, read with bounded effort and never further than needed."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from pydicom.filereader import data_element_generator
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from dicom_node.bounded import BoundedBytes
from dicom_node.errors import InvalidInstance, MismatchedInstance, UndecodableInstance

HEADER_LIMIT_BYTES = 4 * 1024 * 1024
"""How far the four UIDs are looked for; they stand before any pixel, overlay or waveform data."""

_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018
_STUDY_INSTANCE_UID = 0x0020000D
_SERIES_INSTANCE_UID = 0x0020000E
_FOREIGN_GROUPS = frozenset({0x0000, 0x0002})
"""Of messages and of file meta information; in the file that is kept, they would speak for ours."""
_NAMES = {
    _SOP_CLASS_UID: "SOP Class UID",
    _SOP_INSTANCE_UID: "SOP Instance UID",
    _STUDY_INSTANCE_UID: "Study Instance UID",
    _SERIES_INSTANCE_UID: "Series Instance UID",
}


@dataclass(frozen=True)
class Identity:
    """The UIDs of one SOP instance, each valid by PS3.5 9.1."""

    sop_class_uid: UID
    sop_instance_uid: UID
    series_instance_uid: UID
    study_instance_uid: UID


def read_identity(data_set: bytes | memoryview, transfer_syntax: str) -> Identity:
    """Return the UIDs of an encoded data set without decoding the rest of it.

    Parameters
    ----------
    data_set : bytes or memoryview
        The data set as it came over the network: no preamble, no file meta information.
    transfer_syntax : str
        UID of the encoding agreed for it.

    Returns
    -------
    Identity

    Raises
    ------
    UndecodableInstance
        If the bytes hold none of the four UIDs or one of them twice, break off, go wrong or fall into too
        many elements before the last of them, or hold elements of a message or of a file's header.
    MismatchedInstance
        If one of them is missing or empty: all four are Type 1 in every storage SOP class
        (PS3.3 C.7.2.1, C.7.3.1, C.12.1).
    InvalidInstance
        If one of them violates the rules for UIDs (PS3.5 9.1).
    """
    found = _read_uids(data_set, UID(transfer_syntax))
    if not found:
        raise UndecodableInstance("no UID found: not a data set in the agreed transfer syntax")
    for tag, name in _NAMES.items():
        if not found.get(tag):
            raise MismatchedInstance(f"{name} is missing or empty")
    for tag, name in _NAMES.items():
        if not is_valid_uid(found[tag]):
            raise InvalidInstance(f"{name} is not a valid UID (PS3.5 9.1)")
    return Identity(
        sop_class_uid=UID(found[_SOP_CLASS_UID]),
        sop_instance_uid=UID(found[_SOP_INSTANCE_UID]),
        series_instance_uid=UID(found[_SERIES_INSTANCE_UID]),
        study_instance_uid=UID(found[_STUDY_INSTANCE_UID]),
    )


def is_valid_uid(text: str) -> bool:
    """Say whether a text is a UID: digits and dots, no leading zeros, at most 64 characters (PS3.5 9.1)."""
    if not 0 < len(text) <= 64 or not text.isascii():
        return False
    return all(part.isdigit() and (part == "0" or part[0] != "0") for part in text.split("."))


def _read_uids(data_set: bytes | memoryview, transfer_syntax: UID) -> dict[int, str]:
    head = bytes(memoryview(data_set)[:HEADER_LIMIT_BYTES])
    found: dict[int, str] = {}

    def stop_when(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        if tag >> 16 in _FOREIGN_GROUPS:
            raise UndecodableInstance(
                f"elements of group {tag >> 16:04X} have no place in a data set (PS3.5 7.1)"
            )
        if tag in found:
            raise UndecodableInstance(f"{_NAMES[tag]} stands there twice")
        return bool(tag > _SERIES_INSTANCE_UID)

    try:
        if transfer_syntax == DeflatedExplicitVRLittleEndian:
            head = zlib.decompressobj(-zlib.MAX_WBITS).decompress(head, HEADER_LIMIT_BYTES)
        elements = data_element_generator(
            BoundedBytes(head),
            transfer_syntax.is_implicit_VR,
            transfer_syntax.is_little_endian,
            stop_when=stop_when,
            specific_tags=list(_NAMES),
        )
        for element in elements:
            if element.tag in _NAMES and isinstance(element.value, bytes):
                found[element.tag] = element.value.decode("ascii", "replace").rstrip("\0 ").lstrip(" ")
    except UndecodableInstance:
        raise
    except Exception as error:
        # pydicom has no common error for broken bytes (struct.error, EOFError, KeyError, RecursionError ...)
        raise UndecodableInstance(f"header cannot be read ({type(error).__name__})") from error
    return found
