"""One film as several systems see it: probability maps and overlays (Danilov et al. 2022, Figs 10 and 11)."""

from __future__ import annotations

import math
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.geometry import Box
from training.judging.figures.observation import Observation
from training.judging.figures.overlays import CYAN, YELLOW, show_observation

COLUMNS = 3


def plot_probability_maps(observations: Mapping[str, Observation]) -> Figure:
    """Draw the refined probability map of each system side by side, scaled 0 to 1 (Fig. 10).

    Parameters
    ----------
    observations : mapping of str to Observation
        One film as each system sees it, by the system's name; nine fill the page. At least one.

    Returns
    -------
    matplotlib.figure.Figure
        The lungs are outlined in cyan, what a reader drew in yellow.
    """
    figure, grid = _panels(len(observations))
    for axes, (name, seen) in zip(grid, observations.items(), strict=False):
        box = Box.around(seen.result.lung_mask) if seen.result.lung_mask.any() else Box.whole(_shape(seen))
        image = axes.imshow(seen.probability[box.slices], cmap="inferno", vmin=0, vmax=1)
        for mask, colour in ((seen.result.lung_mask, CYAN), (seen.truth, YELLOW)):
            if mask is not None and mask[box.slices].any() and not mask[box.slices].all():
                edge = [part / 255 for part in colour]
                axes.contour(mask[box.slices], levels=[0.5], colors=[edge], linewidths=0.8)
        axes.set(xticks=[], yticks=[])
        axes.set_title(name, fontsize=9)
    figure.colorbar(image, ax=grid, shrink=0.7, label="probability of opacity")
    return figure


def plot_overlays(observations: Mapping[str, Observation]) -> Figure:
    """Draw each system's result on one film, with shares and score (Fig. 11).

    Parameters
    ----------
    observations : mapping of str to Observation
        As for ``plot_probability_maps``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, grid = _panels(len(observations))
    for axes, (name, seen) in zip(grid, observations.items(), strict=False):
        show_observation(axes, seen, name)
    return figure


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    columns = min(COLUMNS, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(3.4 * columns, 3.6 * rows), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure, grid


def _shape(seen: Observation) -> tuple[int, int]:
    return seen.pixels.shape[0], seen.pixels.shape[1]
