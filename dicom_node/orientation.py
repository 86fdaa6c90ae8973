r"""How a stored radiograph has to be turned so that it hangs as radiologists hang it.

Standard display of a frontal chest: patient's right at image left, head up, that is
``PatientOrientation`` L\F (PS3.3 C.7.6.1.1.1: the first value names where the rows point, the
second where the columns point).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_OPPOSITE = {"L": "R", "R": "L", "F": "H", "H": "F", "A": "P", "P": "A"}
_SIDEWAYS, _VERTICAL = frozenset("LR"), frozenset("FH")


@dataclass(frozen=True)
class Orientation:
    """The turn from the stored image to the standard display: first transpose, then flip.

    Parameters
    ----------
    transposed : bool
        Rows and columns change places.
    rows_flipped, columns_flipped : bool
        The order of rows (up and down) or columns (left and right) is reversed, after transposing.
    """

    transposed: bool = False
    rows_flipped: bool = False
    columns_flipped: bool = False

    def to_display(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Turn an image, shape (rows, columns), from stored into display geometry.

        Returns a contiguous array of the same dtype; its shape is swapped where ``transposed``.
        """
        return np.ascontiguousarray(self._flip(stored.T if self.transposed else stored))

    def to_stored(self, shown: NDArray[Any]) -> NDArray[Any]:
        """Turn an image, shape (rows, columns), from display back into stored geometry."""
        flipped = self._flip(shown)
        return np.ascontiguousarray(flipped.T if self.transposed else flipped)

    def points_to_stored(
        self, points: NDArray[np.float64], display_shape: tuple[int, int]
    ) -> NDArray[np.float64]:
        """Carry points from the display back to the stored image.

        Parameters
        ----------
        points : numpy.ndarray
            float64, shape (n, 2), order (column, row), in pixels, with the origin at the outer
            corner of the first pixel, whose centre is (0.5, 0.5) (PS3.3 C.18.6.1.2).
        display_shape : tuple of int
            (rows, columns) of the displayed image.

        Returns
        -------
        numpy.ndarray
            float64, shape (n, 2), the same convention in the stored image.
        """
        rows, columns = display_shape
        stored = points.astype(np.float64)
        if self.columns_flipped:
            stored[:, 0] = columns - stored[:, 0]
        if self.rows_flipped:
            stored[:, 1] = rows - stored[:, 1]
        return stored[:, ::-1].copy() if self.transposed else stored

    def _flip(self, image: NDArray[Any]) -> NDArray[Any]:
        if self.rows_flipped:
            image = image[::-1]
        return image[:, ::-1] if self.columns_flipped else image


STANDARD = Orientation()
"""Stored as displayed."""


def principal_directions(patient_orientation: Sequence[str]) -> tuple[str, str] | None:
    r"""Return the main direction of rows and of columns, or None where they are not stated.

    Parameters
    ----------
    patient_orientation : Sequence of str
        The two values of ``PatientOrientation``; oblique ones such as ``LH`` count by their first
        letter.

    Returns
    -------
    tuple of str or None
        Two letters of L, R, A, P, H, F that lie on different axes; None for anything else.
    """
    if len(patient_orientation) != 2 or not all(patient_orientation):
        return None
    row, column = (value.strip().upper()[:1] for value in patient_orientation)
    if row not in _OPPOSITE or column not in _OPPOSITE or column in (row, _OPPOSITE[row]):
        return None
    return row, column


def frontal_orientation(directions: tuple[str, str] | None) -> Orientation | None:
    """Return the turn to the standard display, or None if the directions are not those of a frontal view."""
    if directions is None:
        return None
    row, column = directions
    if row in _SIDEWAYS and column in _VERTICAL:
        return Orientation(rows_flipped=column == "H", columns_flipped=row == "R")
    if row in _VERTICAL and column in _SIDEWAYS:
        return Orientation(transposed=True, rows_flipped=row == "H", columns_flipped=column == "R")
    return None
