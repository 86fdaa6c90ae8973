"""Readers among themselves: consensus, every pair, kappa (Signoroni et al. 2021, Table 6, Fig. 9)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.judging.brixia.errors import error_figures
from training.judging.brixia.score import CLASSES
from training.judging.metrics import cohen_kappa

Scores = NDArray[np.float64]


def consensus(readings: Scores) -> Scores:
    """Return the score most readers gave each region; of equally frequent ones, the most senior reader's.

    Parameters
    ----------
    readings : numpy.ndarray
        float64, (readers, films, 6), 0 to 3, the most senior reader first; NaN where a reader gave none.

    Returns
    -------
    numpy.ndarray
        float64, (films, 6); NaN where nobody read. With ties, the choice is among the most frequent scores
        alone: that of the most senior reader who gave one of them (their section 4.3).
    """
    votes = np.stack([(readings == score).sum(axis=0) for score in range(CLASSES)], axis=-1)
    most = votes == votes.max(axis=-1, keepdims=True)
    chosen = np.full(readings.shape[1:], np.nan)
    for reading in readings[::-1]:
        read = ~np.isnan(reading)
        index = np.where(read, reading, 0).astype(np.int64)
        among = np.take_along_axis(most, index[..., None], axis=-1)[..., 0]
        chosen = np.where(read & among, reading, chosen)
    return chosen


def fleiss_kappa(readings: Scores) -> float:
    """Return Fleiss' kappa of the regions that every reader scored.

    Parameters
    ----------
    readings : numpy.ndarray
        float64, (readers, films, 6), 0 to 3; NaN where a reader gave none.

    Returns
    -------
    float
        NaN with fewer than two readers, no common region, or one single score throughout.
    """
    count = len(readings)
    cells = readings.reshape(count, -1)
    cells = cells[:, ~np.isnan(cells).any(axis=0)]
    if count < 2 or cells.shape[1] == 0:
        return float("nan")
    votes = np.stack([(cells == score).sum(axis=0) for score in range(CLASSES)], axis=-1).astype(np.float64)
    observed = float(np.mean(((votes**2).sum(axis=1) - count) / (count * (count - 1))))
    expected = float(((votes.sum(axis=0) / votes.sum()) ** 2).sum())
    return float("nan") if expected == 1 else (observed - expected) / (1 - expected)


def pairwise(raters: Mapping[str, Scores]) -> pd.DataFrame:
    """Compare every pair of raters on the films both read.

    Parameters
    ----------
    raters : mapping of str to numpy.ndarray
        float64, (films, 6), 0 to 3, NaN where a rater gave none; the model may be one of them.

    Returns
    -------
    pandas.DataFrame
        A row a pair: ``rater``, ``against``, ``n``; ``region MAE``, ``region SD``, ``global MAE``,
        ``global SD``; ``κ`` and ``κ quadratic`` over all regions. Pairs without a common film are left out.
    """
    rows = []
    for first, second in combinations(raters, 2):
        ours, theirs = both_read(raters[first], raters[second])
        if not len(ours):
            continue
        _, mae, sd, _ = error_figures(ours, theirs)
        rows.append(
            {
                "rater": first,
                "against": second,
                "n": len(ours),
                "region MAE": mae[-2],
                "region SD": sd[-2],
                "global MAE": mae[-1],
                "global SD": sd[-1],
                "κ": cohen_kappa(ours.ravel(), theirs.ravel()),
                "κ quadratic": cohen_kappa(ours.ravel(), theirs.ravel(), quadratic=True),
            }
        )
    return pd.DataFrame(rows)


def both_read(first: Scores, second: Scores) -> tuple[Scores, Scores]:
    """Keep the films of which both have all six regions."""
    kept = ~(np.isnan(first) | np.isnan(second)).any(axis=1)
    return first[kept], second[kept]
