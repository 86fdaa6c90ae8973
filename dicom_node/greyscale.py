"""From stored values to grey as it is meant to be seen: one table for the whole chain.

Every step of the greyscale pipeline (PS3.4 N.2) is a function of the stored value alone, so the
chain is worked out once for the 2**16 possible values and then applied by one look-up a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.header import integer, items, number, text
from dicom_node.lookup_table import modality_lut, voi_lut

_Table = NDArray[np.float64]

ROBUST_SHARE = 0.005
"""Share of pixels below and above the window chosen where the image brings none."""
LEAST_SHOWN_SHARE = 0.05
"""A stored window or VOI LUT that leaves fewer pixels between black and white is set aside."""
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
    chosen_range : tuple of float, optional
        Where the image brings no usable window: the values after the modality LUT at which black and white
        were set.
    inverted : bool
        Larger values after the modality LUT are darker.
    """

    grey: NDArray[np.float32]
    warnings: tuple[str, ...] = ()
    chosen_range: tuple[float, float] | None = None
    inverted: bool = False


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
    ends: tuple[int, int] | None
    if text(header, "PresentationIntentType").upper() == "FOR PROCESSING":
        attenuation = _attenuation(header, values, counts)
        inverted = attenuation is not values
        shown, ends = _robust_window(attenuation, counts)
    else:
        shown, ends = _value_of_interest(header, values, counts, warnings)
        inverted = _is_inverted(header)
        if inverted:
            shown = 1 - shown
    shown[padding] = 0
    low, high = sorted(float(values[end]) for end in ends) if ends else (0.0, 0.0)
    return GreyTable(shown.astype(np.float32), tuple(warnings), (low, high) if ends else None, inverted)


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
    table = modality_lut(header)
    if table is not None:
        return table.apply(stored)
    if any(True for _ in items(header, "ModalityLUTSequence")):
        warnings.append("the modality LUT is damaged and was set aside")
    slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept")
    if slope == 0:
        warnings.append("Rescale Slope is not usable and was set aside")
        return stored
    return stored * (1.0 if slope is None else slope) + (intercept or 0.0)


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
) -> tuple[_Table, tuple[int, int] | None]:
    """Return the grey of every raw value, and the raw values at both ends of a range of our own choice."""
    shown = _stored_window(header, values)
    if shown is not None:
        visible = counts[(shown > 0.02) & (shown < 0.98)].sum()
        if visible >= LEAST_SHOWN_SHARE * counts.sum():
            return shown, None
        warnings.append("the window stored with the image shows next to nothing and was replaced")
    if counts.size == 256 and shown is None:
        ends = int(values.argmin()), int(values.argmax())
        return _between(values, ends), ends
    return _robust_window(values, counts)


def _stored_window(header: Dataset, values: _Table) -> _Table | None:
    """Return the first VOI LUT, else the first window, scaled to [0, 1]; None without a usable one."""
    table = voi_lut(header)
    if table is not None:
        return np.asarray(np.clip(table.apply(values) / table.full_scale, 0, 1))
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


def _robust_window(values: _Table, counts: NDArray[np.int64]) -> tuple[_Table, tuple[int, int]]:
    """Show all values but ``ROBUST_SHARE`` of the pixels at either end; return those ends as raw values."""
    occurring = np.flatnonzero(counts)
    ordered = occurring[np.argsort(values[occurring], kind="stable")]
    reached = np.cumsum(counts[ordered]) / counts.sum()
    low, high = (ordered[np.searchsorted(reached, share)] for share in (ROBUST_SHARE, 1 - ROBUST_SHARE))
    if values[high] <= values[low]:
        low, high = ordered[0], ordered[-1]
    ends = int(low), int(high)
    return _between(values, ends), ends


def _between(values: _Table, ends: tuple[int, int]) -> _Table:
    low, high = values[ends[0]], values[ends[1]]
    return np.asarray(np.clip((values - low) / ((high - low) or 1.0), 0, 1))


def _is_inverted(header: Dataset) -> bool:
    """MONOCHROME1 and shape INVERSE say the same thing (PS3.3 C.11.6.1.2); together they invert once."""
    return (
        text(header, "PhotometricInterpretation").upper() == "MONOCHROME1"
        or text(header, "PresentationLUTShape").upper() == "INVERSE"
    )
