"""The films on which a scorer did worst, as a sheet of pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from training.data.dataset import DataError, Film
from training.judging.figures.observation import Observation, observe
from training.judging.figures.overlays import show_observation
from training.judging.figures.saving import save
from training.judging.scoring import ObservedScorer

COLUMNS = 4
OPEN = "open"


@dataclass(frozen=True)
class Gallery:
    """Which films a failure gallery shows.

    Parameters
    ----------
    count : int
        How many at most.
    any_licence : bool
        Also films whose licence is not open; such a sheet must not be published.
    """

    count: int = 8
    any_licence: bool = False

    def write(self, films: Sequence[Film], table: pd.DataFrame, weights: Path | None, path: Path) -> int:
        """Score the worst films again and draw them; beside the picture, whose films they are (``.md``).

        Parameters
        ----------
        films : sequence of Film
            Those of the table.
        table : pandas.DataFrame
            From ``training.judging.film_table``.
        weights : pathlib.Path or None
            The weights that made the table; None for the shipped ones.
        path : pathlib.Path
            The PNG file.

        Returns
        -------
        int
            How many films it shows.

        Raises
        ------
        DataError
            If no film can be shown.
        """
        chosen = worst_films(table, self.count, self.any_licence)
        if not chosen:
            raise DataError(
                "no film went wrong that may be shown; --any-licence shows films of every licence too"
            )
        scorer = ObservedScorer.load(weights)
        by_name = {film.name: film for film in films}
        seen = [(observe(by_name[name], scorer), words) for name, words in chosen.items()]
        save(plot_gallery(seen), path)
        path.with_suffix(".md").write_text(credits_of([one.film for one, _ in seen]), encoding="utf-8")
        return len(seen)


def credits_of(films: Sequence[Film]) -> str:
    """Return a Markdown list of where films come from and under which licence."""
    lines = [f"* {film.name}: {film.credit or film.source}" for film in films]
    return "\n".join(["Films shown, research use only:", "", *lines, ""])


def worst_films(table: pd.DataFrame, count: int, any_licence: bool = False) -> dict[str, str]:
    """Choose the films that went most wrong.

    Half of them have the largest error of the score (a film that its source calls normal counts as 0, a film
    without a score as an error of 6), a quarter the least opacity Dice, a quarter the least lung Dice.

    Parameters
    ----------
    table : pandas.DataFrame
        From ``training.judging.film_table``.
    count : int
        How many at most.
    any_licence : bool
        Also films whose licence is not open.

    Returns
    -------
    dict of str to str
        What went wrong, in words, by the film's id; worst first within each kind.
    """
    films = table if any_licence else table[table["licence_class"] == OPEN]
    wanted = films["consensus"].where(films["consensus"].notna() | (films["finding"] != "normal"), 0.0)
    error = (films["score"] - wanted).abs().where(films["score"].notna(), 6.0).where(wanted.notna())
    wrong = error[error > 0].sort_values(ascending=False, kind="stable")
    kinds = [(wrong.index, count - 2 * (count // 4))]
    for part in ("opacity_dice", "lung_dice"):
        kinds.append((films[part].dropna().sort_values(kind="stable").index, count // 4))
    chosen: dict[str, str] = {}
    for index, share in kinds:
        fresh = [row for row in index if films.loc[row, "id"] not in chosen][:share]
        chosen |= {str(films.loc[row, "id"]): _words(films.loc[row], wanted.loc[row]) for row in fresh}
    return chosen


def plot_gallery(seen: Sequence[tuple[Observation, str]]) -> Figure:
    """Draw films with what went wrong above each.

    Parameters
    ----------
    seen : sequence of (Observation, str)
        At least one film, and the words above it.

    Returns
    -------
    matplotlib.figure.Figure
    """
    columns = min(COLUMNS, len(seen))
    rows = math.ceil(len(seen) / columns)
    figure = Figure(figsize=(3.2 * columns, 3.7 * rows), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid[len(seen) :]:
        axes.set_axis_off()
    for axes, (observation, words) in zip(grid, seen, strict=False):
        show_observation(axes, observation, words)
    return figure


def _words(film: pd.Series, wanted: float) -> str:
    score = "no score" if pd.isna(film["score"]) else f"score {film['score']:.0f}"
    parts = [str(film["id"]), score if pd.isna(wanted) else f"{score}, expected {wanted:g}"]
    dices = [("opacity", film["opacity_dice"]), ("lungs", film["lung_dice"])]
    dice = ", ".join(f"{name} Dice {value:.2f}" for name, value in dices if not pd.isna(value))
    return "\n".join([*parts, dice or "no mask"])
