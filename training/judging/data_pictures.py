"""What a data folder holds, as pictures (Danilov et al. 2022, Figs 1 and 2): films, two readers, scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.data.film_record import SUBSETS, FilmRecord
from training.data.pictures import Picture
from training.judging.data_tables import SCORE_STEPS, scored_films
from training.judging.figures.overlays import CYAN, RED, draw_readers, grey_picture, line_width, outline

COLUMNS = 4
OPEN = "open"

Drawn = tuple[str, NDArray[np.uint8]]


def example_pictures(records: Sequence[FilmRecord], any_licence: bool = False, most: int = 12) -> list[Drawn]:
    """Return films of every source and finding, lungs outlined in cyan and opacity in red (Fig. 1).

    Parameters
    ----------
    records : sequence of FilmRecord
        The films to choose from.
    any_licence : bool
        Also films whose licence is not open; such a sheet must not be published.
    most : int
        How many at most.

    Returns
    -------
    list of (str, numpy.ndarray)
        Words above, and uint8 (rows, columns, 3), RGB.
    """
    kinds: dict[tuple[str, str], list[FilmRecord]] = {}
    for record in _shown(records, any_licence):
        kinds.setdefault((record.source, record.finding_group), []).append(record)
    # Of each kind the film with the most masks; then the second of each kind, until there are enough.
    ranked = [sorted(films, key=lambda film: -len(film.masks)) for films in kinds.values()]
    turns = (films[turn] for turn in range(most) for films in ranked if turn < len(films))
    return [_example(film) for _, film in zip(range(most), turns, strict=False)]


def reader_pictures(records: Sequence[FilmRecord], any_licence: bool = False, most: int = 8) -> list[Drawn]:
    """Return films with two readers' lung masks, the first in cyan, the second in red (Fig. 2a-b).

    Parameters and result are those of ``example_pictures``.
    """
    drawn = []
    for film in [film for film in _shown(records, any_licence) if film.lung_mask and film.second_lung_mask][
        :most
    ]:
        first, second = _inside(film.lung_mask), _inside(film.second_lung_mask)
        total = int(first.sum()) + int(second.sum())
        dice = 2 * int((first & second).sum()) / total if total else math.nan
        picture = draw_readers(film.image.load().astype(np.float32) / np.float32(255), first, second)
        drawn.append((f"{film.name}\nDice {dice:.3f}", picture))
    return drawn


def plot_pictures(drawn: Sequence[Drawn]) -> Figure:
    """Draw pictures side by side, four a row, with words above each."""
    columns = min(COLUMNS, len(drawn))
    rows = math.ceil(len(drawn) / columns)
    figure = Figure(figsize=(3.2 * columns, 3.7 * rows), layout="constrained")
    for axes in (grid := list(figure.subplots(rows, columns, squeeze=False).flat)):
        axes.set_axis_off()
    for axes, (words, picture) in zip(grid, drawn, strict=False):
        axes.imshow(picture)
        axes.set_title(words, fontsize=9)
    return figure


def plot_scores(records: Sequence[FilmRecord]) -> Figure:
    """Draw how often the readers gave each consensus score, subsets stacked."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    below = np.zeros(len(SCORE_STEPS))
    scored = scored_films(records)
    for subset in SUBSETS:
        scores = [film.readers.consensus for film in scored if film.split == subset]
        counts = np.array([scores.count(step) for step in SCORE_STEPS], float)
        axes.bar(SCORE_STEPS, counts, width=0.4, bottom=below, label=f"{subset} ({int(counts.sum())})")
        below += counts
    axes.set_xlabel("consensus of the readers, 0 to 6")
    axes.set_ylabel("films")
    axes.set_xticks(range(7))
    axes.legend()
    return figure


def _shown(records: Sequence[FilmRecord], any_licence: bool) -> Sequence[FilmRecord]:
    return records if any_licence else [film for film in records if film.licence_class == OPEN]


def _example(film: FilmRecord) -> Drawn:
    picture = grey_picture(film.image.load().astype(np.float32) / np.float32(255))
    for mask, colour in ((film.lung_mask, CYAN), (film.opacity_mask, RED)):
        if mask is not None:
            outline(picture, _inside(mask), colour, line_width(picture))
    return f"{film.name}\n{film.finding_group}, {film.view or 'view not known'}", picture


def _inside(mask: Picture | None) -> NDArray[np.bool_]:
    return np.zeros((1, 1), bool) if mask is None else mask.load() > 0
