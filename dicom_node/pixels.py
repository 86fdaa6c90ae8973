"""A DICOM file to a radiograph: decoded, windowed and turned as radiologists see it.

Training and serving read images through this one module.
"""

from __future__ import annotations

import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom import config, dcmread, filereader, uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.processing import apply_color_lut

from dicom_node.decoders import broken, decode_frame, is_compressed
from dicom_node.errors import NotEligible, NotEligibleReason, UndecodableInstance
from dicom_node.greyscale import grey_table
from dicom_node.header import UNREADABLE, integer, text, texts
from dicom_node.orientation import STANDARD, Orientation, frontal_orientation, principal_directions

# Hospital data sets break value rules daily; each reader checks what it needs itself.
config.settings.reading_validation_mode = config.IGNORE

MAX_DECODED_BYTES = 128 << 20
"""Largest decoded image: 8192 x 8192 at 16 bit, some four times a full-size detector."""
MAX_INFLATED_BYTES = MAX_DECODED_BYTES + (16 << 20)
"""Largest data set that a deflated one may become."""
_PIXEL_GROUP = 0x7FE00000
_HISTOGRAM_PIXELS = 1 << 20
_COLOUR_TOLERANCE = 24
_COLOURED_SHARE = 0.02
_INVERSION_CONTRAST = 0.1


@dataclass(frozen=True)
class Radiograph:
    """One frontal chest radiograph, ready for scoring and for drawing.

    Parameters
    ----------
    dataset : pydicom.dataset.Dataset
        The header: everything but pixel data.
    pixels : numpy.ndarray
        float32, shape (rows, columns), in [0, 1], 0 = black, bone bright; display geometry:
        patient's right at image left, head up.
    view_position : str
        ``PA``, ``AP`` or what else the header says; ``""`` where it says nothing.
    orientation_assumed : bool
        The header does not state a usable orientation; the standard display was assumed.
    orientation : Orientation
        The turn from the stored image to ``pixels``, and back.
    warnings : tuple of str
        What was assumed, in plain words.
    """

    dataset: Dataset = field(repr=False)
    pixels: NDArray[np.float32] = field(repr=False)
    view_position: str = ""
    orientation_assumed: bool = True
    orientation: Orientation = STANDARD
    warnings: tuple[str, ...] = ()


def read_dataset(encoded: bytes) -> Dataset:
    """Read a DICOM file held in memory.

    Parameters
    ----------
    encoded : bytes
        A PS3.10 file, or a bare data set without preamble, as some archives keep it.

    Returns
    -------
    pydicom.dataset.Dataset
        With ``file_meta.TransferSyntaxUID`` set and at least a SOP Class UID.

    Raises
    ------
    UndecodableInstance
        The bytes are no DICOM data set, or inflate beyond ``MAX_INFLATED_BYTES``.
    """
    try:
        dataset = _read_deflated(encoded) or dcmread(BytesIO(encoded), force=True)
        _complete_file_meta(dataset)
        identified = "SOPClassUID" in dataset
    except (*UNREADABLE, MemoryError, zlib.error) as error:
        raise UndecodableInstance(
            f"The file cannot be read as DICOM ({type(error).__name__}); it is damaged or something else."
        ) from error
    if not identified:
        raise UndecodableInstance("The file is not a DICOM image: it has no SOP Class UID.")
    return dataset


