"""From the global Brixia score to Cohen's LO and GE by a line (Signoroni et al. 2021, Table 8).

LO (lung opacity, 0 to 6) and GE (geographic extent, 0 to 8) are those of Cohen et al. 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.judging.bootstrap import resamples
from training.judging.metrics import pearson

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """A line from one scale to another.

    Parameters
    ----------
    slope, intercept : float
        ``slope * value + intercept``.
    low, high : float
        Where the target scale ends; answers are cut there.
    """

    slope: float
    intercept: float
    low: float
    high: float

    def apply(self, values: Values) -> Values:
        """Return the target scale's values, same shape, in [low, high]."""
        return np.clip(self.slope * np.asarray(values, np.float64) + self.intercept, self.low, self.high)


PUBLISHED_LO = Line(0.31, 0.09, 0.0, 6.0)
"""From BS-Net's global score to LO, as printed for Cohen's subset (Table 8)."""

LINES = 500
"""Bootstrap draws of lines."""
FIGURES = ("correlation", "R²", "MAE", "MSE")


def fit_line(values: Values, target: Values, low: float, high: float) -> Line:
    """Fit a line by least squares.

    Parameters
    ----------
    values, target : numpy.ndarray
        float64, (films,).
    low, high : float
        Ends of the target scale.

    Raises
    ------
    ValueError
        If the values do not differ.
    """
    if len(values) < 2 or np.ptp(values) == 0:
        raise ValueError("a line needs two films with different scores")
    spread = values - values.mean()
    slope = float((spread * (target - target.mean())).sum() / (spread**2).sum())
    return Line(slope, float(target.mean() - slope * values.mean()), low, high)


def line_figures(line: Line, values: Values, target: Values) -> dict[str, float]:
    """Measure a line's answers: ``FIGURES``; R² is 1 minus squared errors over the target's deviations."""
    answers = line.apply(values)
    squares = (answers - target) ** 2
    spread = float(((target - target.mean()) ** 2).mean())
    return {
        "correlation": pearson(answers, target),
        "R²": 1 - float(squares.mean()) / spread if spread > 0 else float("nan"),
        "MAE": float(np.abs(answers - target).mean()),
        "MSE": float(squares.mean()),
    }


def bootstrap_line(
    values: Values, target: Values, groups: Sequence[str], scale: tuple[float, float], repeats: int = LINES
) -> dict[str, tuple[float, float]]:
    """Fit lines to resampled patients and measure each on the patients that it did not see.

    Parameters
    ----------
    values, target : numpy.ndarray
        float64, (films,): the global Brixia score, and LO or GE.
    groups : sequence of str
        Patient group of each film.
    scale : tuple of float
        Ends of the target scale.
    repeats : int
        Bootstrap draws.

    Returns
    -------
    dict of str to (float, float)
        Mean and standard deviation over the draws of ``FIGURES``, ``slope`` and ``intercept``; draws that
        leave no line or fewer than two films to measure are left out.
    """
    found: dict[str, list[float]] = {name: [] for name in (*FIGURES, "slope", "intercept")}
    for drawn in resamples(groups, repeats):
        left = np.setdiff1d(np.arange(len(values)), drawn)
        if len(left) < 2 or np.ptp(values[drawn]) == 0:
            continue
        line = fit_line(values[drawn], target[drawn], *scale)
        figures = line_figures(line, values[left], target[left])
        for name, value in (*figures.items(), ("slope", line.slope), ("intercept", line.intercept)):
            found[name].append(value)
    return {name: _mean_sd(np.array(numbers)) for name, numbers in found.items()}


def _mean_sd(numbers: Values) -> tuple[float, float]:
    known = numbers[~np.isnan(numbers)]
    return (float(known.mean()), float(known.std())) if len(known) else (float("nan"), float("nan"))
