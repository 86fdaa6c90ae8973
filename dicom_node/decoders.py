"""Pixel data of one frame to an array of raw values, for every transfer syntax that we offer.

One library decodes everything that is compressed: imagecodecs (BSD-3-Clause, bundling
libjpeg-turbo, OpenJPEG and CharLS, all under permissive licences). It reads 12-bit
JPEG, which GDCM and Pillow refuse, decodes lossless JPEG in a tenth of GDCM's time, and needs no
further plugin, where pydicom's route would take three. pylibjpeg-libjpeg is GPL and stays out.
High-throughput JPEG 2000 is decoded by OpenJPEG too: imagecodecs' other decoder for it, OpenJPH,
ends the process on damaged streams, and returns the lines it had until an error as if they were all.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments

from dicom_node.codestreams import JPEG2000, broken, frame_size, require_rle_fits
from dicom_node.header import integer
from dicom_node.transfer_syntaxes import UNCOMPRESSED

_END_MARKER = b"\xff\xd9"
_PADDING = 64
_MAX_FRAGMENTS = 1 << 16
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
    rows, columns = integer(dataset, "Rows", 0), integer(dataset, "Columns", 0)
    samples = integer(dataset, "SamplesPerPixel", 1)
    if is_compressed(dataset):
        pixels = _decode_encapsulated(dataset, (rows, columns, samples))
    else:
        pixels = _read_native(dataset, (rows, columns, samples))
    if pixels.dtype.kind == "i":
        pixels = pixels.view(pixels.dtype.str.replace("i", "u"))
    fits = pixels.shape in ((rows, columns), (rows, columns, 3))
    if not fits or pixels.dtype.itemsize > 2:
        raise broken(
            f"the decoded image is {' x '.join(map(str, pixels.shape[1::-1] + pixels.shape[2:]))} values of "
            f"{pixels.dtype}, the header announces {columns} x {rows} pixels"
        )
    return pixels


def is_compressed(dataset: Dataset) -> bool:
    """Tell whether the transfer syntax encapsulates pixel data; unknown ones count as such."""
    return str(dataset.file_meta.TransferSyntaxUID) not in UNCOMPRESSED


def _read_native(dataset: Dataset, shape: tuple[int, int, int]) -> NDArray[Any]:
    rows, columns, samples = shape
    big_endian = dataset.file_meta.TransferSyntaxUID == uid.ExplicitVRBigEndian
    size = integer(dataset, "BitsAllocated", 0) // 8
    dtype = np.dtype(f"{'>' if big_endian else '<'}u{size}")
    count = rows * columns * samples
    data: bytes = dataset.PixelData or b""
    if len(data) < count * size:
        raise broken(f"it holds {len(data)} bytes where {count * size} are announced; it was cut off")
    if big_endian and size == 1 and dataset["PixelData"].VR == "OW":
        # PS3.5 8.1.2: 8-bit samples in OW are swapped in pairs in big endian.
        data = np.frombuffer(data[: len(data) // 2 * 2], "<u2").byteswap().tobytes()
    flat = np.frombuffer(data, dtype, count).astype(dtype.newbyteorder("="), copy=False)
    if samples == 1:
        return flat.reshape(rows, columns)
    if integer(dataset, "PlanarConfiguration", 0) == 1:
        return flat.reshape(samples, rows, columns).transpose(1, 2, 0)
    return flat.reshape(rows, columns, samples)


def _decode_encapsulated(dataset: Dataset, shape: tuple[int, int, int]) -> NDArray[Any]:
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    decoder = _DECODERS.get(syntax)
    if decoder is None:
        raise broken(f"transfer syntax {syntax} is not supported; send it uncompressed")
    frame = _joined_fragments(dataset)
    if syntax in JPEG2000:
        # Some archives wrap the codestream in JP2 boxes; what those say of it is not believed.
        frame = frame[max(frame.find(_J2K_START), 0) :]
    # These decoders fill up a stream that was cut off; a film with half a lung must not be scored.
    if (decoder is _jpeg or syntax in _HTJ2K) and _END_MARKER not in frame[-_PADDING:]:
        raise broken("its codestream has no end marker; it was cut off")
    if syntax != uid.RLELossless:
        announced = frame_size(frame, syntax)
        if (announced.rows, announced.columns) != shape[:2]:
            raise broken(
                f"its codestream announces {announced.columns} x {announced.rows} pixels, "
                f"the header {shape[1]} x {shape[0]}"
            )
    try:
        return decoder(frame, dataset, shape)
    except (RuntimeError, ValueError, TypeError, IndexError, OverflowError, MemoryError) as error:
        raise broken("the compressed image is damaged or was cut off") from error


def _joined_fragments(dataset: Dataset) -> bytes:
    try:
        fragments = list(islice(generate_fragments(dataset.PixelData or b""), _MAX_FRAGMENTS))
    except (ValueError, EOFError) as error:
        raise broken("its fragments do not add up; it was cut off or damaged") from error
    if len(fragments) == _MAX_FRAGMENTS:
        raise broken("it falls into more fragments than a radiograph's")
    # The first item is the offset table (PS3.5 A.4); one frame may come in several fragments.
    return fragments[1] if len(fragments) == 2 else b"".join(fragments[1:])


def _jpeg(frame: bytes, dataset: Dataset, shape: tuple[int, int, int]) -> NDArray[Any]:
    pixels: NDArray[Any] = imagecodecs.jpeg8_decode(frame)
    return pixels


def _jpeg_ls(frame: bytes, dataset: Dataset, shape: tuple[int, int, int]) -> NDArray[Any]:
    pixels: NDArray[Any] = imagecodecs.jpegls_decode(frame)
    return pixels


def _jpeg_2000(frame: bytes, dataset: Dataset, shape: tuple[int, int, int]) -> NDArray[Any]:
    pixels: NDArray[Any] = imagecodecs.jpeg2k_decode(frame)
    return pixels


def _rle(frame: bytes, dataset: Dataset, shape: tuple[int, int, int]) -> NDArray[Any]:
    rows, columns, samples = shape
    dtype = np.dtype(f"u{integer(dataset, 'BitsAllocated', 0) // 8}")
    require_rle_fits(frame, samples * dtype.itemsize, rows * columns)
    decoded = imagecodecs.dicomrle_decode(frame, dtype, out=rows * columns * samples * dtype.itemsize)
    # Segments run plane by plane (PS3.5 G.2).
    planes = np.frombuffer(decoded, dtype).reshape(samples, rows, columns)
    return planes[0] if samples == 1 else planes.transpose(1, 2, 0)


_HTJ2K = frozenset({uid.HTJ2K, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL})
_DECODERS: dict[str, Callable[[bytes, Dataset, tuple[int, int, int]], NDArray[Any]]] = {
    uid.JPEGBaseline8Bit: _jpeg,
    uid.JPEGExtended12Bit: _jpeg,
    uid.JPEGLossless: _jpeg,
    uid.JPEGLosslessSV1: _jpeg,
    uid.JPEGLSLossless: _jpeg_ls,
    uid.JPEGLSNearLossless: _jpeg_ls,
    uid.JPEG2000Lossless: _jpeg_2000,
    uid.JPEG2000: _jpeg_2000,
    uid.HTJ2K: _jpeg_2000,
    uid.HTJ2KLossless: _jpeg_2000,
    uid.HTJ2KLosslessRPCL: _jpeg_2000,
    uid.RLELossless: _rle,
}
