"""Figures as PNG files."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 150


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whatever backend is set, and return the path."""
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=DPI, format="png", bbox_inches="tight")
    return path
