"""How two readings of the 0-6 score agree."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

SCORES = tuple(range(7))
"""Every value of the 0-6 score."""


@dataclass(frozen=True)
class ScoreAgreement:
    """Agreement of predicted scores with a reference that may hold half points.

    Parameters
    ----------
    n : int
        Films.
    mae, mse, rmse : float
        Mean absolute error, mean squared error and its root, against the reference as it is.
    r2 : float
        1 minus squared errors over the reference's squared deviations; NaN for a constant reference.
    bias : float
        Mean of predicted minus reference.
    rho, spearman : float
        Pearson's and Spearman's correlation; NaN if either side is constant.
    kappa, kappa_quadratic : float
        Cohen's kappa, unweighted and with quadratic weights, over whole scores: both sides are rounded half
        to even first (2.5 becomes 2, 3.5 becomes 4), as Fig. 9 of Danilov et al. 2022 has it.
    exact, within_one : float
        Share of films whose error is 0, and at most 1.
    """

    n: int
    mae: float
    mse: float
    rmse: float
    r2: float
    bias: float
    rho: float
    spearman: float
    kappa: float
    kappa_quadratic: float
    exact: float
    within_one: float

    def figures(self) -> dict[str, float]:
        """Return all by name."""
        return asdict(self)


def score_agreement(predicted: ArrayLike, reference: ArrayLike) -> ScoreAgreement:
    """Compare scores.

    Parameters
    ----------
    predicted, reference : array-like
        (films,), 0 to 6; the reference may hold half points.

    Returns
    -------
    ScoreAgreement

    Raises
    ------
    ValueError
        If the lengths differ, there is no film, or a value is no number.
    """
    ours, theirs = np.asarray(predicted, np.float64), np.asarray(reference, np.float64)
    if ours.shape != theirs.shape or ours.ndim != 1 or not len(ours):
        raise ValueError(f"two equally long lists of scores are needed; got {ours.shape} and {theirs.shape}")
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        raise ValueError("a score is not a number; leave such films out first")
    errors = ours - theirs
    mse = float(np.mean(errors**2))
    spread = float(np.mean((theirs - theirs.mean()) ** 2))
    return ScoreAgreement(
        n=len(ours),
        mae=float(np.mean(np.abs(errors))),
        mse=mse,
        rmse=mse**0.5,
        r2=1 - mse / spread if spread > 0 else float("nan"),
        bias=float(errors.mean()),
        rho=pearson(ours, theirs),
        spearman=spearman(ours, theirs),
        kappa=cohen_kappa(ours, theirs),
        kappa_quadratic=cohen_kappa(ours, theirs, quadratic=True),
        exact=float(np.mean(errors == 0)),
        within_one=float(np.mean(np.abs(errors) <= 1)),
    )


def pearson(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return Pearson's correlation, NaN if either side is constant or has fewer than two values."""
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return Spearman's correlation (ties share their mean rank), NaN if either side is constant."""
    ranks = [np.asarray(pd.Series(values).rank(), np.float64) for values in (first, second)]
    return pearson(ranks[0], ranks[1])


def whole_scores(values: ArrayLike) -> NDArray[np.int64]:
    """Round scores half to even: 0.5 becomes 0, 1.5 and 2.5 become 2."""
    return np.rint(np.asarray(values, np.float64)).astype(np.int64)


def cohen_kappa(first: ArrayLike, second: ArrayLike, quadratic: bool = False) -> float:
    """Return Cohen's kappa of two readings of the 0-6 score, rounded half to even.

    Parameters
    ----------
    first, second : array-like
        (films,), 0 to 6.
    quadratic : bool
        Weigh a disagreement with its square.

    Returns
    -------
    float
        At most 1; NaN if both give every film one and the same score, where kappa is not defined.
    """
    from sklearn.metrics import cohen_kappa_score  # noqa: PLC0415 - takes a second; only tables need it

    ours, theirs = whole_scores(first), whole_scores(second)
    if np.array_equal(ours, theirs) and np.ptp(ours) == 0:
        return float("nan")
    weights = "quadratic" if quadratic else None
    return float(cohen_kappa_score(ours, theirs, labels=SCORES, weights=weights))
