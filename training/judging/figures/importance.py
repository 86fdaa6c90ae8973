"""Importance and correlation of hyperparameters (Danilov et al. 2022, Figs 7, 8 and C1)."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

UNIMPORTANT = 0.05
"""The paper reads an importance up to this as none."""
STRONG = 0.7
"""The paper reads a correlation beyond this, of either sign, as strong."""


def plot_importance(importance: Mapping[str, float], correlation: Mapping[str, float]) -> Figure:
    """Draw importance and correlation with the objective as bars, the most important on top.

    Parameters
    ----------
    importance : mapping of str to float
        Share of each hyperparameter, e.g. of a random forest; they sum to 1.
    correlation : mapping of str to float
        Pearson's correlation of each, in [-1, 1]; one that is missing or NaN has no bar.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there is no hyperparameter.
    """
    if not importance:
        raise ValueError("there is no hyperparameter to draw; tune with at least two finished trials first")
    names = sorted(importance, key=lambda name: importance[name])
    figure = Figure(figsize=(9, 0.9 + 0.32 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    left.barh(names, [importance[name] for name in names], color="#4878a8")
    left.axvline(UNIMPORTANT, color="grey", linestyle=":", linewidth=1)
    left.set(xlabel="importance", xlim=(0, max(1e-9, *importance.values()) * 1.1))
    values = [correlation.get(name, float("nan")) for name in names]
    right.barh(names, values, color=["#4a9" if value > 0 else "#c55" for value in values])
    for edge in (-STRONG, STRONG):
        right.axvline(edge, color="grey", linestyle=":", linewidth=1)
    right.axvline(0, color="black", linewidth=0.8)
    right.set(xlabel="correlation with the objective", xlim=(-1, 1))
    return figure
