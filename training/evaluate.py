"""Measure the shipped weights, or others, on the films of a data folder.

    python -m training.evaluate --data DIR --split test [--weights NAME] [--json FILE] [--csv FILE]
    python -m training.evaluate --data DIR --split test --algorithm bs-net [--predictions FILE]

Prints a table and writes JSON. A label that a film lacks leaves the film out of that figure; a film without
a score is counted as such, and never as a score of 0; a film whose opacity mask is empty has no Dice.
Intervals are 95 % bootstrap intervals over patient groups. ``--csv`` writes one row a film, from which
``python -m training.report`` makes the tables and pictures without scoring anything again. With BS-Net the
0-6 score is the T score (regions that are at least 1), ``brixia`` compares with the senior reader, and
``--predictions`` writes what ``python -m training.brixia`` makes its tables from.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from models.checkpoint import weights_folder
from models.errors import CheckpointError
from models.severity import SeverityScorer
from training.data.data_folder import add_data_argument
from training.data.dataset import DataError, Film, read_manifest
from training.judging.brixia.predictions import prediction_table
from training.judging.brixia.readings import read_readings
from training.judging.brixia.summary import brixia_figures
from training.judging.film_figures import LEGACY_BATCH, Figures, by_group, film_figures, legacy_figures
from training.judging.film_table import film_table
from training.judging.scoring import FilmOutcome, score_films
from training.judging.speed import measure_speed

GROUPS = ("source", "view", "sex", "age")
ALGORITHMS = ("two-stage", "bs-net")
OF_TWO_STAGE = ("legacy", "speed", "gallery")
OF_BS_NET = ("predictions",)
"""Options that only one of them has."""


def evaluate(outcomes: Sequence[FilmOutcome]) -> Figures:
    """Turn outcomes into the figures that are quoted; see ``training.judging.film_figures.film_figures``.

    Parameters
    ----------
    outcomes : sequence of FilmOutcome
        One per film.

    Returns
    -------
    dict
        ``n``, ``not_assessable``, ``seconds_per_film`` and a part for each kind of label.
    """
    return film_figures(film_table(outcomes))


def _print(console: Console, title: str, figures: Figures) -> None:
    table = Table("figure", "value", "95 % interval", title=title)
    for section, content in figures.items():
        for name, value in content.items() if isinstance(content, dict) else (("", content),):
            if name.endswith("_ci95"):
                continue
            ends = content.get(f"{name}_ci95") if isinstance(content, dict) else None
            between = f"{ends[0]} to {ends[1]}" if ends else ""
            table.add_row(f"{section} {name}".strip(), str(value), between)
    console.print(table)


def _print_groups(console: Console, groups: dict[str, Figures], title: str) -> None:
    table = Table(title, "films", "no score", "lungs Dice", "opacity Dice", "score MAE", "normals at 0")
    for name, part in groups.items():
        cells = (("lungs", "dice_mean"), ("opacity", "dice_mean"), ("score", "mae"))
        shown = [_cell(part.get(section, {}), key) for section, key in cells]
        normals = part.get("normals", {})
        zero = f"{normals['scored_zero']} of {normals['n']}" if normals.get("n") else "-"
        table.add_row(name, str(part["n"]), str(part["not_assessable"]), *shown, zero)
    console.print(table)


def _cell(part: dict[str, Any], key: str) -> str:
    return f"{part[key]:.3f} ({part['n']})" if part.get(key) is not None else "-"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_data_argument(parser)
    parser.add_argument("--split", choices=("train", "val", "test", "all"), default="test")
    parser.add_argument("--algorithm", choices=ALGORITHMS, default="two-stage")
    parser.add_argument(
        "--weights", help="a folder of weights, or the name of a folder beside the shipped ones"
    )
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--csv", type=Path, help="file to write one row per film to")
    parser.add_argument("--predictions", type=Path, help="bs-net: file to write the table of predictions to")
    parser.add_argument("--films", type=Path, help="file to write one JSON line per film to")
    parser.add_argument("--gallery", type=Path, help="PNG file: the worst films as pictures")
    parser.add_argument("--worst", type=int, default=8, help="how many films the gallery shows (default: 8)")
    parser.add_argument(
        "--any-licence", action="store_true", help="show films in the gallery whose licence is not open too"
    )
    parser.add_argument(
        "--speed", type=int, default=0, metavar="FILMS", help="also time so many films, one at a time"
    )
    parser.add_argument("--device", default="cpu", help="for --speed: cpu, cuda or auto (default: cpu)")
    parser.add_argument(
        "--legacy",
        type=int,
        nargs="?",
        const=LEGACY_BATCH,
        metavar="BATCH",
        help="also measure as the published code did: its zones, and means over batches (of 10)",
    )
    return parser


def _measure(
    options: argparse.Namespace, films: list[Film], weights: Path | None
) -> tuple[Figures, pd.DataFrame]:
    table = film_table(score_films(films, weights, legacy=options.legacy is not None))
    figures: Figures = {
        "split": options.split,
        "algorithm": SeverityScorer.load(weights).algorithm.digest,
        **film_figures(table),
    }
    if options.legacy is not None:
        figures["legacy"] = legacy_figures(table, options.legacy)
    if options.speed:
        figures["speed"] = measure_speed(films, weights, options.device, repeats=options.speed).figures()
    return figures | by_group(table), table


def _measure_bsnet(
    options: argparse.Namespace, films: list[Film], weights: Path | None
) -> tuple[Figures, pd.DataFrame]:
    from training.judging.brixia.scoring import score_outcomes  # noqa: PLC0415 - only this needs BS-Net

    outcomes, found, digest = score_outcomes(films, weights)
    table = film_table(outcomes)
    figures: Figures = {"split": options.split, "algorithm": digest, **film_figures(table)}
    # This ranks films by the share of opacity, which BS-Net does not measure.
    figures.pop("brixia_rank", None)
    if any(film.brixia_readers for film in films):
        predictions = prediction_table(read_readings(options.data), next(iter(found.values())))
        figures["brixia"] = brixia_figures(predictions)
        if options.predictions:
            predictions.to_csv(options.predictions, index=False)
    elif options.predictions:
        raise DataError("no film was read by the Brixia score, so there are no predictions to write")
    return figures | by_group(table), table


def _write(options: argparse.Namespace, figures: Figures, table: pd.DataFrame) -> None:
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if options.csv:
        table.to_csv(options.csv, index=False)
    if options.films:
        lines = (json.dumps(_line(row)) for row in table.to_dict("records"))
        options.films.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _line(row: dict[Any, Any]) -> Figures:
    shares = [row[name] for name in row if str(name).startswith("share_")]
    found = {name: None if pd.isna(row[name]) else row[name] for name in ("lung_dice", "opacity_dice")}
    return {
        "id": row["id"],
        "score": None if pd.isna(row["score"]) else int(row["score"]),
        "reason": row["reason"] or None,
        "shares": None if pd.isna(row["score"]) else [round(share, 4) for share in shares],
        **found,
    }


def _refuse_others_options(options: argparse.Namespace) -> None:
    other = OF_BS_NET if options.algorithm == "two-stage" else OF_TWO_STAGE
    given = [f"--{name}" for name in other if getattr(options, name)]
    if given:
        sys.exit(f"error: {', '.join(given)}: not for --algorithm {options.algorithm}; leave it out")


def main() -> None:
    """Read the command line, score, print, write."""
    options = _parser().parse_args()
    _refuse_others_options(options)
    for path in (options.json, options.csv, options.films, options.gallery, options.predictions):
        if path is not None and not path.parent.is_dir():
            sys.exit(f"error: there is no folder {path.parent} to write {path.name} into; make it first")
    try:
        films = [film for film in read_manifest(options.data) if options.split in (film.split, "all")]
        if not films:
            sys.exit(f"error: no film of {options.data} is in the split {options.split}; name another split")
        if options.algorithm == "bs-net":
            figures, table = _measure_bsnet(options, films, options.weights)
        else:
            figures, table = _measure(options, films, weights_folder(options.weights))
    except (DataError, CheckpointError) as error:
        sys.exit(f"error: {error}")
    console = Console()
    groups = {f"by_{name}": figures[f"by_{name}"] for name in GROUPS}
    _print(
        console,
        f"all {options.split} films",
        {k: v for k, v in figures.items() if k not in groups and k != "legacy"},
    )
    for name, part in figures.get("legacy", {}).items():
        _print(console, f"as the published code measures: {name}", part)
    for name, parts in groups.items():
        _print_groups(console, parts, name.replace("_", " "))
    _write(options, figures, table)
    if options.gallery:
        from training.judging.figures.gallery import Gallery  # noqa: PLC0415 - Matplotlib takes a second

        weights = weights_folder(options.weights)
        gallery = Gallery(options.worst, options.any_licence)
        try:
            shown = gallery.write(films, table, weights, options.gallery)
        except DataError as error:
            sys.exit(f"error: {error}")
        console.print(f"{shown} films in {options.gallery}")


if __name__ == "__main__":
    main()
