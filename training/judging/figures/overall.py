"""Systems at a glance: error, speed, parameters, multiply-adds (Danilov et al. 2022, Fig. 12)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure


@dataclass(frozen=True)
class SystemSummary:
    """One row of the chart; None where nothing is known.

    Parameters
    ----------
    name : str
        The system.
    mae : float or None
        Mean absolute error of the 0-6 score, all systems on the same films.
    images_per_second : float or None
        Speed; on which machine is said in the title.
    parameters_m, macs_g : float or None
        Millions of parameters and thousands of millions of multiply-adds of both stages.
    ours : bool
        Whether to set it off by colour.
    """

    name: str
    mae: float | None
    images_per_second: float | None
    parameters_m: float | None
    macs_g: float | None
    ours: bool = False


PANELS = (
    ("mae", "MAE of the score"),
    ("images_per_second", "images a second"),
    ("parameters_m", "parameters, millions"),
    ("macs_g", "multiply-adds, thousands of millions"),
)


def plot_overall(systems: Sequence[SystemSummary], title: str) -> Figure:
    """Draw four bar charts side by side, the least error on top.

    Parameters
    ----------
    systems : sequence of SystemSummary
        At least one.
    title : str
        Says which films and which machines the figures belong to.

    Returns
    -------
    matplotlib.figure.Figure
    """
    ranked = sorted(systems, key=lambda system: math.inf if system.mae is None else system.mae, reverse=True)
    figure = Figure(figsize=(13, 1.4 + 0.3 * len(ranked)), layout="constrained")
    figure.suptitle(title, fontsize=10)
    rows = np.arange(len(ranked))
    colours = ["#c0392b" if system.ours else "#4878a8" for system in ranked]
    for axes, (field, label) in zip(figure.subplots(1, len(PANELS), sharey=True), PANELS, strict=True):
        values = [getattr(system, field) for system in ranked]
        axes.barh(rows, [0.0 if value is None else value for value in values], color=colours)
        for row, value in zip(rows, values, strict=True):
            axes.text(
                0 if value is None else value, row, " ?" if value is None else f" {value:.3g}", va="center"
            )
        axes.set_xlabel(label, fontsize=9)
        axes.margins(x=0.22)
    axes.set_yticks(rows, [system.name for system in ranked])
    return figure
