"""Tables as CSV and Markdown, and as a coloured picture if wanted."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from training.judging.figures.coloured_table import plot_table
from training.judging.figures.saving import save


@dataclass(frozen=True)
class ReportTable:
    """A table with what it needs to stand alone.

    Parameters
    ----------
    name : str
        Start of the files' names, e.g. ``table_10``.
    title, note : str
        Above and below the table; the note says which films, policies and sources.
    content : pandas.DataFrame
        First column text.
    more_is_better : collection of str
        Columns whose largest value is the best.
    coloured : bool
        Also draw it, from blue (good) to red (bad).
    """

    name: str
    title: str
    content: pd.DataFrame
    note: str = ""
    more_is_better: Collection[str] = field(default_factory=tuple)
    coloured: bool = False

    def write(self, folder: Path) -> list[Path]:
        """Write ``NAME.csv``, ``NAME.md`` and, if coloured, ``NAME.png``; return their paths."""
        paths = [folder / f"{self.name}.csv", folder / f"{self.name}.md"]
        self.content.to_csv(paths[0], index=False)
        paths[1].write_text(self.markdown(), encoding="utf-8")
        if self.coloured:
            figure = plot_table(self.content, self.title, self.more_is_better)
            paths.append(save(figure, folder / f"{self.name}.png"))
        return paths

    def markdown(self) -> str:
        """Return title, table and note as Markdown."""
        note = f"\n{self.note}\n" if self.note else ""
        return f"## {self.title}\n\n{markdown(self.content)}{note}"


def markdown(table: pd.DataFrame) -> str:
    """Return a table as Markdown, numbers right-aligned, three decimals where there are any, NaN empty."""
    names = [str(name) for name in table.columns]
    right = [pd.api.types.is_numeric_dtype(table.iloc[:, index]) for index in range(len(names))]
    lines = [_line(names), _line("---:" if number else "---" for number in right)]
    counts = [_is_count(table.iloc[:, index]) for index in range(len(names))]
    for row in table.itertuples(index=False):
        lines.append(_line(_shown(value, whole) for value, whole in zip(row, counts, strict=True)))
    return "\n".join(lines) + "\n"


def _is_count(column: pd.Series) -> bool:
    # A count becomes a float as soon as one row lacks it.
    return str(column.name).split(" ")[0] in ("n", "batch", "memory,", "epochs")


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _shown(value: object, whole: bool) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return ""
    return f"{value:.{0 if whole else 3}f}" if isinstance(value, float) else str(value)
