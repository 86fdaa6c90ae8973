"""Intervals by resampling patient groups, since films of one patient are not independent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

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
    if len(set(groups)) < 2:
        return float("nan"), float("nan")
    draws = np.array([statistic(films) for films in resamples(groups, repeats, seed)], np.float64)
    low, high = percentile_ends(draws)
    return float(low), float(high)


def percentile_ends(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the 2.5th and 97.5th percentile over the first axis: (repeats, ...) to (2, ...).

    NaN draws are left out; NaN where no draw gives a number.
    """
    ends = np.full((2, *draws.shape[1:]), np.nan)
    known = ~np.isnan(draws).all(axis=0)
    ends[:, known] = np.nanpercentile(draws[:, known], (2.5, 97.5), axis=0)
    return ends


def multiplicities(groups: Sequence[str], repeats: int = REPEATS, seed: int = 0) -> NDArray[np.int64]:
    """Draw as many patient groups as there are, with replacement, again and again.

    Parameters
    ----------
    groups : sequence of str
        Patient group of each film; at least one.
    repeats, seed : int
        As in ``interval``.

    Returns
    -------
    numpy.ndarray
        int64, (repeats, films): how often each film was drawn.
    """
    names, member_of = np.unique(np.asarray(groups), return_inverse=True)
    generator = np.random.default_rng(seed)
    draws = (generator.integers(0, len(names), len(names)) for _ in range(repeats))
    times = np.array([np.bincount(chosen, minlength=len(names)) for chosen in draws])
    return np.asarray(times[:, member_of], np.int64)


def resamples(groups: Sequence[str], repeats: int = REPEATS, seed: int = 0) -> Iterator[NDArray[np.intp]]:
    """Yield the films of each draw of ``multiplicities`` as indices, each as often as it was drawn."""
    films = np.arange(len(groups))
    for times in multiplicities(groups, repeats, seed):
        yield np.repeat(films, times)
