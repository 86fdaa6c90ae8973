"""Errors of Brixia scores per region, of their mean and of the global score (Signoroni et al. 2021, Table 5).

ME is the mean of prediction minus reference: positive means too high. (The paper's Table 9 has it the other
way round, as its own public readings show.) SD is the standard deviation of the absolute error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.judging.bootstrap import REPEATS, multiplicities, percentile_ends
from training.judging.brixia.score import REGIONS

FIGURES = ("ME", "MAE", "SD", "CC")
COLUMNS = (*REGIONS, "mean", "global")
LEAST_SPREAD = 1e-12
REGION_TOLERANCE, GLOBAL_TOLERANCE = 0.5, 2.0
"""Errors that radiologists call acceptable, of a region and of the global score (their section 7)."""


@dataclass(frozen=True)
class BrixiaErrors:
    """Figures with their 95 % bootstrap intervals over patient groups.

    Parameters
    ----------
    n : int
        Films.
    values : pandas.DataFrame
        Rows ``FIGURES``, columns ``COLUMNS``; ``mean`` is the mean of the six regions' figures.
    low, high : pandas.DataFrame
        Ends of the intervals, alike; NaN where there are fewer than two patient groups.
    """

    n: int
    values: pd.DataFrame
    low: pd.DataFrame
    high: pd.DataFrame

    def shown(self, figure: str, column: str) -> str:
        """Return one figure with its interval as text: ``0.459 (0.401 to 0.512)``."""
        value, low, high = (float(part[column][figure]) for part in (self.values, self.low, self.high))
        return f"{value:.3f}" if np.isnan(low) else f"{value:.3f} ({low:.3f} to {high:.3f})"


def brixia_errors(
    predicted: NDArray[np.float64],
    reference: NDArray[np.float64],
    groups: Sequence[str],
    repeats: int = REPEATS,
) -> BrixiaErrors:
    """Compare readings.

    Parameters
    ----------
    predicted, reference : numpy.ndarray
        float64, (films, 6), regions A to F; any scale (0-3, or 0/1 for the T score); no NaN.
    groups : sequence of str
        Patient group of each film.
    repeats : int
        Bootstrap draws.

    Returns
    -------
    BrixiaErrors

    Raises
    ------
    ValueError
        If the shapes differ, there is no film, or a score is no number.
    """
    if predicted.shape != reference.shape or predicted.ndim != 2 or not len(predicted):
        raise ValueError(
            f"two equally long tables of six regions are needed; got {predicted.shape}, {reference.shape}"
        )
    if not (np.isfinite(predicted).all() and np.isfinite(reference).all()):
        raise ValueError("a score is not a number; leave such films out first")
    values = error_figures(predicted, reference)
    low, high = _ends(lambda times: _all_figures(times, predicted, reference), groups, values.shape, repeats)
    return BrixiaErrors(len(predicted), *(_frame(part) for part in (values, low, high)))


def error_figures(predicted: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ME, MAE, SD and CC (rows) of the six regions, their mean and the global score (columns): (4, 8).

    CC is Pearson's correlation, NaN for a constant side (and then for the mean of the regions too).
    """
    once = np.ones((1, len(predicted)))
    return np.asarray(_all_figures(once, predicted, reference)[0], np.float64)


def acceptable_errors(
    predicted: NDArray[np.float64], reference: NDArray[np.float64], groups: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the shares within the acceptable errors, and the ends of their 95 % intervals.

    Parameters
    ----------
    predicted, reference : numpy.ndarray
        float64, (films, 6).
    groups : sequence of str
        Patient group of each film.

    Returns
    -------
    shares : numpy.ndarray
        float64, (3,): of regions within 0.5 (for whole scores: the same score), of films whose regions are
        wrong by at most 0.5 on average, of films whose global score is wrong by at most 2.
    ends : numpy.ndarray
        float64, (2, 3).
    """
    sizes = np.abs(predicted - reference)
    total = np.abs(predicted.sum(axis=1) - reference.sum(axis=1))
    within = np.column_stack(
        [
            np.mean(sizes <= REGION_TOLERANCE, axis=1),
            sizes.mean(axis=1) <= REGION_TOLERANCE,
            total <= GLOBAL_TOLERANCE,
        ]
    )
    return within.mean(axis=0), _ends(lambda times: _means(times, within), groups, (3,), REPEATS)


def mean_interval(values: NDArray[np.float64], groups: Sequence[str]) -> tuple[float, float, float]:
    """Return the mean of films' values, float64 (films,), and the ends of its 95 % interval over patients."""
    low, high = _ends(lambda times: _means(times, values), groups, (), REPEATS)
    return float(values.mean()), float(low), float(high)


def confusion(predicted: NDArray[np.float64], reference: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    """Count by reference (rows) and prediction (columns): int64, (size, size)."""
    counts = np.zeros((size, size), np.int64)
    np.add.at(counts, (reference.astype(int).ravel(), predicted.astype(int).ravel()), 1)
    return counts


def row_normalised(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each row as shares of its sum; an empty row is NaN."""
    sums = counts.sum(axis=1, keepdims=True).astype(np.float64)
    shares = np.full(counts.shape, np.nan)
    np.divide(counts, sums, out=shares, where=sums > 0)
    return shares


def _ends(
    statistics: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    groups: Sequence[str],
    shape: tuple[int, ...],
    repeats: int,
) -> NDArray[np.float64]:
    # All draws at once, as weights of films: a loop over draws would take a hundred times as long.
    if len(set(groups)) < 2:
        return np.full((2, *shape), np.nan)
    return percentile_ends(statistics(multiplicities(groups, repeats).astype(np.float64)))


def _means(times: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    # (draws, films) and (films, ...) to (draws, ...)
    sums = times @ values
    return np.asarray(sums / times.sum(axis=1).reshape(-1, *[1] * (sums.ndim - 1)), np.float64)


def _all_figures(
    times: NDArray[np.float64], predicted: NDArray[np.float64], reference: NDArray[np.float64]
) -> NDArray[np.float64]:
    regions = _figures(times, predicted, reference)
    total = _figures(times, predicted.sum(axis=1, keepdims=True), reference.sum(axis=1, keepdims=True))
    return np.concatenate([regions, regions.mean(axis=2, keepdims=True), total], axis=2)


def _figures(
    times: NDArray[np.float64], predicted: NDArray[np.float64], reference: NDArray[np.float64]
) -> NDArray[np.float64]:
    sizes = np.abs(predicted - reference)
    mae = _means(times, sizes)
    sd = np.sqrt(np.maximum(_means(times, sizes**2) - mae**2, 0))
    first, second = predicted - predicted.mean(axis=0), reference - reference.mean(axis=0)
    means = _means(times, first), _means(times, second)
    spreads = _means(times, first**2) - means[0] ** 2, _means(times, second**2) - means[1] ** 2
    together = _means(times, first * second) - means[0] * means[1]
    # Where all drawn films have one score, the spread is rounding noise.
    varies = np.minimum(*spreads) > LEAST_SPREAD
    correlation = np.full(together.shape, np.nan)
    np.divide(together, np.sqrt(np.maximum(spreads[0] * spreads[1], 0)), out=correlation, where=varies)
    return np.stack([_means(times, predicted - reference), mae, sd, correlation], axis=1)


def _frame(figures: NDArray[np.float64]) -> pd.DataFrame:
    return pd.DataFrame(figures, index=list(FIGURES), columns=list(COLUMNS))
