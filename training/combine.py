"""Put our scores and the published ones side by side, film by film, and measure any of them.

    python -m training.combine join --data DIR --films films.csv --out combined.csv
    python -m training.combine measure --table combined.csv --subset test --label COVID-19

``--films`` is what ``python -m training.evaluate --csv`` wrote, several of them if need be
(``NAME=films.csv``); without any, the published systems alone are joined: 1,320 films of good quality.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from training.data.data_folder import add_data_argument
from training.data.dataset import DataError
from training.judging.film_table import read_film_table
from training.judging.metrics import score_agreement
from training.judging.published import ALL_SYSTEMS, FILM_KEY, read_all_scores, read_table

KNOWN_COLUMNS = (*FILM_KEY, "subset", "label", "reader_r", "reader_d", "poor_quality", "consensus")
OWN_SPLIT = "split"
"""The subset of our own split; ``subset`` is the published one."""


def combine(published: pd.DataFrame, ours: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Join scores by film.

    Parameters
    ----------
    published : pandas.DataFrame
        From ``training.judging.published.read_all_scores``.
    ours : mapping of str to pandas.DataFrame
        Tables of ``training.judging.film_table`` by the system's name.

    Returns
    -------
    pandas.DataFrame
        The films that all of them have: the columns of ``published``, one of scores for each of ``ours``
        (NaN where there was no score), and ``split``, ``group`` and ``id`` of the first.

    Raises
    ------
    DataError
        If a name is taken, or no film is left.
    """
    joined = published
    for number, (name, table) in enumerate(ours.items()):
        if name in joined:
            raise DataError(
                f"there is a system or a column {name} already; name the table otherwise: NAME=FILE"
            )
        films = table[table["published_name"] != ""].rename(
            columns={"published_name": "filename", "score": name}
        )
        more = [OWN_SPLIT, "group", "id"] if number == 0 else []
        columns = ["filename", name, *more]
        if films["filename"].duplicated().any():
            raise DataError(f"two films of {name} are the same published film; keep one of them")
        joined = joined.merge(films[columns], on="filename", how="inner", validate="1:1")
        if joined.empty:
            raise DataError(f"{name} has no film that the published tables have; score other films")
    return joined


def measure(
    table: pd.DataFrame, systems: Sequence[str], reference: str, filters: Mapping[str, Sequence[str] | None]
) -> pd.DataFrame:
    """Measure systems on chosen films.

    Parameters
    ----------
    table : pandas.DataFrame
        Combined scores.
    systems : sequence of str
        Columns of scores; a film without a score leaves that system's figures.
    reference : str
        The column to compare with.
    filters : mapping of str to sequence of str or None
        Values to keep, by column; None keeps all.

    Returns
    -------
    pandas.DataFrame
        One row a system: ``system`` and the figures of ``training.judging.metrics.ScoreAgreement``.

    Raises
    ------
    DataError
        If a column is missing or no film is left.
    """
    missing = [name for name in (*systems, reference) if name not in table]
    if missing:
        raise DataError(f"the table has no column {', '.join(missing)}; it has {', '.join(table.columns)}")
    for column, wanted in filters.items():
        if not wanted:
            continue
        if column not in table:
            raise DataError(f"the table has no column {column} to choose films by")
        table = table[table[column].isin(wanted)]
    rows = []
    for system in systems:
        scored = table[[system, reference]].dropna()
        if scored.empty:
            raise DataError(f"no film with a score of {system} is left; loosen the filters")
        rows.append({"system": system, **score_agreement(scored[system], scored[reference]).figures()})
    return pd.DataFrame(rows)


def read_named_tables(arguments: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Read film tables given as ``FILE`` or ``NAME=FILE``; a file without a name is called as the file is.

    Raises
    ------
    DataError
        If a file is missing or no film table, or two have one name.
    """
    tables: dict[str, pd.DataFrame] = {}
    for argument in arguments:
        name, _, file = argument.rpartition("=")
        path = Path(file)
        chosen = name or path.stem
        if chosen in tables:
            raise DataError(f"two tables are called {chosen}; name them: NAME=FILE")
        tables[chosen] = read_film_table(path)
    return tables


def show(console: Console, table: pd.DataFrame, title: str) -> None:
    """Print a table of figures, three decimals each."""
    drawn = Table(*(str(name) for name in table.columns), title=title)
    for row in table.itertuples(index=False):
        drawn.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row))
    console.print(drawn)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.combine", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True)
    join = commands.add_parser("join", help="put scores side by side, film by film")
    add_data_argument(join)
    join.add_argument("--published", type=Path, help="folder of published tables (default: DATA/published)")
    join.add_argument("--films", nargs="*", default=[], metavar="[NAME=]CSV", help="our film tables")
    join.add_argument("--out", type=Path, required=True, help="CSV to write")
    figures = commands.add_parser("measure", help="measure systems on chosen films")
    figures.add_argument("--table", type=Path, required=True, help="what `join` wrote")
    figures.add_argument("--systems", nargs="+", help="columns to measure (default: all systems)")
    figures.add_argument("--reference", default="consensus", help="column to compare with")
    figures.add_argument("--subset", nargs="+", help="published subsets: train, val, test")
    figures.add_argument("--split", nargs="+", help="our own subsets: train, val, test")
    figures.add_argument("--label", nargs="+", help="COVID-19 or Normal")
    figures.add_argument("--dataset", nargs="+", help="published data sets")
    figures.add_argument("--out", type=Path, help="CSV to write the figures to")
    return parser


def _join(options: argparse.Namespace, console: Console) -> None:
    published = read_all_scores(options.published or options.data / "published")
    joined = combine(published, read_named_tables(options.films))
    _write(joined, options.out)
    console.print(f"{len(joined)} films, {options.out}")


def _measure(options: argparse.Namespace, console: Console) -> None:
    table = read_table(options.table, (*FILM_KEY, "consensus"))
    known = (*KNOWN_COLUMNS, OWN_SPLIT, "group", "id")
    systems = options.systems or [name for name in table.columns if name not in known]
    filters = {name: getattr(options, name) for name in ("subset", "split", "label", "dataset")}
    figures = measure(table, systems or list(ALL_SYSTEMS), options.reference, filters)
    show(console, figures, f"against {options.reference}")
    if options.out:
        _write(figures, options.out)


def _write(table: pd.DataFrame, path: Path) -> None:
    try:
        table.to_csv(path, index=False)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error


def main() -> None:
    """Read the command line, join or measure."""
    options = _parser().parse_args()
    try:
        (_join if options.command == "join" else _measure)(options, Console())
    except DataError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
