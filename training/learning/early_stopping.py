"""When a run that no longer improves ends (Danilov et al. 2022, section "Training")."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from training.learning.config import ConfigError


@dataclass
class EarlyStopping:
    """Counts validations since the last real improvement of a figure that should rise.

    A value counts as an improvement if it exceeds the best *accepted* value by more than ``min_delta``, so
    that many small steps add up to one. Only an improvement resets the count.

    Parameters
    ----------
    patience : int
        The run ends after this many validations in a row without an improvement; at least 1. Training in
        the paper: 10; tuning: 6.
    min_delta : float
        Least improvement, in units of the figure, at least 0; 0.01 in the paper.
    best : float or None
        The best accepted value; None before the first one.
    waited : int
        Validations since then.

    Raises
    ------
    ConfigError
        If patience or least improvement is out of range.
    """

    patience: int
    min_delta: float = 0.0
    best: float | None = None
    waited: int = 0

    def __post_init__(self) -> None:
        if self.patience < 1 or not self.min_delta >= 0:
            raise ConfigError(
                f"early stopping with patience {self.patience} and min_delta {self.min_delta}: "
                "patience must be at least 1 and min_delta at least 0"
            )

    def step(self, value: float) -> bool:
        """Take the figure of one more validation.

        Parameters
        ----------
        value : float
            Higher is better; NaN counts as no improvement.

        Returns
        -------
        bool
            True if the run should end.
        """
        least = -math.inf if self.best is None else self.best + self.min_delta
        if value > least:
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        return self.waited >= self.patience

    def as_dict(self) -> dict[str, float | int | None]:
        """Return settings and state as plain values, for JSON."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, content: Mapping[str, float | int | None]) -> EarlyStopping:
        """Bring back what ``as_dict`` returned.

        Raises
        ------
        ConfigError
            If a key is missing or unknown.
        """
        try:
            return cls(**content)  # type: ignore[arg-type]
        except TypeError as error:
            raise ConfigError(f"this is no state of early stopping: {error}; start the run anew") from error
