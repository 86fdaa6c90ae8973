"""The Brixia score and the scales beside it (Signoroni et al. 2021, Fig. 1 and section 3.3).

Regions: A, B, C are the upper, middle and lower region of the patient's right lung (image left), D, E, F
those of the left lung: the order of ``models.result.ZONE_ORDER``. Each is scored 0 to 3; the global score is
their sum, 0 to 18.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

REGIONS = "ABCDEF"
CLASSES = 4
GLOBAL_MAX = 18

CLASS_NAMES = ("none", "interstitial", "interstitial over alveolar", "alveolar over interstitial")
CLASS_COLOURS = ("#96d940", "#e59b00", "#cb2b00", "#000000")
"""Green, orange, red, black for the scores 0 to 3 (their Fig. 1)."""

EXTENT_BOUNDS = (0.25, 0.5, 0.75)
"""Geographic extent of a lung (GE): 1 up to the first share of its area, 4 from the last."""
EXTENT_MAX, OPACITY_MAX = 8, 6
"""Of GE and of LO for both lungs."""
OPACITY_GRADES = ("none", "ground glass", "consolidation", "white-out")
"""Lung opacity of a lung (LO), 0 to 3."""


def grid(regions: ArrayLike) -> NDArray[np.float64]:
    """Put six regions A to F into the network's layout.

    Parameters
    ----------
    regions : array-like
        (..., 6).

    Returns
    -------
    numpy.ndarray
        float64, (..., 3, 2): rows upper, middle, lower; columns image-left (A B C), image-right (D E F).
    """
    values = np.asarray(regions, np.float64)
    return np.swapaxes(values.reshape(*values.shape[:-1], 2, 3), -1, -2)


def from_grid(layout: ArrayLike) -> NDArray[np.float64]:
    """Undo ``grid``: (..., 3, 2) to (..., 6), regions A to F."""
    values = np.swapaxes(np.asarray(layout, np.float64), -1, -2)
    return values.reshape(*values.shape[:-2], len(REGIONS))


def region_probabilities(layout: ArrayLike) -> NDArray[np.float64]:
    """Turn the network's answers (..., 3, 2, 4) into (..., 6, 4), regions A to F."""
    values = np.swapaxes(np.asarray(layout, np.float64), -2, -3)
    return values.reshape(*values.shape[:-3], len(REGIONS), CLASSES)


def parse_regions(text: str) -> NDArray[np.int64]:
    """Read a score as the Brixia tables write it, six digits for A to F; leading zeros are part of it.

    Raises
    ------
    ValueError
        If it is not six digits from 0 to 3.
    """
    digits = text.strip()
    if len(digits) != len(REGIONS) or not set(digits) <= set("0123"):
        raise ValueError(
            f"{text!r} is no Brixia score of six digits from 0 to 3; read the column as text, since a "
            "leading zero is lost as a number"
        )
    return np.array([int(digit) for digit in digits], np.int64)


def t_scores(regions: ArrayLike) -> NDArray[np.float64]:
    """Return the T score of each region: 1 where the Brixia score is at least 1, else 0; NaN stays NaN.

    Parameters
    ----------
    regions : array-like
        (..., 6), 0 to 3. The film's T score, 0 to 6, is the sum (Signoroni et al. 2021, Table 7).
    """
    values = np.asarray(regions, np.float64)
    return np.where(np.isnan(values), np.nan, values >= 1)


def geographic_extent(shares: Iterable[float]) -> int:
    """Return GE of a film from the involved share of each lung: 0 to 4 a lung, 0 to 8 in all.

    Parameters
    ----------
    shares : iterable of float
        Involved share of each lung's area, in [0, 1]: 0 is 0, up to a quarter 1, up to a half 2, below three
        quarters 3, from there 4.
    """
    return sum(_extent(share) for share in shares)


def _extent(share: float) -> int:
    if not 0 <= share <= 1:
        raise ValueError(f"a share of a lung lies in [0, 1]; got {share}")
    first, second, third = EXTENT_BOUNDS
    return int(share > 0) + int(share > first) + int(share > second) + int(share >= third)


def lung_opacity(grades: Iterable[str]) -> int:
    """Return LO of a film from the grade of each lung, one of ``OPACITY_GRADES``: 0 to 6 for two lungs.

    Raises
    ------
    ValueError
        If a grade is none of them.
    """
    return sum(OPACITY_GRADES.index(grade) for grade in grades)
