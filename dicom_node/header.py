"""Reading attributes of data sets as hospitals send them: absent, empty, doubled or malformed."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue

UNREADABLE = (
    AttributeError, BytesLengthException, EOFError, InvalidDicomError, LookupError, NotImplementedError,
    OverflowError, OSError, RecursionError, TypeError, ValueError, struct.error,
)  # fmt: skip
"""What pydicom raises on values and files that are damaged, cut off or not DICOM at all."""


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the values of an attribute as stripped text; empty where absent or unreadable."""
    try:
        value = dataset.get(keyword)
        if value is None:
            return ()
        values = value if isinstance(value, MultiValue | list | tuple) else [value]
        return tuple(str(one).strip(" \0") for one in values)
    except UNREADABLE:
        return ()


def text(dataset: Dataset, keyword: str) -> str:
    """Return the first value of an attribute as stripped text; ``""`` where absent or unreadable."""
    return next(iter(texts(dataset, keyword)), "")


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Return the values of an attribute as floats; empty where absent or not all of them numbers."""
    try:
        return tuple(float(value) for value in texts(dataset, keyword))
    except ValueError:
        return ()


def number(dataset: Dataset, keyword: str) -> float | None:
    """Return the first value of an attribute as a float, or None."""
    return next(iter(numbers(dataset, keyword)), None)


def integer(dataset: Dataset, keyword: str, default: int) -> int:
    """Return the first value of an attribute as an int, or the default."""
    value = number(dataset, keyword)
    return default if value is None else int(value)


def items(dataset: Dataset, keyword: str) -> Iterator[Dataset]:
    """Yield the items of a sequence; none where it is absent or not a sequence."""
    try:
        value = dataset.get(keyword)
    except UNREADABLE:
        return
    if value is not None and not isinstance(value, str | bytes):
        yield from (item for item in value if isinstance(item, Dataset))
