"""Score against score as heat-maps (Danilov et al. 2022, Figs 2c and 9)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from training.judging.metrics import SCORES, score_agreement, whole_scores

COLUMNS = 4


def score_counts(predicted: ArrayLike, reference: ArrayLike) -> NDArray[np.int64]:
    """Count films by both scores, rounded half to even.

    Parameters
    ----------
    predicted, reference : array-like
        (films,), 0 to 6.

    Returns
    -------
    numpy.ndarray
        int64, (7, 7): rows are the predicted score, columns the reference.
    """
    counts = np.zeros((len(SCORES), len(SCORES)), np.int64)
    np.add.at(counts, (whole_scores(predicted), whole_scores(reference)), 1)
    return counts


def plot_heatmaps(
    systems: Mapping[str, tuple[ArrayLike, ArrayLike]], axes_names: tuple[str, str] = ("readers", "system")
) -> Figure:
    """Draw one heat-map for each system: darker is denser, the dashed red line is agreement.

    Parameters
    ----------
    systems : mapping of str to (array-like, array-like)
        Predicted and reference scores, 0 to 6, by name; at least one.
    axes_names : tuple of str
        What the horizontal (reference) and vertical (predicted) axes show.

    Returns
    -------
    matplotlib.figure.Figure
        With Pearson's correlation and unweighted kappa above each map.
    """
    columns = min(COLUMNS, len(systems))
    rows = math.ceil(len(systems) / columns)
    figure = Figure(figsize=(3.1 * columns, 3.3 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(systems) :]:
        axes.set_axis_off()
    for axes, (name, (predicted, reference)) in zip(grid.flat, systems.items(), strict=False):
        _heatmap(axes, name, predicted, reference)
    for axes in grid[:, 0]:
        axes.set_ylabel(axes_names[1])
    for axes in grid[-1]:
        axes.set_xlabel(axes_names[0])
    return figure


def _heatmap(axes: Axes, name: str, predicted: ArrayLike, reference: ArrayLike) -> None:
    counts = score_counts(predicted, reference)
    # The many agreed zeros would hide everything else on a linear scale.
    axes.imshow(np.log1p(counts), cmap="Blues", origin="lower")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            dark = np.log1p(count) > 0.6 * np.log1p(counts.max())
            colour = "white" if dark else "black"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=7, color=colour)
    axes.plot([-0.5, 6.5], [-0.5, 6.5], color="red", linestyle="--", linewidth=1, label="identity")
    axes.set(xticks=SCORES, yticks=SCORES, xlim=(-0.5, 6.5), ylim=(-0.5, 6.5))
    found = score_agreement(predicted, reference)
    rho = "undefined" if math.isnan(found.rho) else f"{found.rho:.3f}"
    axes.set_title(f"{name} (n = {found.n})\nρ = {rho}, κ = {found.kappa:.3f}", fontsize=9)
