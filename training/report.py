"""Write every table and picture of the papers, ours beside theirs, into one folder.

    python -m training.report --data DIR --out report
    python -m training.report --data DIR --out report --outcomes ours=test.csv --weights ours=runs/weights

Without more than ``--data`` it recomputes the papers' own tables from the published outputs
(``DIR/published``). ``--outcomes`` adds our systems from what ``python -m training.evaluate --csv`` wrote;
nothing is scored again for tables. ``--weights`` draws films (Figs 10 and 11) and counts parameters and
multiply-adds (Fig. 12); ``--runs`` fills Tables 5 and 6. A system has one name in ``--outcomes`` and in
``--weights``. ``report.md`` in the folder shows everything.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from rich.console import Console

from models.errors import CheckpointError
from training.combine import read_named_tables
from training.data.data_folder import add_data_argument
from training.data.dataset import DataError, Film, read_manifest
from training.judging.published import ALL_SYSTEMS, read_all_scores, read_metadata
from training.judging.report_figures import (
    film_pictures,
    overall_figure,
    own_figures,
    published_figures,
    reader_picture,
)
from training.judging.report_folder import ReportFolder
from training.judging.tables.head_to_head import head_to_head, same_films
from training.judging.tables.runs import network_tables
from training.judging.tables.scores import errors_by_split, printed_tables, threshold_table
from training.judging.tables.segmentation import appendix_tables, stage_tables


@dataclass(frozen=True)
class Sources:
    """What a report is made of.

    Parameters
    ----------
    films : list of Film
        All films of the data folder.
    folder : pathlib.Path
        The published tables.
    metadata, published : pandas.DataFrame or None
        Of the published films, and all published scores; None if there are none.
    outcomes : dict of str to pandas.DataFrame
        Our film tables by the system's name.
    weights : dict of str to pathlib.Path
        Our folders of weights by the system's name.
    runs : list of pathlib.Path
        Run folders.
    """

    films: list[Film]
    folder: Path
    metadata: pd.DataFrame | None
    published: pd.DataFrame | None
    outcomes: dict[str, pd.DataFrame] = field(default_factory=dict)
    weights: dict[str, Path] = field(default_factory=dict)
    runs: list[Path] = field(default_factory=list)


def write_report(sources: Sources, out: ReportFolder, options: argparse.Namespace) -> None:
    """Write all tables and pictures that the sources allow.

    Parameters
    ----------
    sources : Sources
        What there is.
    out : ReportFolder
        Where to.
    options : argparse.Namespace
        With ``films`` (identifiers of films to draw), ``any_licence`` and ``speed``.

    Raises
    ------
    DataError
        If a source cannot be used.
    models.errors.CheckpointError
        If weights cannot be used.
    """
    if sources.metadata is None or sources.published is None:
        out.note(
            f"There are no published outputs in {sources.folder.name}, so the paper's systems are left out."
        )
    else:
        out.section("The published systems, recomputed")
        for table in printed_tables(sources.published):
            out.table(table)
        out.table(threshold_table(sources.folder))
        published_figures(out, sources.folder, sources.metadata, sources.published)
        same = same_films(sources.films, sources.published, sources.outcomes)
        _compare(out, same, list(sources.outcomes))
        overall_figure(out, same, sources.weights, sources.films, options.speed)
    if sources.outcomes:
        out.section("Our systems")
        for table in (*stage_tables(sources.outcomes), *appendix_tables(sources.outcomes)):
            out.table(table)
        own_figures(out, sources.outcomes)
    if sources.runs or sources.weights:
        out.section("Networks")
        for table in network_tables({**{run.name: run for run in sources.runs}, **sources.weights}):
            out.table(table)
    out.section("Films")
    reader_picture(out, sources.films, options.any_licence)
    if sources.weights:
        film_pictures(out, sources.films, sources.weights, options)
    out.finish()


def _compare(out: ReportFolder, same: pd.DataFrame, ours: list[str]) -> None:
    out.section("All systems on the same films")
    out.table(head_to_head(same, ours))
    everyone = [*ours, *ALL_SYSTEMS]
    out.table(errors_by_split(same, everyone, "same_films_10", "Table 10 on our films: all of them"))
    for name, part, words in (
        ("same_films_E1", same[same["covid"]], "Table E1 on our films: COVID-19"),
        ("same_films_E2", same[~same["covid"]], "Table E2 on our films: normal"),
    ):
        out.table(errors_by_split(part, everyone, name, words))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.report", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_data_argument(parser)
    parser.add_argument("--published", type=Path, help="folder of published tables (default: DATA/published)")
    parser.add_argument("--outcomes", nargs="*", default=[], metavar="[NAME=]CSV", help="our film tables")
    parser.add_argument(
        "--weights", nargs="*", default=[], metavar="[NAME=]DIR", help="our folders of weights"
    )
    parser.add_argument("--runs", nargs="*", default=[], type=Path, metavar="DIR", help="our run folders")
    parser.add_argument("--films", nargs="*", default=[], metavar="ID", help="films to draw, of any licence")
    parser.add_argument(
        "--any-licence", action="store_true", help="draw films whose licence is not open; do not publish them"
    )
    parser.add_argument(
        "--speed", type=int, default=0, metavar="FILMS", help="time so many films with each --weights"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write into; made if missing")
    return parser


def _sources(options: argparse.Namespace) -> Sources:
    folder = options.published or options.data / "published"
    # A folder that is named must be there; the usual one may be missing, as in one's own data.
    known = options.published is not None or folder.is_dir()
    weights = {}
    for argument in options.weights:
        name, _, path = argument.rpartition("=")
        weights[name or Path(path).name] = Path(path)
    return Sources(
        films=read_manifest(options.data),
        folder=folder,
        metadata=read_metadata(folder) if known else None,
        published=read_all_scores(folder) if known else None,
        outcomes=read_named_tables(options.outcomes),
        weights=weights,
        runs=options.runs,
    )


def main() -> None:
    """Read the command line, write the report."""
    options = _parser().parse_args()
    console = Console()
    try:
        out = ReportFolder(options.out)
        write_report(_sources(options), out, options)
    except (DataError, CheckpointError) as error:
        sys.exit(f"error: {error}")
    console.print(f"{out.count} files; start with {options.out / 'report.md'}")


if __name__ == "__main__":
    main()
