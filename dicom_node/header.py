"""Reading attributes of data sets as hospitals send them: absent, empty, doubled, malformed or hostile.

No attribute is taken at its word: a value is converted only when it is short enough, and a sequence only
when it holds few enough items, since pydicom makes hundreds of bytes of each value and item.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from itertools import islice
from typing import Any

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_sequence
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from dicom_node.bounded import BoundedBytes

UNREADABLE = (
    AttributeError, BytesLengthException, EOFError, InvalidDicomError, LookupError, NotImplementedError,
    OverflowError, OSError, RecursionError, TypeError, ValueError, struct.error,
)  # fmt: skip
"""What pydicom raises on values and files that are damaged, cut off or not DICOM at all."""

MAX_VALUE_BYTES = 1 << 16
"""Longest encoded value that is read as text or numbers: what a short explicit VR can hold (PS3.5 7.1.2)."""
MAX_ITEMS = 64
"""Items of one sequence that are looked at."""
LARGEST_NUMBER = 1e12
"""A number beyond it, or one that is none (NaN), describes no radiograph."""
_SMALL_SEQUENCE_BYTES = 1 << 14
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def value(dataset: Dataset, attribute: str | int, longest: int = MAX_VALUE_BYTES) -> Any:
    """Return an attribute's value as pydicom converts it, with bounded effort.

    Parameters
    ----------
    dataset : pydicom.dataset.Dataset
        As it was read.
    attribute : str or int
        Keyword or tag.
    longest : int
        Longest encoded value that is converted, in bytes.

    Returns
    -------
    Any
        None where the attribute is absent, unreadable, too long, or a sequence against its definition.
    """
    try:
        element = dataset.get_item(attribute, keep_deferred=True)
        if element is None:
            return None
        if isinstance(element, RawDataElement) and (
            element.VR == "SQ" or len(element.value or b"") > longest
        ):
            return None
        found = dataset[attribute].value
    except UNREADABLE:
        return None
    return None if isinstance(found, Sequence) else found


def texts(dataset: Dataset, attribute: str | int) -> tuple[str, ...]:
    """Return the values of an attribute as stripped text, control characters turned into blanks.

    Empty where absent or unreadable.
    """
    found = value(dataset, attribute)
    if found is None:
        return ()
    values = found if isinstance(found, MultiValue | list | tuple) else [found]
    try:
        return tuple(_CONTROL.sub(" ", str(one)).strip() for one in values)
    except UNREADABLE:
        return ()


def text(dataset: Dataset, attribute: str | int) -> str:
    """Return the first value of an attribute as stripped text; ``""`` where absent or unreadable."""
    return next(iter(texts(dataset, attribute)), "")


def numbers(dataset: Dataset, attribute: str | int) -> tuple[float, ...]:
    """Return the values of an attribute as floats.

    Empty where absent, or where one is no number, not finite, or beyond ``LARGEST_NUMBER``.
    """
    try:
        found = tuple(float(one) for one in texts(dataset, attribute))
    except ValueError:
        return ()
    return found if all(math.isfinite(one) and abs(one) <= LARGEST_NUMBER for one in found) else ()


def number(dataset: Dataset, attribute: str | int) -> float | None:
    """Return the first value of an attribute as a float, or None."""
    return next(iter(numbers(dataset, attribute)), None)


def integer(dataset: Dataset, attribute: str | int, default: int) -> int:
    """Return the first value of an attribute as an int, or the default."""
    found = number(dataset, attribute)
    return default if found is None else int(found)


def items(dataset: Dataset, attribute: str | int) -> Iterator[Dataset]:
    """Yield the first items of a sequence, at most ``MAX_ITEMS``.

    None where it is absent, not a sequence, or falls into too many parts to be read.
    """
    try:
        element = dataset.get_item(attribute, keep_deferred=True)
        if element is None:
            return
        if isinstance(element, RawDataElement):
            _require_few_parts(element)
        found = dataset[attribute].value
    except UNREADABLE:
        return
    if isinstance(found, Sequence):
        yield from islice(found, MAX_ITEMS)


def _require_few_parts(element: RawDataElement) -> None:
    """Parse a sequence of defined length on trial: pydicom does it whole, and unbounded, on first access."""
    encoded = element.value or b""
    if len(encoded) <= _SMALL_SEQUENCE_BYTES:
        return
    read_sequence(
        BoundedBytes(encoded), element.is_implicit_VR, element.is_little_endian, len(encoded), "iso8859"
    )
