"""Pixel data of one frame to an array of raw values, for every transfer syntax that we offer.

One library decodes everything that is compressed: imagecodecs (BSD-3-Clause, bundling
libjpeg-turbo, OpenJPEG, CharLS and OpenJPH, all under permissive licences). It reads 12-bit
JPEG, which GDCM and Pillow refuse, decodes lossless JPEG in a tenth of GDCM's time, and needs no
further plugin, where pydicom's route would take three. pylibjpeg-libjpeg is GPL and stays out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments

from dicom_node.errors import NotEligible, NotEligibleReason
from dicom_node.transfer_syntaxes import UNCOMPRESSED

_SOF_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_END_MARKER = b"\xff\xd9"
_PADDING = 64
_J2K_START = b"\xff\x4f\xff\x51"


def decode_frame(dataset: Dataset) -> NDArray[Any]:
    """Decode the single frame of a data set into raw values.

    Parameters
    ----------
    dataset : pydicom.dataset.Dataset
        With ``PixelData``, one frame, sizes already checked against the limit.

    Returns
    -------
    numpy.ndarray
        uint8 or uint16, shape (rows, columns) or (rows, columns, 3); bits as stored, the sign of
        ``PixelRepresentation`` not yet applied. Colour from JPEG and JPEG 2000 comes as RGB.

    Raises
    ------
    NotEligible
        BROKEN_PIXELS: too little data, a damaged or foreign codestream, or sizes that contradict
        the header.
    """
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    samples = int(dataset.get("SamplesPerPixel", 1) or 1)
    if is_compressed(dataset):
        pixels = _decode_encapsulated(dataset, (rows, columns, samples))
    else:
        pixels = _read_native(dataset, (rows, columns, samples))
    if pixels.dtype.kind == "i":
        pixels = pixels.view(pixels.dtype.str.replace("i", "u"))
    if pixels.shape[:2] != (rows, columns) or pixels.dtype.itemsize > 2:
        raise broken(
            f"the decoded image is {pixels.shape[1]} x {pixels.shape[0]} pixels of {pixels.dtype}, "
            f"the header announces {columns} x {rows}"
        )
    return pixels


def is_compressed(dataset: Dataset) -> bool:
    """Tell whether the transfer syntax encapsulates pixel data; unknown ones count as such."""
    return str(dataset.file_meta.TransferSyntaxUID) not in UNCOMPRESSED


def broken(cause: str) -> NotEligible:
    """Return the error for pixel data that cannot be used, naming the cause."""
    return NotEligible(
        NotEligibleReason.BROKEN_PIXELS,
        f"The pixel data cannot be read: {cause}. Send the image again from the modality or archive.",
    )


def _read_native(dataset: Dataset, shape: tuple[int, int, int]) -> NDArray[Any]:
    rows, columns, samples = shape
    big_endian = dataset.file_meta.TransferSyntaxUID == uid.ExplicitVRBigEndian
    size = int(dataset.BitsAllocated) // 8
    dtype = np.dtype(f"{'>' if big_endian else '<'}u{size}")
    count = rows * columns * samples
    data: bytes = dataset.PixelData
    if len(data) < count * size:
        raise broken(f"it holds {len(data)} bytes where {count * size} are announced; it was cut off")
    if big_endian and size == 1 and dataset["PixelData"].VR == "OW":
        # PS3.5 8.1.2: 8-bit samples in OW are swapped in pairs in big endian.
        data = np.frombuffer(data[: len(data) // 2 * 2], "<u2").byteswap().tobytes()
    flat = np.frombuffer(data, dtype, count).astype(dtype.newbyteorder("="), copy=False)
    if samples == 1:
        return flat.reshape(rows, columns)
    if int(dataset.get("PlanarConfiguration", 0) or 0) == 1:
        return flat.reshape(samples, rows, columns).transpose(1, 2, 0)
    return flat.reshape(rows, columns, samples)


def _decode_encapsulated(dataset: Dataset, shape: tuple[int, int, int]) -> NDArray[Any]:
    try:
        fragments = list(generate_fragments(dataset.PixelData))
    except (ValueError, EOFError) as error:
        raise broken("its fragments do not add up; it was cut off or damaged") from error
    # The first item is the offset table (PS3.5 A.4); one frame may come in several fragments.
    frame = b"".join(fragments[1:])
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    decoder = _DECODERS.get(syntax)
    if decoder is None:
        raise broken(f"transfer syntax {syntax} is not supported; send it uncompressed")
    # These decoders fill up a stream that was cut off; a film with half a lung must not be scored.
    if decoder in (_jpeg, _htj2k) and _END_MARKER not in frame[-_PADDING:]:
        raise broken("its codestream has no end marker; it was cut off")
    announced = codestream_size(frame, syntax)
    if announced is not None and announced != shape[:2]:
        raise broken(
            f"its codestream announces {announced[1]} x {announced[0]} pixels, "
            f"the header {shape[1]} x {shape[0]}"
        )
    try:
        return decoder(frame, dataset, shape)
    except (RuntimeError, ValueError, TypeError, IndexError, OverflowError) as error:
        raise broken("the compressed image is damaged or was cut off") from error


def codestream_size(frame: bytes, transfer_syntax: str) -> tuple[int, int] | None:
    """Read (rows, columns) from a codestream's own header, before any memory is taken for it.

    Parameters
    ----------
    frame : bytes
        One compressed frame.
    transfer_syntax : str
        Transfer Syntax UID.

    Returns
    -------
    tuple of int or None
        None for RLE, which has no size of its own.

    Raises
    ------
    NotEligible
        BROKEN_PIXELS: no frame header where one must be (ISO/IEC 10918-1 B.2.2, 14495-1 C.2.2,
        15444-1 A.5.1).
    """
    if transfer_syntax == uid.RLELossless:
        return None
    if transfer_syntax in _JPEG2000:
        start = frame.find(_J2K_START)
        if start < 0 or len(frame) < start + 24:
            raise broken("it holds no JPEG 2000 codestream")
        right, lower, left, upper = (
            int.from_bytes(frame[start + at : start + at + 4], "big") for at in (8, 12, 16, 20)
        )
        return lower - upper, right - left
    at = 2
    while at + 9 < len(frame):
        if frame[at] != 0xFF:
            at += 1
            continue
        marker = frame[at + 1]
        if marker in _SOF_MARKERS:
            return int.from_bytes(frame[at + 5 : at + 7], "big"), int.from_bytes(
                frame[at + 7 : at + 9], "big"
            )
        standalone = marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD9
        at += 1 if marker == 0xFF else 2 if standalone else 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    raise broken("it holds no JPEG frame header")


def _jpeg(frame: bytes, dataset: Dataset, shape: tuple[int, int, int]) -> NDArray[Any]:
    pixels: NDArray[Any] = imagecodecs.jpeg8_decode(frame)
    return pixels


def _jpeg_ls(frame: bytes, dataset: Dataset, shape: tuple[int, int, int]) -> NDArray[Any]:
    pixels: NDArray[Any] = imagecodecs.jpegls_decode(frame)
    return pixels


def _jpeg_2000(frame: bytes, dataset: Dataset, shape: tuple[int, int, int]) -> NDArray[Any]:
    pixels: NDArray[Any] = imagecodecs.jpeg2k_decode(frame)
    return pixels


def _htj2k(frame: bytes, dataset: Dataset, shape: tuple[int, int, int]) -> NDArray[Any]:
    pixels: NDArray[Any] = imagecodecs.htj2k_decode(frame)
    return pixels


def _rle(frame: bytes, dataset: Dataset, shape: tuple[int, int, int]) -> NDArray[Any]:
    rows, columns, samples = shape
    dtype = np.dtype(f"u{int(dataset.BitsAllocated) // 8}")
    decoded = imagecodecs.dicomrle_decode(frame, dtype, out=rows * columns * samples * dtype.itemsize)
    # Segments run plane by plane (PS3.5 G.2).
    planes = np.frombuffer(decoded, dtype).reshape(samples, rows, columns)
    return planes[0] if samples == 1 else planes.transpose(1, 2, 0)


_JPEG2000 = frozenset(
    {uid.JPEG2000, uid.JPEG2000Lossless, uid.HTJ2K, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL}
)
_DECODERS: dict[str, Callable[[bytes, Dataset, tuple[int, int, int]], NDArray[Any]]] = {
    uid.JPEGBaseline8Bit: _jpeg,
    uid.JPEGExtended12Bit: _jpeg,
    uid.JPEGLossless: _jpeg,
    uid.JPEGLosslessSV1: _jpeg,
    uid.JPEGLSLossless: _jpeg_ls,
    uid.JPEGLSNearLossless: _jpeg_ls,
    uid.JPEG2000Lossless: _jpeg_2000,
    uid.JPEG2000: _jpeg_2000,
    uid.HTJ2K: _htj2k,
    uid.HTJ2KLossless: _htj2k,
    uid.HTJ2KLosslessRPCL: _htj2k,
    uid.RLELossless: _rle,
}
