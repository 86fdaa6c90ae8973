"""Tables with cells from blue (good) over white to red (bad) (Danilov et al. 2022, Tables 10, E1, E2)."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

Colour = tuple[float, float, float, float]
WHITE: Colour = (1.0, 1.0, 1.0, 1.0)


def column_colours(values: NDArray[np.float64], more_is_better: bool = False) -> list[Colour]:
    """Return the colour of each cell of a column: best blue, middle white, worst red.

    Parameters
    ----------
    values : numpy.ndarray
        float64, (rows,); NaN stays white.
    more_is_better : bool
        Whether the largest value is the best; the smallest otherwise.

    Returns
    -------
    list of tuple of float
        RGBA in [0, 1]; all white where the values do not differ.
    """
    low, high = (np.nanmin(values), np.nanmax(values)) if np.isfinite(values).any() else (0.0, 0.0)
    colours = []
    for value in values:
        if not np.isfinite(value) or high == low:
            colours.append(WHITE)
            continue
        share = (value - low) / (high - low)
        red, green, blue, alpha = colormaps["bwr"](1 - share if more_is_better else share)
        colours.append((float(red), float(green), float(blue), float(alpha)))
    return colours


def plot_table(table: pd.DataFrame, title: str, more_is_better: Collection[str] = ()) -> Figure:
    """Draw a table with the first column as names and coloured numbers.

    Parameters
    ----------
    table : pandas.DataFrame
        First column text; numeric columns are coloured, each on its own scale, but for counts (``n ...``).
    title : str
        Above the table.
    more_is_better : collection of str
        Columns whose largest value is the best.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(1.6 + 1.15 * len(table.columns), 0.5 + 0.22 * (len(table) + 1)))
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_title(title, fontsize=10)
    cells = [[_shown(value) for value in row] for row in table.itertuples(index=False)]
    drawn = axes.table(
        cells, colLabels=[str(name) for name in table.columns], loc="upper center", cellLoc="center"
    )
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(7.5)
    drawn.auto_set_column_width(list(range(len(table.columns))))
    for index, name in enumerate(table.columns):
        counted = str(name).split(" ")[0] == "n"
        if index == 0 or counted or not pd.api.types.is_numeric_dtype(table[name]):
            continue
        values = table[name].to_numpy(np.float64)
        for row, colour in enumerate(column_colours(values, name in more_is_better), start=1):
            drawn[row, index].set_facecolor(_pale(colour))
    return figure


def _pale(colour: Colour) -> Colour:
    # Black figures stay readable on pure red and blue if half of the white is kept.
    red, green, blue = (0.45 + 0.55 * part for part in colour[:3])
    return red, green, blue, 1.0


def _shown(value: object) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.3g}" if abs(value) >= 10 else f"{value:.3f}"
    return str(value)
