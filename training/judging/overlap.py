"""How two masks, or two lists of yes and no, agree: counts, and the ratios made of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray


class EmptyPolicy(StrEnum):
    """What a ratio is worth where its denominator is 0: the Dice of two empty masks, say.

    ``SKIP`` gives NaN, so that the image leaves the mean; ``ONE`` and ``ZERO`` give that number. The
    published training code counts 1; this package leaves such images out unless told otherwise.
    """

    SKIP = "skip"
    ONE = "one"
    ZERO = "zero"

    @property
    def value_if_empty(self) -> float:
        """The ratio's value: NaN, 1 or 0."""
        return {"skip": float("nan"), "one": 1.0, "zero": 0.0}[self.value]


@dataclass(frozen=True)
class Overlap:
    """Counts of agreement; add them up for pooled (micro) figures.

    Parameters
    ----------
    tp, fp, fn, tn : int
        Pixels (or films) that both call positive, only the prediction, only the reference, neither.
    """

    tp: int
    fp: int
    fn: int
    tn: int

    @classmethod
    def of(cls, predicted: NDArray[np.bool_], reference: NDArray[np.bool_]) -> Self:
        """Count the agreement of two bool arrays of one shape.

        Raises
        ------
        ValueError
            If the shapes differ.
        """
        if predicted.shape != reference.shape:
            raise ValueError(f"masks of one shape are needed; got {predicted.shape} and {reference.shape}")
        both = int(np.count_nonzero(predicted & reference))
        fp = int(np.count_nonzero(predicted)) - both
        fn = int(np.count_nonzero(reference)) - both
        return cls(both, fp, fn, predicted.size - both - fp - fn)

    @classmethod
    def pooled(cls, parts: Iterable[Overlap]) -> Self:
        """Return the sum of counts, 0 of each for no parts."""
        counted = list(parts)
        tp, fp, fn = (sum(getattr(part, name) for part in counted) for name in ("tp", "fp", "fn"))
        return cls(tp, fp, fn, sum(part.tn for part in counted))

    @property
    def reference_is_empty(self) -> bool:
        """True if the reference has no positive at all."""
        return self.tp + self.fn == 0

    def dice(self, empty: EmptyPolicy = EmptyPolicy.SKIP) -> float:
        """Return 2 TP / (2 TP + FP + FN), which is also the F1 of a class."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn, empty)

    def iou(self, empty: EmptyPolicy = EmptyPolicy.SKIP) -> float:
        """Return TP / (TP + FP + FN), the Jaccard index."""
        return _ratio(self.tp, self.tp + self.fp + self.fn, empty)

    def accuracy(self, empty: EmptyPolicy = EmptyPolicy.SKIP) -> float:
        """Return (TP + TN) / all."""
        return _ratio(self.tp + self.tn, self.tp + self.fp + self.fn + self.tn, empty)

    def precision(self, empty: EmptyPolicy = EmptyPolicy.SKIP) -> float:
        """Return TP / (TP + FP)."""
        return _ratio(self.tp, self.tp + self.fp, empty)

    def recall(self, empty: EmptyPolicy = EmptyPolicy.SKIP) -> float:
        """Return TP / (TP + FN), the sensitivity."""
        return _ratio(self.tp, self.tp + self.fn, empty)

    def specificity(self, empty: EmptyPolicy = EmptyPolicy.SKIP) -> float:
        """Return TN / (TN + FP)."""
        return _ratio(self.tn, self.tn + self.fp, empty)

    def figures(self, empty: EmptyPolicy = EmptyPolicy.SKIP) -> dict[str, float]:
        """Return all six by name, in the order of the papers' tables."""
        return {
            "dice": self.dice(empty),
            "iou": self.iou(empty),
            "accuracy": self.accuracy(empty),
            "precision": self.precision(empty),
            "recall": self.recall(empty),
            "specificity": self.specificity(empty),
        }


def _ratio(part: int, whole: int, empty: EmptyPolicy) -> float:
    return part / whole if whole else empty.value_if_empty
