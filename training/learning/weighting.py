"""How the losses of several tasks become one: fixed weights, or dynamic loss weighting.

Danilov et al. 2022, Eq. 3 and Algorithm B1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import torch

from training.learning.config import ConfigError


class LossWeighting(Protocol):
    """Gives each task's loss its weight in the sum that is differentiated."""

    def start_epoch(self) -> None:
        """Say that the next batch is the first of an epoch."""

    def weights(self, losses: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Return the weight of each loss, at least 0.

        Parameters
        ----------
        losses : Mapping of str to torch.Tensor
            One scalar a task, unweighted, of this batch.

        Returns
        -------
        dict of str to float
            Same keys; plain numbers, so that no gradient flows through them.
        """


class DynamicWeighting:
    """Weights each task by (L / L_0)^alpha, L_0 its loss on the first batch of the epoch (Eq. 3).

    A task that has improved since the epoch began is weighted less. The losses' magnitudes are not brought
    together: every epoch begins with equal weights.

    Parameters
    ----------
    alpha : float
        0.5 in the paper; its public training script uses 0.05; 0 gives equal weights.
    epsilon : float
        Least L_0, which guards the division where the first batch has no loss.
    limit : float
        Largest weight.

    Raises
    ------
    ConfigError
        If a number is out of range.
    """

    def __init__(self, alpha: float = 0.5, epsilon: float = 1e-8, limit: float = 10.0) -> None:
        if alpha < 0 or epsilon <= 0 or limit <= 0:
            raise ConfigError(
                f"dynamic weighting with alpha {alpha}, epsilon {epsilon}, limit {limit}: "
                "alpha must be at least 0, the others above 0"
            )
        self.alpha = alpha
        self.epsilon = epsilon
        self.limit = limit
        self._first: dict[str, float] = {}

    def start_epoch(self) -> None:
        """Forget the first batch; see ``LossWeighting``."""
        self._first = {}

    def weights(self, losses: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Return the weights of this batch; see ``LossWeighting``."""
        return {task: self._weight(task, float(loss.detach())) for task, loss in losses.items()}

    def _weight(self, task: str, loss: float) -> float:
        if task not in self._first:
            self._first[task] = loss
            return 1.0
        return min(math.pow(loss / max(self._first[task], self.epsilon), self.alpha), self.limit)


class StaticWeighting:
    """Weights that never change.

    Parameters
    ----------
    weights : Mapping of str to float, optional
        One a task; a task that is not named has the weight 1.

    Raises
    ------
    ConfigError
        If a weight is negative.
    """

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        self._weights = dict(weights or {})
        negative = [task for task, weight in self._weights.items() if weight < 0]
        if negative:
            raise ConfigError(f"the weight of {', '.join(negative)} is negative; use 0 to leave a task out")

    def start_epoch(self) -> None:
        """Change nothing; see ``LossWeighting``."""

    def weights(self, losses: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Return the fixed weights of these tasks; see ``LossWeighting``."""
        return {task: self._weights.get(task, 1.0) for task in losses}
