"""Intervals by resampling patient groups, since films of one patient are not independent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Statistic = Callable[[NDArray[np.intp]], float]
REPEATS = 2000


def interval(
    statistic: Statistic, groups: Sequence[str], repeats: int = REPEATS, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % percentile interval of a statistic over patients.

    Parameters
    ----------
    statistic : callable
        Takes the indices of the drawn films, returns a number (NaN draws are left out).
    groups : sequence of str
        Patient group of each film.
    repeats : int
        How many resamples to draw.
    seed : int
        Of the draws.

    Returns
    -------
    tuple of float
        Lower and upper end; NaN both if there are fewer than two groups, or no draw gives a number.
    """
    names, member_of = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        return float("nan"), float("nan")
    generator = np.random.default_rng(seed)
    films = np.arange(len(member_of))
    draws = np.empty(repeats)
    for number in range(repeats):
        chosen = generator.integers(0, len(names), len(names))
        times = np.bincount(chosen, minlength=len(names))
        draws[number] = statistic(np.repeat(films, times[member_of]))
    if np.isnan(draws).all():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(draws, (2.5, 97.5))
    return float(low), float(high)
