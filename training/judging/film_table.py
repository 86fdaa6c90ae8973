"""Outcomes as a table, one row a film: what figures are made of, and what ``evaluate --csv`` writes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from training.data.dataset import DataError, Film, film_presence
from training.judging.overlap import Overlap
from training.judging.published import ZONE_COLUMNS, read_table
from training.judging.scoring import FilmOutcome

COUNTS = ("tp", "fp", "fn", "tn")
FILM_COLUMNS = ("id", "source", "group", "split", "finding", "view", "sex", "age", "licence_class")
COLUMNS = (
    *FILM_COLUMNS,
    "published_name",
    "reason",
    "score",
    "consensus",
    *ZONE_COLUMNS,
    "presence",
    "presence_threshold",
    "presence_known",
    "lung_dice",
    *(f"lung_{count}" for count in COUNTS),
    "opacity_dice",
    *(f"opacity_{count}" for count in COUNTS),
    "brixia_global",
    "legacy_score",
    "elapsed_s",
)
_TEXT = (
    "id",
    "source",
    "group",
    "split",
    "finding",
    "view",
    "sex",
    "licence_class",
    "published_name",
    "reason",
)


def film_table(outcomes: Sequence[FilmOutcome]) -> pd.DataFrame:
    """Turn outcomes into a table.

    Parameters
    ----------
    outcomes : sequence of FilmOutcome
        One per film.

    Returns
    -------
    pandas.DataFrame
        ``COLUMNS``. Text is empty and numbers are NaN where nothing is known. ``consensus`` is the readers'
        0-6 score; ``presence`` is the classification head's
        probability, ``presence_known`` 1 for films that show opacity, 0 for those that do not;
        ``lung_*`` and ``opacity_*`` count pixels at the film's size (an opacity mask that is empty has counts
        and no Dice).
    """
    return _typed(pd.DataFrame([_row(outcome) for outcome in outcomes], columns=list(COLUMNS)))


def read_film_table(path: Path) -> pd.DataFrame:
    """Read what ``evaluate --csv`` wrote.

    Raises
    ------
    DataError
        If the file is missing or is no such table.
    """
    table = read_table(path, COLUMNS, _TEXT)
    try:
        return _typed(table)
    except ValueError as error:
        raise DataError(f"{path} is no table of `python -m training.evaluate --csv`: {error}") from error


def overlaps(table: pd.DataFrame, part: str) -> list[Overlap]:
    """Return the pixel counts of the films that have them.

    Parameters
    ----------
    table : pandas.DataFrame
        As ``film_table`` makes it.
    part : str
        ``lung`` or ``opacity``.

    Returns
    -------
    list of Overlap
        In the table's order.
    """
    counts = table[[f"{part}_{count}" for count in COUNTS]].dropna().astype(int)
    return [Overlap(*(int(value) for value in row)) for row in counts.itertuples(index=False)]


def _row(outcome: FilmOutcome) -> dict[str, object]:
    film = outcome.film
    shares = (
        [math.nan] * 6 if outcome.shares is None else [round(float(share), 6) for share in outcome.shares]
    )
    row: dict[str, object] = {name: _film_values(film)[name] for name in FILM_COLUMNS}
    row |= {
        "published_name": film.published_name,
        "reason": outcome.reason or "",
        "score": outcome.score,
        "consensus": film.consensus,
        "presence": outcome.presence,
        "presence_threshold": outcome.presence_threshold,
        "presence_known": film_presence(film),
        "brixia_global": None if film.brixia is None else float(film.brixia.sum()),
        "legacy_score": outcome.legacy_score,
        "elapsed_s": round(outcome.elapsed_s, 4),
        "lung_dice": outcome.lung_dice,
        "opacity_dice": outcome.opacity_dice,
    }
    row |= dict(zip(ZONE_COLUMNS, shares, strict=True))
    for part, overlap in (("lung", outcome.lungs), ("opacity", outcome.opacity)):
        row |= {f"{part}_{count}": getattr(overlap, count, None) for count in COUNTS}
    return row


def _film_values(film: Film) -> dict[str, object]:
    values: dict[str, object] = {name: getattr(film, name) for name in FILM_COLUMNS if name != "id"}
    return {"id": film.name, **values}


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    numbers = {column: float for column in COLUMNS if column not in _TEXT}
    text = {column: table[column].astype(object).fillna("").astype(str) for column in _TEXT}
    return table[list(COLUMNS)].assign(**text).astype(numbers)
