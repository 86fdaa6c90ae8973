"""Figures 3, 6, 7, 9 and 11 of Signoroni et al. (2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.judging.brixia.agreement import pairwise
from training.judging.brixia.errors import confusion, row_normalised
from training.judging.brixia.score import CLASSES, GLOBAL_MAX

Scores = NDArray[np.float64]
TICKS = range(0, GLOBAL_MAX + 1, 3)
SEXES = (("F", "women", "C3"), ("M", "men", "C0"), ("", "unknown", "0.6"))


def plot_distribution(sets: Mapping[str, tuple[Scores, Sequence[str]]]) -> Figure:
    """Draw how often each global score occurs, by sex, stacked (Fig. 3).

    Parameters
    ----------
    sets : mapping of str to (numpy.ndarray, sequence of str)
        By name: regions, float64 (films, 6), and the sex of each film, ``F``, ``M`` or anything else.
    """
    figure = Figure(figsize=(4.8 * len(sets), 3.4), layout="constrained")
    for axes, (name, (regions, sex)) in zip(
        figure.subplots(1, len(sets), squeeze=False)[0], sets.items(), strict=True
    ):
        total = regions.sum(axis=1).astype(int)
        known = np.array([value if value in ("F", "M") else "" for value in sex])
        below = np.zeros(GLOBAL_MAX + 1)
        for code, words, colour in SEXES:
            counts = np.bincount(total[known == code], minlength=GLOBAL_MAX + 1)
            if counts.any():
                mean = total[known == code].mean()
                axes.bar(
                    range(GLOBAL_MAX + 1),
                    counts,
                    bottom=below,
                    color=colour,
                    label=f"{words}, mean {mean:.2f}",
                )
                below = below + counts
        axes.set(xlabel="global score", ylabel="films", title=f"{name} (n = {len(total)})", xticks=TICKS)
        axes.margins(y=0.15)
        axes.legend(fontsize=7)
    return figure


def plot_confusion(systems: Mapping[str, tuple[Scores, Scores]]) -> Figure:
    """Draw regions' confusion (each row as shares of 1) above the global scores' (counts) (Fig. 6).

    Parameters
    ----------
    systems : mapping of str to (numpy.ndarray, numpy.ndarray)
        Predicted and reference regions, float64 (films, 6), by name.
    """
    figure = Figure(figsize=(3.6 * len(systems), 7), layout="constrained")
    grid = figure.subplots(2, len(systems), squeeze=False)
    for column, (name, (predicted, reference)) in enumerate(systems.items()):
        top, bottom = grid[0, column], grid[1, column]
        _shares(top, row_normalised(confusion(np.rint(predicted), reference, CLASSES)))
        top.set(xlabel="predicted", ylabel="reader", title=f"{name}, regions")
        totals = np.rint(predicted).sum(axis=1, keepdims=True), reference.sum(axis=1, keepdims=True)
        bottom.imshow(confusion(*totals, GLOBAL_MAX + 1), cmap="Blues")
        bottom.plot([0, GLOBAL_MAX], [0, GLOBAL_MAX], color="red", linestyle="--", linewidth=1)
        bottom.set(xlabel="predicted", ylabel="reader", xticks=TICKS, yticks=TICKS)
        bottom.set_title(f"{name}, global (n = {len(predicted)})")
        for axes in (top, bottom):
            axes.invert_yaxis()
    return figure


def plot_joint_errors(systems: Mapping[str, tuple[Scores, Scores]]) -> Figure:
    """Draw joint histograms: error and score of the regions, of the global score, and both errors (Fig. 7).

    Parameters
    ----------
    systems : mapping of str to (numpy.ndarray, numpy.ndarray)
        Predicted and reference regions, float64 (films, 6), by name.
    """
    figure = Figure(figsize=(10.5, 3.2 * len(systems)), layout="constrained")
    grid = figure.subplots(len(systems), 3, squeeze=False)
    for axes, (name, (predicted, reference)) in zip(grid, systems.items(), strict=True):
        errors = predicted - reference
        total, totals = errors.sum(axis=1), reference.sum(axis=1)
        _joint(axes[0], reference.ravel(), errors.ravel(), (np.arange(-0.5, 4), np.arange(-3.5, 4)))
        axes[0].set(xlabel="reader, region", ylabel="prediction - reader", title=f"{name}: regions")
        edge = max(4.5, np.abs(total).max() + 0.5)
        _joint(axes[1], totals, total, (np.arange(-0.5, 19), np.arange(-edge, edge + 1)))
        axes[1].set(xlabel="reader, global", ylabel="prediction - reader", title=f"{name}: global")
        sizes = np.abs(errors).mean(axis=1), np.abs(total)
        _joint(
            axes[2],
            *sizes,
            (np.arange(-0.5, 6 * sizes[0].max() + 1) / 6, np.arange(-0.5, sizes[1].max() + 1)),
        )
        axes[2].set(
            xlabel="mean error of the regions", ylabel="error of the global score", title=f"{name}: sizes"
        )
    return figure


def plot_raters(raters: Mapping[str, Scores]) -> Figure:
    """Draw the MAE (SD) of every pair of raters, regions and global score (Fig. 9).

    Parameters
    ----------
    raters : mapping of str to numpy.ndarray
        Regions, float64 (films, 6), by name; NaN where a rater gave none; at least two.
    """
    pairs, names = pairwise(raters), list(raters)
    figure = Figure(figsize=(2.6 + 1.5 * len(names), 1.4 + 0.8 * len(names)), layout="constrained")
    for axes, part in zip(figure.subplots(1, 2), ("region", "global"), strict=True):
        values = np.full((len(names), len(names)), np.nan)
        for row in pairs.to_dict("records"):
            at = names.index(row["rater"]), names.index(row["against"])
            values[at] = row[f"{part} MAE"]
            words = f"{row[f'{part} MAE']:.2f}\n({row[f'{part} SD']:.2f})"
            axes.text(at[1], at[0], words, ha="center", va="center", fontsize=8)
        axes.imshow(values, cmap="YlOrRd", vmin=0, alpha=0.7)
        axes.set(xticks=range(len(names)), yticks=range(len(names)), xticklabels=names, yticklabels=names)
        axes.set_title(f"{part}: MAE (SD)", fontsize=9)
    return figure


def plot_rotation(curve: pd.DataFrame) -> Figure:
    """Draw the MAE over the angle with 95 % bands, a line a system (Fig. 11).

    Parameters
    ----------
    curve : pandas.DataFrame
        From ``training.judging.brixia.rotation.rotation_curve``.
    """
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    for number, (name, part) in enumerate(curve.groupby("system", sort=False)):
        axes.plot(part["degrees"], part["MAE"], color=f"C{number}", marker="o", markersize=3, label=str(name))
        axes.fill_between(part["degrees"], part["low"], part["high"], color=f"C{number}", alpha=0.15)
    axes.set(xlabel="rotation, degrees", ylabel="MAE of the regions")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def _shares(axes: Axes, shares: Scores) -> None:
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        if not np.isnan(share):
            colour = "white" if share > 0.5 else "black"
            axes.text(column, row, f"{share:.3f}", ha="center", va="center", fontsize=8, color=colour)
    axes.set(xticks=range(CLASSES), yticks=range(CLASSES))


def _joint(
    axes: Axes, across: Scores, up: Scores, edges: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> None:
    counts, _, _ = np.histogram2d(across, up, bins=edges)
    axes.imshow(
        np.log1p(counts.T),
        origin="lower",
        cmap="Blues",
        aspect="auto",
        extent=(edges[0][0], edges[0][-1], edges[1][0], edges[1][-1]),
    )
    for (column, row), count in np.ndenumerate(counts):
        if count:
            centre = edges[0][column : column + 2].mean(), edges[1][row : row + 2].mean()
            colour = "white" if np.log1p(count) > 0.6 * np.log1p(counts.max()) else "black"
            axes.text(*centre, f"{count:.0f}", ha="center", va="center", fontsize=6, color=colour)
