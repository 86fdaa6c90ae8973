"""From the class distributions of the regions to scores (Signoroni et al. 2021, sections 4 and 5)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.bsnet.spec import Decision


def scores(probabilities: NDArray[np.float32], decision: Decision) -> NDArray[np.int64]:
    """Decide the score of each region.

    Parameters
    ----------
    probabilities : numpy.ndarray
        float32, (..., classes), in [0, 1], summing to 1.
    decision : Decision
        ``argmax``: the most probable class, the lower of two. ``median``: the lowest class at which the
        cumulated probability reaches one half.

    Returns
    -------
    numpy.ndarray
        int64, (...), from 0.
    """
    if decision is Decision.ARGMAX:
        return np.asarray(probabilities.argmax(axis=-1), np.int64)
    reached = np.cumsum(probabilities, axis=-1, dtype=np.float64) >= 0.5
    reached[..., -1] = True
    return np.asarray(reached.argmax(axis=-1), np.int64)


def confidence(probabilities: NDArray[np.float32], decided: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the probability of the score that is reported for each region.

    With ``argmax`` it is the largest (the paper's Fig. 4); the median's may be another class.

    Parameters
    ----------
    probabilities : numpy.ndarray
        float32, (..., classes).
    decided : numpy.ndarray
        int64, (...): from ``scores``.

    Returns
    -------
    numpy.ndarray
        float32, (...), in [0, 1].
    """
    chosen = np.take_along_axis(probabilities, decided[..., None], axis=-1)[..., 0]
    return np.asarray(chosen, np.float32)


def in_zone_order(by_region: NDArray[np.generic]) -> list[float]:
    """Return one number per region, laid out (3, 2), in the order of ``models.result.ZONE_ORDER``.

    Parameters
    ----------
    by_region : numpy.ndarray
        Shape (3, 2): rows upper, middle, lower; columns image left (the patient's right), image right.

    Returns
    -------
    list of float
        Regions A, B, C, D, E, F.
    """
    return [float(value) for value in by_region.T.ravel()]
