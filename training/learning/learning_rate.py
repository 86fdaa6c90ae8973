"""How fast can a network learn? A sweep of rising learning rates, and what its curve suggests."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MEMORY = 0.9  # of the smoothed loss
HOPELESS = 4.0  # times the least smoothed loss: the sweep ends, since nothing beyond can be of use


class NoDescent(Exception):
    """The loss falls nowhere on the curve; the message says what to do."""


@dataclass(frozen=True)
class Curve:
    """Loss by learning rate.

    Parameters
    ----------
    rates, losses : tuple of float
        Learning rate of each step, rising, and the loss before that step.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def smoothed(self) -> NDArray[np.float64]:
        """Running mean of the losses (exponential, without the bias of its start), float64 (steps,)."""
        mean, result = 0.0, []
        for number, loss in enumerate(self.losses, start=1):
            mean = MEMORY * mean + (1 - MEMORY) * loss
            result.append(mean / (1 - MEMORY**number))
        return np.array(result)

    @property
    def suggestion(self) -> float:
        """The learning rate at which the smoothed loss falls fastest, by the rate's logarithm.

        Raises
        ------
        NoDescent
            If it falls nowhere.
        """
        if len(self.rates) >= 3:
            slope = np.gradient(self.smoothed, np.log10(self.rates))
            steepest = int(np.argmin(slope))
            if slope[steepest] < 0:
                return self.rates[steepest]
        raise NoDescent(
            f"the loss falls nowhere between {self.rates[0]:g} and {self.rates[-1]:g}; sweep lower rates, or "
            "look at the films and the loss"
        )


def rising_rates(first: float = 1e-5, last: float = 1.0, count: int = 100) -> tuple[float, ...]:
    """Return ``count`` learning rates from ``first`` to ``last``, each the same multiple of the last."""
    return tuple(float(rate) for rate in np.geomspace(first, last, count))


def sweep(step: Callable[[float], float], rates: Sequence[float]) -> Curve:
    """Learn one step at each rate, until the loss is past hope.

    Parameters
    ----------
    step : callable
        Learns from one batch at a given rate and returns the loss before it.
    rates : sequence of float
        Rising learning rates.

    Returns
    -------
    Curve
        Of the steps whose loss was a number.
    """
    curve = Curve((), ())
    for rate in rates:
        loss = step(rate)
        if not math.isfinite(loss):
            break
        curve = Curve((*curve.rates, rate), (*curve.losses, loss))
        smoothed = curve.smoothed
        if smoothed[-1] > HOPELESS * smoothed.min() > 0:
            break
    return curve


def write_curve(curve: Curve, folder: Path) -> tuple[Path, Path]:
    """Write ``learning-rate.csv`` (rate, loss, smoothed) and ``learning-rate.png``; return both paths."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - only this command draws

    folder.mkdir(parents=True, exist_ok=True)
    table, picture = folder / "learning-rate.csv", folder / "learning-rate.png"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["rate", "loss", "smoothed"])
        writer.writerows(zip(curve.rates, curve.losses, curve.smoothed.tolist(), strict=True))
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(curve.rates, curve.losses, color="lightgrey", label="loss")
    axes.plot(curve.rates, curve.smoothed, color="#4878a8", label="smoothed")
    try:
        axes.axvline(curve.suggestion, color="#c55", linestyle=":", label=f"steepest: {curve.suggestion:.1e}")
    except NoDescent:
        axes.set_title("the loss falls nowhere")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    axes.legend()
    figure.savefig(picture, dpi=120)
    return table, picture
