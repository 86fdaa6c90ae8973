"""The published training code's metrics, to reproduce its tables; nothing here is used unless asked for.

Danilov et al. 2022, Table 8 and appendix D: F-score, IoU, accuracy, precision and recall are computed over
each batch as one image, with a small constant in numerator and denominator, and averaged over batches. A
batch without any positive, predicted or drawn, counts 1.0, and a small last batch counts as much as a full
one. A network that predicts nothing so reaches the share of all-normal batches: 0.462 (validation) and 0.500
(test).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.judging.overlap import Overlap

EPSILON = 1e-7


def batch_means(films: Sequence[Overlap], batch_size: int) -> dict[str, float]:
    """Average the metrics of consecutive batches, as the published code does.

    Parameters
    ----------
    films : sequence of Overlap
        Pixel counts of each film, in the loader's order (not shuffled).
    batch_size : int
        Films a batch.

    Returns
    -------
    dict of str to float
        ``dice``, ``iou``, ``accuracy``, ``precision``, ``recall``.

    Raises
    ------
    ValueError
        If there are no films or the batch size is below 1.
    """
    if not films or batch_size < 1:
        raise ValueError("batch means need films, and a batch size of at least 1")
    starts = range(0, len(films), batch_size)
    batches = [_smoothed(Overlap.pooled(films[start : start + batch_size])) for start in starts]
    return {name: float(np.mean([batch[name] for batch in batches])) for name in batches[0]}


def rounded_presence(probability: ArrayLike) -> NDArray[np.bool_]:
    """Return the published code's class decision: rounded half to even, so that exactly 0.5 is "no".

    The paper says that 0.5 is "yes" (Eq. 2), and so does this package everywhere else.
    """
    return np.asarray(np.rint(np.asarray(probability, np.float64)) >= 1)


def _smoothed(batch: Overlap) -> dict[str, float]:
    def ratio(part: int, whole: int) -> float:
        return (part + EPSILON) / (whole + EPSILON)

    return {
        "dice": ratio(2 * batch.tp, 2 * batch.tp + batch.fp + batch.fn),
        "iou": ratio(batch.tp, batch.tp + batch.fp + batch.fn),
        "accuracy": batch.accuracy(),
        "precision": ratio(batch.tp, batch.tp + batch.fp),
        "recall": ratio(batch.tp, batch.tp + batch.fn),
    }
