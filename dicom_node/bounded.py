"""Encoded bytes that a parser may read in so many steps and no more."""

from __future__ import annotations

from io import BytesIO

MAX_STEPS = 200_000
"""Reads that one data set may cost: some 60,000 elements or items; radiographs hold hundreds."""


class TooManyParts(OSError):
    """The bytes fall into more elements and items than anything that is meant to be read."""


class BoundedBytes(BytesIO):
    """A stream for pydicom that ends hostile structures.

    An empty item takes eight bytes on the wire and more than a kilobyte once parsed, so that a few
    megabytes of them would fill any memory. Each element and each item costs at least one read; they are
    counted here, where no disagreement about the structure between two parsers can arise. Reading
    everything at once, which pydicom does only to inflate without a limit, is refused.

    Parameters
    ----------
    encoded : bytes
        Encoded elements.
    steps : int
        Reads that are allowed.

    Raises
    ------
    TooManyParts
        By ``read``.
    """

    def __init__(self, encoded: bytes, steps: int = MAX_STEPS) -> None:
        super().__init__(encoded)
        self._steps_left = steps

    @property
    def steps_left(self) -> int:
        """Reads that are still allowed; negative once there were too many."""
        return self._steps_left

    @property
    def exhausted(self) -> bool:
        """Whether reading ended because there were too many parts."""
        return self._steps_left < 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read at most ``size`` bytes."""
        self._steps_left -= 1
        if self._steps_left < 0 or size is None or size < 0:
            self._steps_left = -1
            raise TooManyParts("too many elements and items")
        return super().read(size)
