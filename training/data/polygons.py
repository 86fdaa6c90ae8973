"""Outlines as masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.data.pictures import INSIDE, OUTSIDE, PictureError

Ring = tuple[tuple[float, float], ...]
"""Corners (x, y) in pixels, x to the right, y down, (0, 0) the outer corner of the first pixel; closed."""

Region = tuple[Ring, ...]
"""Rings that belong together: what lies in an odd number of them is inside, so a ring in a ring is a hole."""


def fill(rings: Sequence[Ring], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels whose centre lies inside an odd number of rings.

    Drawing functions of image libraries colour the outline too, which makes every mask half a pixel wider on
    all sides and every hole narrower; this one does not.

    Parameters
    ----------
    rings : sequence of Ring
        May reach beyond the frame.
    shape : tuple of int
        (rows, columns).

    Returns
    -------
    numpy.ndarray
        bool, ``shape``.
    """
    rows, columns = shape
    toggles = np.zeros((rows, columns + 1), np.int32)
    for ring in rings:
        start = np.asarray(ring, float).reshape(-1, 2)
        end = np.roll(start, -1, axis=0)
        low, high = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
        # Row r is crossed where low <= r + 0.5 < high, so a corner counts once.
        first = np.clip(np.ceil(low - 0.5), 0, rows).astype(int)
        last = np.clip(np.ceil(high - 0.5), 0, rows).astype(int)
        edge = np.repeat(np.arange(len(start)), last - first)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(last - first) - (last - first), last - first)
        row += first[edge]
        run, rise = end[edge, 0] - start[edge, 0], end[edge, 1] - start[edge, 1]
        crossing = start[edge, 0] + (row + 0.5 - start[edge, 1]) * run / rise
        np.add.at(toggles, (row, np.clip(np.ceil(crossing - 0.5), 0, columns).astype(int)), 1)
    return np.asarray(np.cumsum(toggles, axis=1)[:, :columns] % 2 == 1)


@dataclass(frozen=True)
class PolygonMask:
    """A mask drawn from outlines.

    Parameters
    ----------
    where : str
        The file they come from.
    shape : tuple of int
        (rows, columns) of the picture that was annotated.
    regions : tuple of Region
        What lies in any of them is inside.
    runs : tuple of tuple of int
        Run lengths (COCO: outside first, column by column) that are inside as well.
    """

    where: str
    shape: tuple[int, int]
    regions: tuple[Region, ...] = field(repr=False)
    runs: tuple[tuple[int, ...], ...] = field(default=(), repr=False)

    def load(self) -> NDArray[np.uint8]:
        """Return uint8 (rows, columns), 0 and 255; see ``Picture.load``."""
        inside = np.zeros(self.shape, bool)
        for region in self.regions:
            inside |= fill(region, self.shape)
        for runs in self.runs:
            try:
                inside |= filled_runs(runs, self.shape)
            except ValueError as error:
                raise PictureError(
                    "annotation that cannot be understood", f"{self.where}: {error}"
                ) from error
        return np.where(inside, np.uint8(INSIDE), np.uint8(OUTSIDE))


def filled_runs(runs: Sequence[int], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a mask of run lengths, outside first, down the columns (COCO's uncompressed form).

    Raises
    ------
    ValueError
        If the runs do not cover exactly the frame.
    """
    values = np.arange(len(runs)) % 2 == 1
    flat = np.repeat(values, runs)
    if flat.size != shape[0] * shape[1]:
        raise ValueError(f"runs of {flat.size} pixels for a frame of {shape[1]} x {shape[0]}")
    return flat.reshape(shape[::-1]).T.copy()
