"""From stored values to grey as it is meant to be seen: one table for the whole chain.

Every step of the greyscale pipeline (PS3.4 N.2) is a function of the stored value alone, so the
chain is worked out once for the 2**16 possible values and then applied by one look-up a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.header import LARGEST_NUMBER, integer, items, number, numbers, text, value

_Table = NDArray[np.float64]

ROBUST_SHARE = 0.005
"""Share of pixels below and above the window chosen where the image brings none."""
LEAST_SHOWN_SHARE = 0.05
"""A stored window or VOI LUT that leaves fewer pixels between black and white is set aside."""
_LONGEST_LUT_BYTES = 1 << 18
_NARROWEST_WINDOW = 1e-6


@dataclass(frozen=True)
class GreyTable:
    """The greyscale chain of one image.

    Parameters
    ----------
    grey : numpy.ndarray
        float32, shape (2**BitsAllocated,), in [0, 1], 0 = black: the grey of each raw value.
    warnings : tuple of str
        What had to be assumed or set aside.
    """

    grey: NDArray[np.float32]
    warnings: tuple[str, ...] = ()


def grey_table(header: Dataset, histogram: NDArray[np.int64]) -> GreyTable:
    """Work out the grey of every raw value.

    Modality LUT or rescale (PS3.3 C.11.1), then for images FOR PROCESSING the logarithm where the
    values are proportional to X-ray intensity (PS3.3 C.8.11.3.1.2), then the first VOI LUT or else
    the first window (C.11.2), or, without either, the range of the image less 0.5 % at each end
    (8-bit images: their full range), then inversion for MONOCHROME1 or Presentation LUT Shape
    INVERSE (C.11.6). Pixel padding (C.7.5.1.1.2) takes no part in any window and is black.

    Parameters
    ----------
    header : pydicom.dataset.Dataset
        The image's attributes.
    histogram : numpy.ndarray
        int64, shape (2**BitsAllocated,): how often each raw value occurs (a sample will do).

    Returns
    -------
    GreyTable
    """
    warnings: list[str] = []
    stored = stored_values(header, histogram)
    padding = _padding(header, stored)
    counts = np.where(padding, 0, histogram)
    if not counts.any():
        padding, counts = np.zeros_like(padding), histogram
    values = _modality(header, stored, warnings)
    if text(header, "PresentationIntentType").upper() == "FOR PROCESSING":
        shown = _robust_window(_attenuation(header, values, counts), counts)
    else:
        shown = _value_of_interest(header, values, counts, warnings)
        if _is_inverted(header):
            shown = 1 - shown
    shown[padding] = 0
    return GreyTable(shown.astype(np.float32), tuple(warnings))


def stored_values(header: Dataset, histogram: NDArray[np.int64]) -> _Table:
    """Return the stored value of every raw value: bits masked, shifted and signed (PS3.5 8.1.1)."""
    allocated = int(histogram.size - 1).bit_length()
    bits = min(max(integer(header, "BitsStored", allocated), 1), allocated)
    shift = min(max(integer(header, "HighBit", bits - 1) + 1 - bits, 0), allocated - bits)
    # A wrong High Bit is commoner than pixels that lie high in their cells and leave the low bits empty.
    if histogram[np.arange(histogram.size) & ((1 << shift) - 1) > 0].any():
        shift = 0
    signed = integer(header, "PixelRepresentation", 0) == 1
    codes = np.arange(histogram.size, dtype=np.int64) >> shift
    occurring = int(np.flatnonzero(histogram)[-1]) >> shift if histogram.any() else 0
    # Wrong Bits Stored and the overshoot of lossy codecs are commoner than foreign bits.
    if not signed and occurring >= 1 << bits and not _has_embedded_overlay(header):
        bits = occurring.bit_length()
    codes &= (1 << bits) - 1
    if signed:
        codes = np.where(codes >= 1 << (bits - 1), codes - (1 << bits), codes)
    return codes.astype(np.float64)


def _has_embedded_overlay(header: Dataset) -> bool:
    """Overlay planes inside the pixel cells: retired, 60xx,0102 not zero."""
    return any(integer(header, group << 16 | 0x0102, 0) != 0 for group in range(0x6000, 0x6020, 2))


def _padding(header: Dataset, stored: _Table) -> NDArray[np.bool_]:
    value = number(header, "PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, np.bool_)
    limit = number(header, "PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    # US or SS may have been confused when the element was written implicitly.
    span = stored.max() - stored.min() + 1
    both = (stored >= low) & (stored <= high)
    if high > stored.max():
        both |= (stored >= low - span) & (stored <= high - span)
    return np.asarray(both)


def _modality(header: Dataset, stored: _Table, warnings: list[str]) -> _Table:
    for item in items(header, "ModalityLUTSequence"):
        table = _look_up(item, stored, header)
        if table is not None:
            return table
        warnings.append("the modality LUT is damaged and was set aside")
    slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept")
    if slope == 0:
        warnings.append("Rescale Slope is not usable and was set aside")
        return stored
    return stored * (1.0 if slope is None else slope) + (intercept or 0.0)


def _look_up(item: Dataset, values: _Table, header: Dataset) -> _Table | None:
    """Apply one LUT item; None where descriptor and data do not fit together."""
    descriptor = numbers(item, "LUTDescriptor")
    element = value(item, "LUTData", _LONGEST_LUT_BYTES)
    if len(descriptor) != 3 or element is None or not 1 <= descriptor[2] <= 16:
        return None
    count, first = int(descriptor[0]) or 1 << 16, descriptor[1]
    if not 1 <= count <= 1 << 16:
        return None
    data = _lut_data(element, count, little_endian=header.original_encoding[1] is not False)
    if data is None or data.size < count:
        return None
    # First value mapped may be negative but written unsigned (PS3.3 C.11.1.1.1).
    if first > 0x7FFF and values.min() < 0:
        first -= 1 << 16
    return data[np.clip(values - first, 0, count - 1).astype(np.int64)]


def _lut_data(element: Any, count: int, *, little_endian: bool) -> _Table | None:
    """Return LUT Data, which comes as bytes or as numbers, or None where it is neither."""
    try:
        if isinstance(element, bytes):
            wide = len(element) >= 2 * count
            dtype = ("<u2" if little_endian else ">u2") if wide else "u1"
            return np.frombuffer(element[: len(element) & ~1 if wide else None], dtype).astype(np.float64)
        data = np.asarray(element, dtype=np.float64).ravel()
    except (OverflowError, TypeError, ValueError):
        return None
    return data if (np.abs(data) <= LARGEST_NUMBER).all() else None


def _attenuation(header: Dataset, values: _Table, counts: NDArray[np.int64]) -> _Table:
    """Turn values FOR PROCESSING so that more attenuation is brighter (PS3.3 C.8.11.3.1.2)."""
    sign = number(header, "PixelIntensityRelationshipSign")
    brighter_is_more_dose = sign > 0 if sign else _is_inverted(header)
    if not brighter_is_more_dose:
        return values
    if text(header, "PixelIntensityRelationship").upper() == "LIN":
        least = values[counts > 0].min()
        return np.asarray(-np.log(np.maximum(values - min(least, 0.0), 0.0) + 1.0))
    return -values


def _value_of_interest(
    header: Dataset, values: _Table, counts: NDArray[np.int64], warnings: list[str]
) -> _Table:
    shown = _stored_window(header, values)
    if shown is not None:
        visible = counts[(shown > 0.02) & (shown < 0.98)].sum()
        if visible >= LEAST_SHOWN_SHARE * counts.sum():
            return shown
        warnings.append("the window stored with the image shows next to nothing and was replaced")
    if counts.size == 256 and shown is None:
        low, high = sorted((values[0], values[-1]))
        return np.asarray((values - low) / ((high - low) or 1.0))
    return _robust_window(values, counts)


def _stored_window(header: Dataset, values: _Table) -> _Table | None:
    """Return the first VOI LUT, else the first window, scaled to [0, 1]; None without a usable one."""
    for item in items(header, "VOILUTSequence"):
        table = _look_up(item, values, header)
        if table is not None and table.max() > table.min():
            bits = int(numbers(item, "LUTDescriptor")[2])
            # Some devices announce 16 bits and deliver 12.
            top = (1 << bits) - 1 if table.max() > (1 << bits) / 2 else table.max()
            return np.asarray(np.clip(table / max(top, table.max()), 0, 1))
    center, width = number(header, "WindowCenter"), number(header, "WindowWidth")
    if center is None or width is None:
        return None
    return window(values, center, width, text(header, "VOILUTFunction").upper() or "LINEAR")


def window(values: _Table, center: float, width: float, function: str) -> _Table | None:
    """Apply a window (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Parameters
    ----------
    values : numpy.ndarray
        float64, any shape, after the modality LUT.
    center, width : float
        In units of the values.
    function : str
        LINEAR, LINEAR_EXACT or SIGMOID.

    Returns
    -------
    numpy.ndarray or None
        float64 in [0, 1]; None if the width is too small for the function.
    """
    if width < _NARROWEST_WINDOW:
        return None
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700))))
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0, 1)
    if width < 1:
        return None
    if width == 1:
        return np.asarray(values > center - 0.5, dtype=np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def _robust_window(values: _Table, counts: NDArray[np.int64]) -> _Table:
    occurring = np.flatnonzero(counts)
    ordered = occurring[np.argsort(values[occurring], kind="stable")]
    reached = np.cumsum(counts[ordered]) / counts.sum()
    low = values[ordered[np.searchsorted(reached, ROBUST_SHARE)]]
    high = values[ordered[np.searchsorted(reached, 1 - ROBUST_SHARE)]]
    if high <= low:
        low, high = values[ordered[0]], values[ordered[-1]]
    return np.asarray(np.clip((values - low) / ((high - low) or 1.0), 0, 1))


def _is_inverted(header: Dataset) -> bool:
    """MONOCHROME1 and shape INVERSE say the same thing (PS3.3 C.11.6.1.2); together they invert once."""
    return (
        text(header, "PhotometricInterpretation").upper() == "MONOCHROME1"
        or text(header, "PresentationLUTShape").upper() == "INVERSE"
    )
