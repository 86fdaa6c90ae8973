"""T, the share of a zone above which the zone counts: scores, error curves, and the choice of T.

Danilov et al. 2022, Algorithm B3 and Table 9. A zone counts if its share is above T, never if it equals T.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from models.severity import Involvement
from training.judging.bootstrap import interval

GRID = np.arange(101) / 100
"""T from 0.00 to 1.00 in steps of 0.01."""


@dataclass(frozen=True)
class ThresholdCurve:
    """Error of the 0-6 score over T.

    Parameters
    ----------
    mae, mse, rmse, r2 : numpy.ndarray
        float64, (101,) each, along ``GRID``; r2 is NaN if the readers gave one score throughout.
    """

    mae: NDArray[np.float64]
    mse: NDArray[np.float64]
    rmse: NDArray[np.float64]
    r2: NDArray[np.float64]

    def table(self) -> pd.DataFrame:
        """Return the curve with the published files' columns: Threshold, MAE, MSE, RMSE, R2."""
        values = {"Threshold": GRID, "MAE": self.mae, "MSE": self.mse, "RMSE": self.rmse, "R2": self.r2}
        return pd.DataFrame(values)


def zone_scores(shares: ArrayLike, threshold: float, width: float = 0.0) -> NDArray[np.int64]:
    """Count the zones that are involved, by the scorer's own rule.

    Parameters
    ----------
    shares : array-like
        (films, 6), in [0, 1], zones in any order.
    threshold : float
        T, in [0, 1].
    width : float
        0 for the paper's sharp rule, share above T (Algorithm B3); else see ``models.severity.Involvement``.

    Returns
    -------
    numpy.ndarray
        int64, (films,), 0 to 6.
    """
    involved = Involvement(threshold, width).involved(np.asarray(shares, np.float64))
    return np.asarray(involved.sum(axis=1), np.int64)


def threshold_curve(shares: ArrayLike, readers: ArrayLike, width: float = 0.0) -> ThresholdCurve:
    """Score films at every T of ``GRID``.

    Parameters
    ----------
    shares : array-like
        (films, 6), in [0, 1].
    readers : array-like
        (films,): the reference score, 0 to 6, half points allowed.
    width : float
        As for ``zone_scores``.

    Returns
    -------
    ThresholdCurve

    Raises
    ------
    ValueError
        If there is no film or the shapes do not fit.
    """
    zones, wanted = np.asarray(shares, np.float64), np.asarray(readers, np.float64)
    if zones.ndim != 2 or len(zones) != len(wanted) or not len(wanted):
        raise ValueError(
            f"(films, 6) shares and as many scores are needed; got {zones.shape}, {wanted.shape}"
        )
    errors = _grid_scores(zones, width) - wanted[:, None]
    mse = (errors**2).mean(axis=0)
    spread = wanted.var()
    r2 = 1 - mse / spread if spread > 0 else np.full(len(GRID), np.nan)
    return ThresholdCurve(np.abs(errors).mean(axis=0), mse, np.sqrt(mse), r2)


def _grid_scores(shares: NDArray[np.float64], width: float) -> NDArray[np.int64]:
    if width == 0:  # all at once; a search by bootstrap does this thousands of times
        return np.asarray((shares[:, None, :] > GRID[None, :, None]).sum(axis=2), np.int64)
    return np.stack([zone_scores(shares, float(value), width) for value in GRID], axis=1)


def first_minimum(values: NDArray[np.float64]) -> float:
    """Return the smallest T of ``GRID`` with the least value, as the published search does."""
    return float(GRID[int(np.argmin(values))])


def plateau(values: NDArray[np.float64]) -> float:
    """Return the middle of the longest run of T with the least value (the lower of two middles)."""
    best = np.isclose(values, values.min(), atol=1e-9)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], best.astype(int), [0]))))
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    return float(GRID[int((starts[longest] + ends[longest] - 1) // 2)])


def threshold_interval(
    choose: Callable[[NDArray[np.intp]], float], groups: list[str], repeats: int = 200
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a chosen T over patient groups.

    Parameters
    ----------
    choose : callable
        Chooses T on the films whose indices it is given.
    groups : list of str
        Patient group of each film.
    repeats : int
        Resamples.

    Returns
    -------
    tuple of float
        Lower and upper end; NaN both for fewer than two groups.
    """
    return interval(choose, groups, repeats)


def import_legacy(value: int) -> float:
    """Turn Table 9's T, a share of a zone times 255, into a share with two decimals: 77 becomes 0.30.

    Two decimals are the grid on which the published search ran; the unrounded quotient does not give the
    published scores.

    Raises
    ------
    ValueError
        If the value is not a whole number from 0 to 255.
    """
    if isinstance(value, bool) or int(value) != value or not 0 <= value <= 255:
        raise ValueError(f"the published T are whole numbers from 0 to 255; got {value}")
    return round(int(value) / 255, 2)
