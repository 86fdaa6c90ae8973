"""Figures as PNG files."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 150


def save(figure: Figure, path: Path, dpi: int = DPI) -> Path:
    """Write a figure as PNG, whatever backend is set, and return the path."""
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=dpi, format="png")
    return path
