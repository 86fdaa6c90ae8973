"""Write the tables and figures of Signoroni et al. (2021) for a Brixia model into one folder.

    python -m training.brixia --data DIR --split test --out report [--weights NAME] [--rotation]
    python -m training.brixia --predictions ours=test.csv baseline=baseline.csv --out report

Without ``--predictions`` the films are scored with BS-Net (``--weights``), and what it says of them, and each
kind of attention alone, is kept in the folder as CSV, from which everything is made again without a network.
With several tables the first is the model; the others are rows beside it (Tables 5, 9, 10 and 11). Data: a
data folder with ``manifest.csv``, the public subset's CSV, or the full Brixia set's table; see
``training.judging.brixia.readings``. ME is prediction minus reference everywhere. ``report.md`` in the
folder shows everything.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from models.errors import CheckpointError
from models.result import NotAssessable
from training.combine import read_named_tables
from training.data.dataset import DataError, read_manifest
from training.judging.brixia import figures, rotation, run_tables, tables
from training.judging.brixia.comparators import film_t_scores, side_by_side
from training.judging.brixia.curves import plot_curves, read_log
from training.judging.brixia.predictions import named_predictions, of_split, prediction_table
from training.judging.brixia.readings import read_readings, scores_of
from training.judging.published import BS_NET, COVID_NET, read_all_scores
from training.judging.report_folder import ReportFolder
from training.judging.tables.head_to_head import same_films

PAPER = "Signoroni et al. 2021"
OUTCOMES_HELP = "tables of `python -m training.evaluate --csv`, for the readers' 0-6 scale"

ROTATION_HELP = "also turn the films by up to 30 degrees, in steps of 5 or 10 (default: 5); takes minutes"


@dataclass(frozen=True)
class Sources:
    """What the report is made of.

    Parameters
    ----------
    whole : dict of str to pandas.DataFrame
        Tables of predictions by name, the model first: all films.
    systems : dict of str to pandas.DataFrame
        The same, films of the split alone.
    readings : pandas.DataFrame or None
        All readings of the data.
    reader : str
        Whom to compare with.
    """

    whole: dict[str, pd.DataFrame]
    systems: dict[str, pd.DataFrame]
    readings: pd.DataFrame | None
    reader: str

    @property
    def model(self) -> tuple[str, pd.DataFrame]:
        """The first system."""
        return next(iter(self.systems.items()))


def write_tables(out: ReportFolder, sources: Sources) -> None:
    """Write Tables 4 to 11, the inter-rater table and the acceptable errors, as far as labels allow.

    Raises
    ------
    DataError
        If no film has both a prediction and a reading of the reader.
    """
    name, model = sources.model
    tested = sources.systems
    for system, predictions in tested.items():
        if not len(tables.compared(predictions, sources.reader)[0]):
            raise DataError(f"no film of {system} was read by {sources.reader}; name another with --reader")
    out.section("Errors")
    lost = int((model["reason"] != "").sum())
    out.note(f"{len(model)} films; {lost} of them could not be assessed and are in no figure.")
    found = (
        tables.table_4(tested),
        *tables.table_5(tested, sources.reader),
        tables.acceptable(tested, sources.reader),
        tables.table_6(name, model, sources.reader),
        tables.inter_rater(name, model),
        tables.table_7(tested, sources.reader),
        run_tables.table_8(tested),
        run_tables.table_9(tested, sources.reader),
        run_tables.table_10_11(sources.whole, sources.reader),
    )
    for table in found:
        if table is not None:
            out.table(table)


def write_figures(out: ReportFolder, sources: Sources) -> None:
    """Draw Figs 3, 6, 7 and 9."""
    name, model = sources.model
    out.section("Figures")
    everyone = sources.readings if sources.readings is not None else model
    sets = {"all films": everyone, "these films": model}
    shown = {}
    for words, table in sets.items():
        scores = scores_of(table, sources.reader)
        read = ~np.isnan(scores).any(axis=1)
        shown[words] = scores[read], table["sex"].to_numpy()[read].tolist()
    words = f"Global score of reader {sources.reader}."
    out.figure("figure_3", "Fig. 3: global score by sex", figures.plot_distribution(shown), words)
    pairs = {system: tables.compared(table, sources.reader)[:2] for system, table in sources.systems.items()}
    words = "Regions: each row sums to 1. Global score: counts; the dashed line is agreement."
    out.figure("figure_6", "Fig. 6: confusion", figures.plot_confusion(pairs), words)
    words = "Counts; error is prediction minus reader."
    out.figure("figure_7", "Fig. 7: joint histograms of errors", figures.plot_joint_errors(pairs), words)
    raters = figures.plot_raters(tables.rater_scores(name, model))
    out.figure("figure_9_raters", "Fig. 9: every pair of raters", raters, "MAE (SD of the absolute error).")


def write_comparators(out: ReportFolder, sources: Sources, options: argparse.Namespace) -> None:
    """Set the T score beside the two-stage score and the published systems, on the readers' 0-6 scale.

    Raises
    ------
    DataError
        If a named table cannot be read.
    """
    folder = options.published or (options.data / "published" if options.data else None)
    if folder is None or not (folder / "metadata.csv").is_file() or not options.data:
        out.note("No published 0-6 scores here, so the comparison on the readers' 0-6 scale is left out.")
        return
    own = read_named_tables(options.outcomes)
    films = same_films(read_manifest(options.data), read_all_scores(folder), own)
    names = [*own]
    for system, table in sources.systems.items():
        if system not in own:
            names.append(f"{system}, T score")
            films[names[-1]] = films["id"].map(film_t_scores(table).to_dict())
    out.section("Beside other systems")
    split = options.split if options.split != "all" else "test"
    # Else the published BS-net and one of our own differ by a capital.
    others = {name: f"{name}, published" for name in (BS_NET, COVID_NET)}
    out.table(side_by_side(films.rename(columns=others), [*names, *others.values()], split))


def write_curves(out: ReportFolder, runs: Sequence[Path]) -> None:
    """Draw training curves (Fig. 8).

    Raises
    ------
    DataError
        If a run has no log.
    """
    if runs:
        logs = {"/".join(run.parts[-2:]): read_log(run) for run in runs}
        out.figure("figure_8", "Fig. 8: training", plot_curves(logs), "From the runs' logs.")


def write_rotation(out: ReportFolder, sources: Sources, options: argparse.Namespace) -> None:
    """Turn the films of the split and draw the error over the angle, with and without alignment (Fig. 11).

    Raises
    ------
    DataError
        If the films cannot be read.
    models.errors.CheckpointError
        If weights cannot be used.
    """
    if sources.readings is None:
        raise DataError("--rotation needs the films; name the data with --data")
    from training.judging.brixia.scoring import rotated_errors  # noqa: PLC0415 - only this needs torch

    films = of_split(sources.readings, options.split)
    angles = range(-rotation.WIDEST, rotation.WIDEST + 1, options.rotation)
    errors, groups = rotated_errors(films, sources.reader, options.weights, options.unaligned, angles)
    curve = rotation.rotation_curve(errors, groups, angles)
    curve.to_csv(out.path / "figure_11.csv", index=False)
    out.section("Rotation")
    out.figure("figure_11", "Fig. 11: rotated films", figures.plot_rotation(curve), "Bands: 95 % intervals.")
    out.table(rotation.rise_table(errors, groups, angles))


def write_maps(out: ReportFolder, sources: Sources, options: argparse.Namespace) -> None:
    """Draw what the scores of the named films rest on (Fig. 10).

    Raises
    ------
    DataError
        If a film is not among the data, or cannot be read.
    models.errors.CheckpointError
        If the weights cannot be used.
    """
    if sources.readings is None:
        raise DataError("--explain needs the films; name the data with --data")
    from dicom_node.rendering import render_explanation  # noqa: PLC0415 - only this draws films
    from training.judging.brixia.observing import explained, read_film  # noqa: PLC0415 - only this needs torch

    files = dict(zip(sources.readings["id"], sources.readings["file"], strict=True))
    missing = [name for name in options.explain if name not in files]
    if missing:
        raise DataError(f"no film {', '.join(missing)} was read in these data")
    out.section("Explanations")
    for name in options.explain:
        film = read_film(Path(files[name]))
        result = explained(film, options.weights)
        if isinstance(result, NotAssessable):
            out.note(f"{name}: {result.message}")
            continue
        words = "See the licence of the film before you show this to anybody."
        out.picture(f"figure_10_{name}", f"Fig. 10: {name}", render_explanation(film, result), words)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.brixia", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    default = os.environ.get("CXR_DATASET")
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        default=Path(default) if default else None,
        help="folder or CSV with Brixia readings (default: the environment variable CXR_DATASET)",
    )
    add("--split", choices=("train", "val", "test", "all"), default="test")
    add("--out", type=Path, required=True, help="folder to write into; made if missing")
    add("--predictions", nargs="*", default=[], metavar="[NAME=]CSV", help="tables, the model first")
    add("--algorithm", choices=("bs-net",), default="bs-net", help="what scores the films (default: bs-net)")
    add("--weights", type=Path, help="folder of BS-Net's weights (default: the shipped ones)")
    add("--every-split", action="store_true", help="score the films of all splits, for Tables 10 and 11")
    add("--reader", default="S", help="whom to compare with (default: S, the senior reader)")
    add("--rotation", type=int, nargs="?", const=5, choices=(5, 10), metavar="STEP", help=ROTATION_HELP)
    add("--unaligned", type=Path, help="for --rotation: weights trained without alignment")
    add("--explain", nargs="+", default=[], metavar="ID", help="films to draw explanations of (Fig. 10)")
    add("--runs", nargs="*", default=[], type=Path, metavar="DIR", help="runs to draw curves of (Fig. 8)")
    add("--outcomes", nargs="*", default=[], metavar="[NAME=]CSV", help=OUTCOMES_HELP)
    add("--published", type=Path, help="folder of published tables (default: DATA/published)")
    return parser


def _sources(options: argparse.Namespace, out: ReportFolder) -> Sources:
    readings = read_readings(options.data) if options.data else None
    whole = named_predictions(options.predictions, readings)
    if not whole:
        if readings is None:
            raise DataError("name films to score with --data, or tables with --predictions")
        whole = _scored(options, readings, out)
    systems = {name: of_split(table, options.split) for name, table in whole.items()}
    for name, table in systems.items():
        if table.empty:
            raise DataError(f"{name} has no film of the split {options.split}; name another with --split")
    return Sources(whole, systems, readings, options.reader)


def _scored(
    options: argparse.Namespace, readings: pd.DataFrame, out: ReportFolder
) -> dict[str, pd.DataFrame]:
    from training.judging.brixia.scoring import score_films  # noqa: PLC0415 - only this needs torch

    films = readings if options.every_split else of_split(readings, options.split)
    if films.empty:
        raise DataError(f"no film was read in the split {options.split}; name another with --split")
    tables_of = {
        name: prediction_table(films, found) for name, found in score_films(films, options.weights).items()
    }
    for name, table in tables_of.items():
        table.to_csv(out.path / f"predictions_{name.replace(' ', '_')}.csv", index=False)
    return tables_of


def main() -> None:
    """Read the command line, score if need be, write the report."""
    options = _parser().parse_args()
    try:
        out = ReportFolder(options.out, "training.brixia", PAPER)
        sources = _sources(options, out)
        write_tables(out, sources)
        write_figures(out, sources)
        write_curves(out, options.runs)
        write_comparators(out, sources, options)
        if options.rotation:
            write_rotation(out, sources, options)
        if options.explain:
            write_maps(out, sources, options)
        out.finish()
    except (DataError, CheckpointError) as error:
        sys.exit(f"error: {error}")
    Console().print(f"{out.count} files in {options.out}; begin with {options.out / 'report.md'}")


if __name__ == "__main__":
    main()
