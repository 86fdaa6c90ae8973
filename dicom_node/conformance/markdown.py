"""Sections and tables of the conformance statement, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """A section, its text, and the sections within; numbers are given when it is rendered."""

    title: str
    text: str = ""
    sections: Sequence[Section] = ()


def render(sections: Iterable[Section]) -> str:
    """Return sections with numbered titles."""
    parts = []
    for number, section in _numbered(sections):
        level = "#" * min(6, 1 + number.count(".") + 1)
        parts += [f"{level} {number} {section.title}", section.text]
    return "\n\n".join(part for part in parts if part)


def contents(sections: Iterable[Section]) -> str:
    """Return the list of sections, two levels deep."""
    return "\n".join(
        f"{'  ' * number.count('.')}- {number} {section.title}"
        for number, section in _numbered(sections)
        if number.count(".") < 2
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; whatever a cell holds, it stays one cell."""
    lines = [_row(heads), "|" + "---|" * len(heads), *map(_row, rows)]
    return "\n".join(lines)


def bullets(*texts: str) -> str:
    """Return a list."""
    return "\n".join(f"- {text}" for text in texts)


def code(text: object) -> str:
    """Return a value in the form for what is written exactly so."""
    return f"`{str(text).replace('`', '')}`"


def yes_no(value: bool) -> str:
    """Return ``yes`` or ``no``."""
    return "yes" if value else "no"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


def _numbered(sections: Iterable[Section], above: str = "") -> Iterator[tuple[str, Section]]:
    for place, section in enumerate(sections, 1):
        number = f"{above}{place}"
        yield number, section
        yield from _numbered(section.sections, f"{number}.")
