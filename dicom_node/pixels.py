"""A DICOM file to a radiograph: decoded, windowed and turned as radiologists see it.

Training and serving read images through this one module.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from dicom_node.codestreams import MAX_DECODED_BYTES, broken
from dicom_node.decoders import decode_frame, is_compressed
from dicom_node.errors import NotEligible, NotEligibleReason, UndecodableInstance
from dicom_node.greyscale import GreyTable, grey_table
from dicom_node.header import UNREADABLE, integer, text, texts, value
from dicom_node.orientation import STANDARD, Orientation, frontal_orientation, principal_directions
from dicom_node.reading import read_dataset

__all__ = [
    "MAX_DECODED_BYTES",
    "Radiograph",
    "header_of",
    "read_dataset",
    "read_radiograph",
    "require_pixels",
    "shrink",
]

_PIXEL_GROUP = 0x7FE0
_PIXEL_DATA = 0x7FE00010
_BULK = frozenset({"OB", "OW", "UN", "OB or OW"})
_HISTOGRAM_PIXELS = 1 << 20
_STRIP_ROWS = 256
_LONGEST_PALETTE_BYTES = 1 << 18
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
    chosen_range : tuple of float, optional
        As in ``greyscale.GreyTable``; None for colour images too.
    inverted : bool
        As in ``greyscale.GreyTable``.
    """

    dataset: Dataset = field(repr=False)
    pixels: NDArray[np.float32] = field(repr=False)
    view_position: str = ""
    orientation_assumed: bool = True
    orientation: Orientation = STANDARD
    warnings: tuple[str, ...] = ()
    chosen_range: tuple[float, float] | None = None
    inverted: bool = False


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
    table: GreyTable | None = None
    if raw.ndim == 3 or text(dataset, "PhotometricInterpretation").upper() == "PALETTE COLOR":
        grey = _luminance(dataset, raw)
        warnings: tuple[str, ...] = ("a colour image that shows grey was turned into grey",)
    else:
        grey, table = _to_grey(header, raw)
        warnings = table.warnings
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
        chosen_range=table.chosen_range if table else None,
        inverted=table is not None and table.inverted,
    )


def header_of(dataset: Dataset) -> Dataset:
    """Return a copy without pixel data, overlays' and private elements; values stay as they were encoded.

    Only what is asked for is converted, by ``dicom_node.header`` and within its limits. The original
    keeps everything.
    """
    header = Dataset()
    implicit, little = dataset.original_encoding
    header.set_original_encoding(implicit, little, dataset.original_character_set)
    for tag in dataset.keys():  # noqa: SIM118 - iterating reads every value
        if tag.group < _PIXEL_GROUP and not tag.is_private:
            header[tag] = dataset.get_item(tag, keep_deferred=True)
    header.file_meta = dataset.file_meta
    return header


def require_pixels(dataset: Dataset) -> None:
    """Check that there is pixel data at all, and bring it into the form that decoders read.

    Raises
    ------
    NotEligible
        NO_PIXELS.
    UndecodableInstance
        If the element that holds it is damaged.
    """
    try:
        element = dataset.get_item(_PIXEL_DATA, keep_deferred=True)
        present = element is not None and bool(element.value)
        if isinstance(element, RawDataElement) and element.VR in (*_BULK, None):
            element = dataset[_PIXEL_DATA]
        usable = element is None or (element.VR in _BULK and isinstance(element.value, bytes | None))
    except UNREADABLE:
        usable = present = False
    if not usable:
        raise UndecodableInstance(
            "The element that holds the pixel data is damaged. Send the image again from its source."
        )
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


def _to_grey(header: Dataset, raw: NDArray[np.uint16]) -> tuple[NDArray[np.float32], GreyTable]:
    step = max(1, int((raw.size / _HISTOGRAM_PIXELS) ** 0.5))
    sample = raw[::step, ::step].ravel()
    histogram = np.bincount(sample, minlength=1 << (8 * raw.itemsize))
    histogram[raw.max()] += 1
    table = grey_table(header, histogram.astype(np.int64, copy=False))
    # cv2.LUT takes 16-bit images from OpenCV 5 on; numpy's indexing takes thirty times as long.
    return np.asarray(cv2.LUT(np.ascontiguousarray(raw), table.grey), dtype=np.float32), table


def _luminance(dataset: Dataset, raw: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Reduce colour to grey in strips, so that no copy of the whole image in a wider type is made."""
    interpretation = text(dataset, "PhotometricInterpretation").upper()
    palette = _palette(dataset, raw) if interpretation == "PALETTE COLOR" else None
    # JPEG and JPEG 2000 decoders return RGB; RLE and native YBR keep luminance in the first plane.
    by_codec = is_compressed(dataset) and dataset.file_meta.TransferSyntaxUID != uid.RLELossless
    luminance_first = interpretation.startswith("YBR") and not by_codec
    grey = np.empty(raw.shape[:2], np.float32)
    coloured = 0
    for top in range(0, raw.shape[0], _STRIP_ROWS):
        strip = raw[top : top + _STRIP_ROWS]
        strip = strip if palette is None else palette[strip]
        grey[top : top + _STRIP_ROWS], chroma = _grey_and_chroma(strip, luminance_first)
        coloured += int(np.count_nonzero(chroma > _COLOUR_TOLERANCE / 256))
    if coloured > _COLOURED_SHARE * grey.size:
        raise NotEligible(
            NotEligibleReason.NOT_A_RADIOGRAPH,
            "The image is in colour, so it is a picture or a report rather than a radiograph.",
        )
    return grey


def _palette(dataset: Dataset, raw: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return the colour of each stored value, shape (2**BitsAllocated, 3) (PS3.3 C.7.6.3.1.5)."""
    if raw.ndim == 3:
        raise broken("it has three samples a pixel and a palette")
    # Segmented palettes stay out: a few bytes of them can unfold without end.
    tables = Dataset()
    try:
        for colour in ("Red", "Green", "Blue"):
            for part in ("Descriptor", "Data"):
                keyword = f"{colour}PaletteColorLookupTable{part}"
                setattr(tables, keyword, value(dataset, keyword, _LONGEST_PALETTE_BYTES))
        palette = apply_color_lut(np.arange(1 << (8 * raw.itemsize), dtype=raw.dtype), tables)
    except UNREADABLE as error:
        raise broken("its palette is missing or damaged") from error
    if palette.shape[1:] != (3,):
        raise broken("its palette is not one of three colours")
    return palette


def _grey_and_chroma(
    strip: NDArray[np.uint16], luminance_first: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    full = np.float32(np.iinfo(strip.dtype).max)
    wide = strip.astype(np.float32)
    if luminance_first:
        return wide[..., 0] / full, np.abs(wide[..., 1:] - (full + 1) / 2).max(axis=2) / (full + 1)
    grey = wide @ np.array([0.299, 0.587, 0.114], np.float32) / full
    return grey, np.ptp(wide, axis=2) / (full + 1)


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
