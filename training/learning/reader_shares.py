"""Zone shares that agree with the readers' score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

READERS_WEIGHT = 0.75
"""How far the count moves from what the shares say to what the readers say."""

LEAST_SHARE = 0.005
"""Zones with less than this stay empty."""

SHIFTS = np.round(np.arange(-2.5, 2.51, 0.05), 2)
"""Shifts that are tried, in log odds; beyond these, readers and shares speak of different films."""

COST_OF_SHIFT = 0.02
"""Zones by which the count must come nearer for a shift of 1 to pay."""


def expected_count(shares: NDArray[np.float64], threshold: float, width: float) -> NDArray[np.float64]:
    """Return the expected number of zones above a threshold, see ``models.severity.Involvement``.

    Parameters
    ----------
    shares : numpy.ndarray
        float64, (..., zones), in [0, 1].
    threshold, width : float
        In shares; width above 0.

    Returns
    -------
    numpy.ndarray
        float64, (...).
    """
    chances = 1 / (1 + np.exp(-(shares - threshold) / width))
    return np.asarray((chances * (shares > LEAST_SHARE)).sum(axis=-1))


def shares_near_readers(
    shares: NDArray[np.float32], readers: float, threshold: float, width: float
) -> NDArray[np.float32]:
    """Shift a film's zone shares until the number of involved zones is near what the readers counted.

    The networks whose shares are published tell the zones of a film apart better than they count them; the
    readers count. All zones are shifted alike, in log odds, so that their order stays.

    Parameters
    ----------
    shares : numpy.ndarray
        float32, (zones,), in [0, 1].
    readers : float
        Readers' score: number of involved zones, halves allowed.
    threshold, width : float
        See ``expected_count``.

    Returns
    -------
    numpy.ndarray
        float32, (zones,).
    """
    here = shares > LEAST_SHARE
    clipped = np.clip(shares.astype(np.float64), 0.01, 0.99)
    odds = np.log(clipped / (1 - clipped))
    shifted = np.where(here, 1 / (1 + np.exp(-(odds + SHIFTS[:, None]))), 0.0)
    counts = expected_count(shifted, threshold, width)
    unshifted = counts[len(SHIFTS) // 2]
    wanted = READERS_WEIGHT * readers + (1 - READERS_WEIGHT) * unshifted
    best = int(np.argmin(np.abs(counts - wanted) + COST_OF_SHIFT * np.abs(SHIFTS)))
    return np.asarray(shifted[best], np.float32)
