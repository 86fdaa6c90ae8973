"""A DICOM file in memory to a data set, within bounds: no length and no structure is believed unseen."""

from __future__ import annotations

import re
import zlib

from pydicom import config, filereader, uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import BaseTag

from dicom_node.bounded import BoundedBytes
from dicom_node.errors import NotEligible, NotEligibleReason, UndecodableInstance
from dicom_node.header import UNREADABLE, text

# Hospital data sets break value rules daily; each reader checks what it needs itself.
config.settings.reading_validation_mode = config.IGNORE

MAX_FILE_BYTES = 144 << 20
"""Largest file that is read, before and after inflating: the largest image, and 16 MiB of header."""
_META_GROUP = 0x0002
_UID_CHARACTERS = re.compile(r"[0-9.]{1,64}")
# What an element's first bytes may take; two elements of one tag lie at least as far apart.
_ELEMENT_BYTES = 8


def read_dataset(encoded: bytes) -> Dataset:
    """Read a DICOM file held in memory.

    Parameters
    ----------
    encoded : bytes
        A PS3.10 file, or a bare data set without preamble, as some archives keep it.

    Returns
    -------
    pydicom.dataset.Dataset
        With ``file_meta.TransferSyntaxUID`` set, a SOP Class UID, and a SOP Instance UID of digits and dots.

    Raises
    ------
    UndecodableInstance
        The bytes are no DICOM data set, inflate beyond ``MAX_FILE_BYTES``, fall into too many elements, or
        hold an element twice.
    NotEligible
        TOO_LARGE: the file itself is larger than ``MAX_FILE_BYTES``.
    """
    if len(encoded) > MAX_FILE_BYTES:
        raise NotEligible(
            NotEligibleReason.TOO_LARGE,
            f"The file has {len(encoded) >> 20} MiB, more than the limit of {MAX_FILE_BYTES >> 20} MiB. "
            "Only single radiographs are scored.",
        )
    stream = BoundedBytes(encoded)
    try:
        dataset = _read_deflated(stream)
        if dataset is None:
            dataset = filereader.read_partial(stream, _Once(stream), force=True)
        _complete_file_meta(dataset)
        identified = "SOPClassUID" in dataset
        sop_instance_uid = text(dataset, "SOPInstanceUID")
    except (*UNREADABLE, MemoryError, zlib.error) as error:
        raise UndecodableInstance(_told(error, stream)) from error
    if not identified:
        raise UndecodableInstance(
            "The file was cut off, is damaged or no DICOM image: it has no SOP Class UID that can be read."
        )
    if not _UID_CHARACTERS.fullmatch(sop_instance_uid):
        raise UndecodableInstance("The file has no SOP Instance UID of digits and dots (PS3.5 9.1).")
    return dataset


def _told(error: BaseException, stream: BoundedBytes) -> str:
    if stream.exhausted:
        return "The file falls into more elements than any image has; it is damaged or something else."
    if isinstance(error, zlib.error):
        return "The deflated data set cannot be inflated; it was cut off or damaged."
    return f"The file cannot be read as DICOM ({type(error).__name__}); it is damaged or something else."


class _Once:
    """Lets pydicom go on to the next element unless it is one that was there already (PS3.5 7.1).

    Of two SOP Instance UIDs the node would check the first and a parser keep the last. Private elements
    say nothing that is read here.
    """

    def __init__(self, stream: BoundedBytes) -> None:
        self._stream = stream
        self._seen: dict[int, int] = {}

    def __call__(self, tag: BaseTag, _vr: str | None, _length: int) -> bool:
        if tag >> 16 & 1:
            return False
        at = self._stream.tell()
        # pydicom asks twice about the first element when it guesses the encoding.
        if at - self._seen.setdefault(int(tag), at) >= _ELEMENT_BYTES:
            raise UndecodableInstance(
                f"The data set holds the element ({tag >> 16:04X},{tag & 0xFFFF:04X}) twice, so that one "
                "cannot tell which is true. Send the image again from its source."
            )
        return False


def _read_deflated(stream: BoundedBytes) -> Dataset | None:
    """Inflate within a limit before parsing (PS3.5 A.5); None where the file is not deflated."""
    filereader.read_preamble(stream, force=True)
    meta = filereader.read_dataset(stream, False, True, stop_when=_is_after_meta)
    if meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
        stream.seek(0)
        return None
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    deflated = stream.getbuffer()[stream.tell() :]
    inflated = BoundedBytes(inflater.decompress(deflated, MAX_FILE_BYTES))
    if inflater.unconsumed_tail:
        raise UndecodableInstance(f"The deflated data set is larger than {MAX_FILE_BYTES >> 20} MiB.")
    try:
        dataset = filereader.read_dataset(inflated, False, True, stop_when=_Once(inflated))
    except UNREADABLE as error:
        raise UndecodableInstance(_told(error, inflated)) from error
    dataset.file_meta = FileMetaDataset(meta)
    return dataset


def _is_after_meta(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag >> 16 != _META_GROUP


def _complete_file_meta(dataset: Dataset) -> None:
    meta = getattr(dataset, "file_meta", None)
    if meta is None:
        dataset.file_meta = meta = FileMetaDataset()
    implicit, little = dataset.original_encoding
    native = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
    stated = text(meta, "TransferSyntaxUID")
    meta.TransferSyntaxUID = uid.UID(stated or (uid.ImplicitVRLittleEndian if implicit else native))
