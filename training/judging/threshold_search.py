"""The films that T is searched on, T searched on published zone shares, and curves as files."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from training.data.dataset import TEACHER_COLUMNS, DataError, Film
from training.judging.published import read_table
from training.judging.thresholds import (
    ThresholdCurve,
    first_minimum,
    plateau,
    threshold_curve,
    threshold_interval,
)

Span = tuple[float, float]
RESAMPLES = 200


@dataclass(frozen=True)
class Search:
    """A finished search of T.

    Parameters
    ----------
    name : str
        What was searched on.
    errors : ThresholdCurve
        Errors along the grid.
    threshold : float
        The middle of the longest plateau of the least MAE.
    span : tuple of float
        95 % bootstrap interval of T.
    """

    name: str
    errors: ThresholdCurve
    threshold: float
    span: Span

    def line(self) -> str:
        """Return the search in one line, with the published rule's (first) minima beside ours."""
        maes, rmses = self.errors.mae, self.errors.rmse
        low, high = self.span
        between = "" if math.isnan(low) else f" (95 % of resamples {low:.2f} to {high:.2f})"
        return (
            f"{self.name}: T = {self.threshold:.2f}{between}, MAE {maes.min():.3f}; first minimum of the MAE "
            f"at {first_minimum(maes):.2f}, of the RMSE at {first_minimum(rmses):.2f} ({rmses.min():.3f})"
        )


def chosen_films(films: Sequence[Film], options: argparse.Namespace) -> list[Film]:
    """Return the films of a data folder that the command line asks for, and that can be judged.

    Parameters
    ----------
    films : sequence of Film
        All of them; those of the test split are never used.
    options : argparse.Namespace
        With ``subset``, ``label`` and ``source``.

    Returns
    -------
    list of Film
        With a readers' score, or normal.

    Raises
    ------
    DataError
        If none is left, or a test film is asked for.
    """
    subsets = options.subset or ["train", "val"]
    if not set(subsets) <= {"train", "val"}:
        raise DataError("thresholds are chosen on the subsets train and val alone; test films come last")
    kept = [
        film
        for film in films
        if film.split in subsets
        and (film.consensus is not None or film.normal)
        and (not options.label or film.finding in options.label)
        and (not options.source or film.source in options.source)
    ]
    if not kept:
        raise DataError("no film with a readers' score, and no normal one, is left; loosen the filters")
    return kept


def search_outputs(paths: Sequence[Path], options: argparse.Namespace) -> list[Search]:
    """Search T on tables with ``lung_segment_1`` to ``6``, ``GT``, ``Subset``, ``Label`` and ``Dataset``.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        One table for each system.
    options : argparse.Namespace
        ``subset``, ``label`` and ``source``: lists of values to keep, or None for all.

    Returns
    -------
    list of Search
        In the order of ``paths``. The published tables name no patients, so the intervals resample films.

    Raises
    ------
    DataError
        If a table is missing, lacks a column, or no film is left.
    """
    searches = []
    for path in paths:
        table = read_table(path, (*TEACHER_COLUMNS, "GT", "Subset", "Label", "Dataset", "Filename"))
        for column, wanted in (
            ("Subset", options.subset),
            ("Label", options.label),
            ("Dataset", options.source),
        ):
            table = table[table[column].isin(wanted)] if wanted else table
        if table.empty:
            raise DataError(f"{path} has no film of that subset, label and source; loosen the filters")
        searches.append(_search(path.stem, table))
    return searches


def write_curves(searches: Sequence[Search], path: Path) -> None:
    """Write the errors over T: a CSV with the published files' columns, and a PNG beside it.

    Parameters
    ----------
    searches : sequence of Search
        With more than one, the CSV has a first column ``System``.
    path : pathlib.Path
        The CSV; the picture has the same name with the ending ``.png``.

    Raises
    ------
    DataError
        If the folder is not there.
    """
    from training.judging.figures.curves import plot_threshold_curves  # noqa: PLC0415 - Matplotlib takes a second
    from training.judging.figures.saving import save  # noqa: PLC0415

    if not path.parent.is_dir():
        raise DataError(f"there is no folder {path.parent} to write {path.name} into; make it first")
    tables = [search.errors.table().assign(System=search.name) for search in searches]
    table = pd.concat(tables)
    columns = ["Threshold", "MAE", "MSE", "RMSE", "R2"]
    table[columns if len(searches) == 1 else ["System", *columns]].to_csv(path, index=False)
    figure = plot_threshold_curves(
        {search.name: search.errors for search in searches},
        {search.name: search.threshold for search in searches},
        {search.name: search.span for search in searches if not math.isnan(search.span[0])},
    )
    save(figure, path.with_suffix(".png"))


def _search(name: str, table: pd.DataFrame) -> Search:
    shares, readers = table[list(TEACHER_COLUMNS)].to_numpy(float), table["GT"].to_numpy(float)
    errors = threshold_curve(shares, readers)
    span = threshold_interval(
        lambda drawn: plateau(threshold_curve(shares[drawn], readers[drawn]).mae),
        [f"{dataset}/{file}" for dataset, file in zip(table["Dataset"], table["Filename"], strict=True)],
        RESAMPLES,
    )
    return Search(name, errors, plateau(errors.mae), span)