def _read_deflated(encoded: bytes) -> Dataset | None:
    """Inflate within a limit before parsing (PS3.5 A.5); None where the file is not deflated."""
    if encoded[128:132] != b"DICM":
        return None
    stream = BytesIO(encoded)
    stream.seek(132)
    meta = filereader.read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    if meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
        return None
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(stream.read(), MAX_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        raise UndecodableInstance(f"The deflated data set is larger than {MAX_INFLATED_BYTES >> 20} MiB.")
    dataset = dcmread(BytesIO(_EXPLICIT_START + inflated))
    dataset.file_meta = FileMetaDataset(meta)
    return dataset


_EXPLICIT_START = bytes(128) + b"DICM\x02\x00\x10\x00UI\x14\x00" + uid.ExplicitVRLittleEndian.encode() + b"\0"
"""Preamble and the least file meta information that announces explicit little endian."""


def _complete_file_meta(dataset: Dataset) -> None:
    meta = getattr(dataset, "file_meta", None)
    if meta is None:
        dataset.file_meta = meta = FileMetaDataset()
    if not meta.get("TransferSyntaxUID"):
        implicit, little = dataset.original_encoding
        native = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else native


def read_radiograph(dataset: Dataset) -> Radiograph:
    """Decode, window and turn the image of a data set.

    The chain is that of ``greyscale.grey_table``. Without a usable ``PatientOrientation`` a frontal
    radiograph is taken as displayed in the standard way, and this is said in ``warnings``. Colour
    that is grey in truth becomes luminance (ITU-R BT.601).

    Parameters
    ----------
    dataset : pydicom.dataset.Dataset
        From ``read_dataset``; not changed.

    Returns
    -------
    Radiograph

    Raises
    ------
    NotEligible
        NO_PIXELS, BROKEN_PIXELS, TOO_LARGE, MULTI_FRAME, or NOT_A_RADIOGRAPH for true colour.
    """
    _check_declared_size(dataset)
    header = header_of(dataset)
    raw = decode_frame(dataset)
    warnings: tuple[str, ...]
    if raw.ndim == 3 or text(dataset, "PhotometricInterpretation").upper() == "PALETTE COLOR":
        grey, warnings = _luminance(dataset, raw), ("a colour image that shows grey was turned into grey",)
    else:
        grey, warnings = _to_grey(header, raw)
    orientation, assumed = _orientation_of(header)
    if assumed:
        warnings += ("image orientation is not stated; the standard display was assumed",)
    pixels = orientation.to_display(grey)
    if _looks_inverted(pixels):
        warnings += ("black and white look exchanged; check Photometric Interpretation at the source",)
    return Radiograph(
        dataset=header,
        pixels=pixels,
        view_position=text(header, "ViewPosition").upper(),
        orientation_assumed=assumed,
        orientation=orientation,
        warnings=warnings,
    )


def header_of(dataset: Dataset) -> Dataset:
    """Return a copy without pixel data and without elements that cannot be read.

    The original keeps both.
    """
    header = Dataset()
    implicit, little = dataset.original_encoding
    header.set_original_encoding(implicit, little, dataset.original_character_set)
    tags = [tag for tag in dataset.keys() if tag < _PIXEL_GROUP]  # noqa: SIM118 - iterating reads every value
    for tag in tags:
        with suppress(*UNREADABLE):
            header[tag] = dataset[tag]
    header.file_meta = dataset.file_meta
    return header


def require_pixels(dataset: Dataset) -> None:
    """Check that there is pixel data at all.

    Raises
    ------
    NotEligible
        NO_PIXELS.
    UndecodableInstance
        If the element that holds it is damaged.
    """
    try:
        present = bool(dataset.get("PixelData"))
    except UNREADABLE as error:
        raise UndecodableInstance(
            "The element that holds the pixel data is damaged. Send the image again from its source."
        ) from error
    if not present:
        raise NotEligible(
            NotEligibleReason.NO_PIXELS,
            "The object holds no pixel data. Send the image itself, not only its header.",
        )


def _check_declared_size(dataset: Dataset) -> None:
    require_pixels(dataset)
    rows, columns = integer(dataset, "Rows", 0), integer(dataset, "Columns", 0)
    samples, frames = integer(dataset, "SamplesPerPixel", 1), integer(dataset, "NumberOfFrames", 1)
    bits = integer(dataset, "BitsAllocated", 0)
    if rows < 1 or columns < 1 or bits not in (8, 16) or samples not in (1, 3):
        raise broken(f"{columns} x {rows} pixels, {samples} samples of {bits} bits are not a radiograph's")
    if frames > 1:
        raise NotEligible(
            NotEligibleReason.MULTI_FRAME,
            f"The object has {frames} frames. Only single radiographs are scored.",
        )
    size = rows * columns * samples * bits // 8
    if size > MAX_DECODED_BYTES:
        raise NotEligible(
            NotEligibleReason.TOO_LARGE,
            f"The image announces {columns} x {rows} pixels ({size >> 20} MiB), more than the limit of "
            f"{MAX_DECODED_BYTES >> 20} MiB. Check the sender's header.",
        )


def _to_grey(header: Dataset, raw: NDArray[np.uint16]) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    step = max(1, int((raw.size / _HISTOGRAM_PIXELS) ** 0.5))
    sample = raw[::step, ::step].ravel()
    histogram = np.bincount(sample, minlength=1 << (8 * raw.itemsize))
    histogram[raw.max()] += 1
    table = grey_table(header, histogram.astype(np.int64, copy=False))
    # cv2.LUT takes 16-bit images from OpenCV 5 on; numpy's indexing takes thirty times as long.
    return np.asarray(cv2.LUT(np.ascontiguousarray(raw), table.grey), dtype=np.float32), table.warnings


def _luminance(dataset: Dataset, raw: NDArray[np.uint16]) -> NDArray[np.float32]:
    interpretation = text(dataset, "PhotometricInterpretation").upper()
    if interpretation == "PALETTE COLOR":
        raw = apply_color_lut(raw, dataset)
    full = float(np.iinfo(raw.dtype).max)
    # JPEG and JPEG 2000 decoders return RGB; RLE and native YBR keep luminance in the first plane.
    by_codec = is_compressed(dataset) and dataset.file_meta.TransferSyntaxUID != uid.RLELossless
    if interpretation.startswith("YBR") and not by_codec:
        chroma = np.abs(raw[..., 1:].astype(np.int32) - (int(full) + 1) // 2).max(axis=2)
        luminance = raw[..., 0].astype(np.float32)
    else:
        chroma = np.ptp(raw.astype(np.int32), axis=2)
        luminance = raw.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    if (chroma > _COLOUR_TOLERANCE * (full + 1) / 256).mean() > _COLOURED_SHARE:
        raise NotEligible(
            NotEligibleReason.NOT_A_RADIOGRAPH,
            "The image is in colour, so it is a picture or a report rather than a radiograph.",
        )
    return np.asarray(luminance / full, dtype=np.float32)


def _orientation_of(header: Dataset) -> tuple[Orientation, bool]:
    stated = frontal_orientation(principal_directions(texts(header, "PatientOrientation")))
    return (STANDARD, True) if stated is None else (stated, False)


def _looks_inverted(pixels: NDArray[np.float32]) -> bool:
    """Tell whether the middle of the chest is clearly darker than both sides, where the lungs are.

    On the 824 training and validation films of this project, whose greys are right, this says so of
    5; with the greys exchanged, of 743.
    """
    small = cv2.resize(pixels, (100, 100), interpolation=cv2.INTER_AREA)[25:65]
    sides = (np.median(small[:, 20:38]) + np.median(small[:, 62:80])) / 2
    return bool(np.median(small[:, 46:55]) - sides < -_INVERSION_CONTRAST)


def shrink(pixels: NDArray[np.float32], longest_side: int) -> NDArray[np.float32]:
    """Reduce an image by area averaging so that its long side is at most ``longest_side``; never enlarge."""
    rows, columns = pixels.shape[:2]
    scale = longest_side / max(rows, columns)
    if scale >= 1:
        return pixels
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
