"""Error of the score over T (Danilov et al. 2022, Table 9)."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from training.judging.thresholds import GRID, ThresholdCurve


def plot_threshold_curves(
    curves: Mapping[str, ThresholdCurve],
    chosen: Mapping[str, float],
    spans: Mapping[str, tuple[float, float]] | None = None,
) -> Figure:
    """Draw MAE and RMSE over T, with the chosen T as a vertical line.

    Parameters
    ----------
    curves : mapping of str to ThresholdCurve
        By name; at least one.
    chosen : mapping of str to float
        T of some or all of them.
    spans : mapping of str to (float, float), optional
        Bootstrap intervals of T, drawn as bands.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, kind in zip(figure.subplots(1, 2), ("mae", "rmse"), strict=True):
        for number, (name, curve) in enumerate(curves.items()):
            colour = f"C{number % 10}"
            label = f"{name}, T = {chosen[name]:.2f}" if name in chosen else name
            axes.plot(GRID, getattr(curve, kind), color=colour, label=label, linewidth=1.2)
            if name in chosen:
                axes.axvline(chosen[name], color=colour, linestyle=":", linewidth=1)
            if spans and name in spans:
                axes.axvspan(*spans[name], color=colour, alpha=0.12)
        axes.set(xlabel="T, share of a zone", ylabel=f"{kind.upper()} of the 0-6 score", xlim=(0, 1))
        axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    return figure
