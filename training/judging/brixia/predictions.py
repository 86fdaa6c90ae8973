"""The table of predictions: what a Brixia model said of films, beside what readers said.

One CSV holds all that tables and figures need, so that they can be made again without a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.data.dataset import DataError
from training.judging.brixia.readings import FILES, FILM_NUMBERS, FILM_TEXT, reader_columns, readers
from training.judging.brixia.score import CLASSES, REGIONS
from training.judging.film_table import COUNTS
from training.judging.published import read_table

REGION_COLUMNS = tuple(REGIONS)
PROBABILITY_COLUMNS = tuple(f"{region}_p{score}" for region in REGIONS for score in range(CLASSES))
LUNG_COLUMNS = tuple(f"lung_{count}" for count in COUNTS)
OF_THE_MODEL = ("reason", *REGION_COLUMNS, *PROBABILITY_COLUMNS, *LUNG_COLUMNS, "elapsed_s")
TEXT = (*FILM_TEXT, "reason")


@dataclass(frozen=True)
class Prediction:
    """What a model said of one film.

    Parameters
    ----------
    name : str
        The film.
    regions : numpy.ndarray or None
        float64, (6,), A to F, 0 to 3; None if the film cannot be assessed.
    probabilities : numpy.ndarray or None
        float64, (6, 4), A to F, classes 0 to 3.
    reason : str
        Why there is no score; empty if there is one.
    elapsed_s : float
        Time it took; NaN if unknown.
    lungs : tuple of int or None
        Pixels of the lungs found against the drawn ones: true positive, false positive, false negative, true
        negative.
    """

    name: str
    regions: NDArray[np.float64] | None
    probabilities: NDArray[np.float64] | None
    reason: str = ""
    elapsed_s: float = float("nan")
    lungs: tuple[int, int, int, int] | None = None


def prediction_table(readings: pd.DataFrame, predictions: Sequence[Prediction]) -> pd.DataFrame:
    """Set predictions beside readings.

    Parameters
    ----------
    readings : pandas.DataFrame
        From ``training.judging.brixia.readings.read_readings``.
    predictions : sequence of Prediction
        Of some or all of its films.

    Returns
    -------
    pandas.DataFrame
        The predicted films in the order of ``readings``: its columns but ``FILES``, and ``OF_THE_MODEL``.
    """
    rows = pd.DataFrame([_row(item) for item in predictions], columns=["id", *OF_THE_MODEL])
    return _typed(readings.drop(columns=list(FILES)).merge(rows, on="id", how="inner", validate="1:1"))


def read_predictions(path: Path, readings: pd.DataFrame | None = None) -> pd.DataFrame:
    """Read a table of predictions.

    Parameters
    ----------
    path : pathlib.Path
        CSV with at least ``id`` and ``A`` to ``F``.
    readings : pandas.DataFrame, optional
        What is known of the films, for a table that holds no readers.

    Returns
    -------
    pandas.DataFrame
        As ``prediction_table`` makes it; NaN where the file says nothing.

    Raises
    ------
    DataError
        If the file is missing or is no such table, a score is impossible, or no film has a reader.
    """
    table = read_table(path, ("id", *REGION_COLUMNS), TEXT)
    if table["id"].duplicated().any():
        raise DataError(f"{path} has two rows of the film {table['id'][table['id'].duplicated()].iloc[0]}")
    if not readers(table):
        if readings is None:
            raise DataError(f"{path} holds no readers; name the data with --data too")
        model = [name for name in OF_THE_MODEL if name in table]
        table = readings.drop(columns=list(FILES)).merge(table[["id", *model]], on="id", how="inner")
        if table.empty:
            raise DataError(f"no film of {path} is among those of the data; are the names (id) the same?")
    try:
        table = _typed(table)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is no table of predictions: {error}") from error
    _check(table, path)
    return table


def named_predictions(
    arguments: Sequence[str], readings: pd.DataFrame | None = None
) -> dict[str, pd.DataFrame]:
    """Read tables given as ``FILE`` or ``NAME=FILE``; one without a name is called as the file is.

    Raises
    ------
    DataError
        As ``read_predictions``, and if two have one name.
    """
    systems: dict[str, pd.DataFrame] = {}
    for argument in arguments:
        name, _, file = argument.rpartition("=")
        chosen = name or Path(file).stem
        if chosen in systems:
            raise DataError(f"two tables are called {chosen}; name them: NAME=FILE")
        systems[chosen] = read_predictions(Path(file), readings)
    return systems


def of_split(table: pd.DataFrame, split: str) -> pd.DataFrame:
    """Keep the films of a split; ``all`` keeps all, and a table without splits is a choice already."""
    if split == "all" or not (table["split"] != "").any():
        return table
    return table[table["split"] == split].reset_index(drop=True)


def scored(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the films that have a prediction."""
    return table[table[list(REGION_COLUMNS)].notna().all(axis=1)].reset_index(drop=True)


def predicted_regions(table: pd.DataFrame) -> NDArray[np.float64]:
    """Return the predictions, float64 (films, 6), NaN where there is none."""
    return table[list(REGION_COLUMNS)].to_numpy(np.float64)


def _row(item: Prediction) -> dict[str, object]:
    row: dict[str, object] = {"id": item.name, "reason": item.reason, "elapsed_s": round(item.elapsed_s, 4)}
    if item.regions is not None:
        row |= dict(zip(REGION_COLUMNS, item.regions.tolist(), strict=True))
    if item.probabilities is not None:
        row |= dict(zip(PROBABILITY_COLUMNS, item.probabilities.round(6).ravel().tolist(), strict=True))
    return row | (dict(zip(LUNG_COLUMNS, item.lungs, strict=True)) if item.lungs is not None else {})


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    numbers = [name for name in (*FILM_NUMBERS, *OF_THE_MODEL) if name not in TEXT]
    whole = table.reindex(
        columns=[*TEXT, *numbers, *(name for reader in readers(table) for name in reader_columns(reader))]
    )
    typed = whole.assign(**{name: whole[name].astype(object).fillna("").astype(str) for name in TEXT})
    typed = typed.astype({str(name): float for name in whole.columns if name not in TEXT})
    return typed.assign(patient_group=typed["patient_group"].where(typed["patient_group"] != "", typed["id"]))


def _check(table: pd.DataFrame, path: Path) -> None:
    regions = predicted_regions(table)
    possible = np.isnan(regions) | ((regions >= 0) & (regions <= CLASSES - 1))
    if not possible.all():
        raise DataError(f"{path}: a region is predicted outside 0 to {CLASSES - 1}")
    if not len(scored(table)):
        raise DataError(f"{path} holds no prediction of all six regions")
