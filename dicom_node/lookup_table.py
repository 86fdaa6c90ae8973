"""Look-up tables as images bring them (PS3.3 C.11.1 and C.11.2), checked before they are used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.header import LARGEST_NUMBER, items, numbers, value

_Table = NDArray[np.float64]
_LONGEST_LUT_BYTES = 1 << 18


@dataclass(frozen=True)
class LookupTable:
    """One item of a Modality or VOI LUT Sequence (PS3.3 C.11.1.1, C.11.2.1.1), checked.

    Parameters
    ----------
    first : int
        Input mapped to the first entry; may be a negative number read as unsigned.
    entries : numpy.ndarray
        float64, shape (n,).
    bits : int
        What the descriptor says of the entries' depth.
    """

    first: int
    entries: _Table
    bits: int

    @property
    def full_scale(self) -> float:
        """The output that means white; some devices announce 16 bits and deliver 12."""
        announced, most = (1 << self.bits) - 1, float(self.entries.max())
        return max(announced if most > (1 << self.bits) / 2 else most, most)

    def apply(self, values: _Table) -> _Table:
        """Return the entry of each value, those outside clamped to the ends."""
        # First value mapped may be negative but written unsigned (PS3.3 C.11.1.1.1).
        first = self.first - (1 << 16) if self.first > 0x7FFF and values.min() < 0 else self.first
        return self.entries[np.clip(values - first, 0, self.entries.size - 1).astype(np.int64)]


def lookup_table(item: Dataset, header: Dataset) -> LookupTable | None:
    """Return a LUT item's content; None where descriptor and data do not fit together."""
    descriptor = numbers(item, "LUTDescriptor")
    element = value(item, "LUTData", _LONGEST_LUT_BYTES)
    if len(descriptor) != 3 or element is None or not 1 <= descriptor[2] <= 16:
        return None
    count = int(descriptor[0]) or 1 << 16
    if not 1 <= count <= 1 << 16:
        return None
    data = _lut_data(element, count, little_endian=header.original_encoding[1] is not False)
    if data is None or data.size < count:
        return None
    return LookupTable(int(descriptor[1]), data[:count], int(descriptor[2]))


def modality_lut(header: Dataset) -> LookupTable | None:
    """Return the first usable Modality LUT."""
    tables = (lookup_table(item, header) for item in items(header, "ModalityLUTSequence"))
    return next((table for table in tables if table is not None), None)


def voi_lut(header: Dataset) -> LookupTable | None:
    """Return the first VOI LUT that tells values apart."""
    tables = (lookup_table(item, header) for item in items(header, "VOILUTSequence"))
    return next((one for one in tables if one is not None and one.entries.max() > one.entries.min()), None)


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
