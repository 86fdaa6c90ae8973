"""The folder of a report: tables, pictures, and one page that shows them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from training.data.dataset import DataError
from training.judging.figures.saving import save
from training.judging.tables.writing import ReportTable


class ReportFolder:
    """Writes a report's files and keeps its page.

    Parameters
    ----------
    path : pathlib.Path
        Made if missing; files of an earlier report are written over.
    command, paper : str
        The module that writes it, and the paper whose tables it follows.

    Raises
    ------
    DataError
        If the folder cannot be made.
    """

    def __init__(
        self, path: Path, command: str = "training.report", paper: str = "Danilov et al. 2022"
    ) -> None:
        self.path = path
        self.count = 0
        self._lines = [
            "# Report\n",
            f"Research use, not for diagnosis. Written by `python -m {command}`. The paper: {paper}.\n",
        ]
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"cannot make the folder {path}: {error.strerror}; name another") from error

    def section(self, title: str) -> None:
        """Begin a section of the page."""
        self._lines.append(f"# {title}\n")

    def table(self, table: ReportTable) -> None:
        """Write a table as CSV, Markdown and perhaps PNG, and show it on the page."""
        self.count += len(table.write(self.path))
        self._lines.append(table.markdown())

    def figure(self, name: str, title: str, figure: Figure, note: str = "") -> None:
        """Write a picture as ``NAME.png`` and show it on the page."""
        save(figure, self.path / f"{name}.png")
        self.count += 1
        self._lines.append(f"## {title}\n\n![{title}]({name}.png)\n\n{note}\n")

    def picture(self, name: str, title: str, pixels: NDArray[np.uint8], note: str = "") -> None:
        """Write pixels, uint8 (rows, columns, 3), RGB, as ``NAME.png`` and show them on the page."""
        Image.fromarray(pixels).save(self.path / f"{name}.png")
        self.count += 1
        self._lines.append(f"## {title}\n\n![{title}]({name}.png)\n\n{note}\n")

    def note(self, text: str) -> None:
        """Put a paragraph on the page."""
        self._lines.append(f"{text}\n")

    def finish(self) -> None:
        """Write ``report.md``."""
        (self.path / "report.md").write_text("\n".join(self._lines), encoding="utf-8")
        self.count += 1
