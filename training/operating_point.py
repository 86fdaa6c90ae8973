"""Choose the two thresholds of the score on the training and validation films.

    python -m training.operating_point --data DIR --weights FOLDER [--write [FOLDER]]

T is the share of a zone above which it counts: the least mean absolute error of the 0-6 score over films
with readers' scores and films that their source calls normal (which count as 0), on a grid of 0.00 to 1.00
in steps of 0.01; of several best values the middle of the longest run is taken. ``--width 0 0.05 0.1`` also
chooses how unsure a zone's share is taken to be (``models.severity.Involvement``).

The presence threshold is the classification head's probability below which a film has no opacity at all:
of those at which ``--normals`` of the normal validation films score 0, the one with the least error.
Training films say nothing of it, since the head knows them by heart; and a gate that closes wrongly hides
all of a film's disease.

    python -m training.operating_point --data DIR --lungs runs/lungs --folds runs/fold1 runs/fold2 \
        --width 0 0.05 0.08 0.1 0.12 0.15 --write runs/weights

judges every training and validation film by the run that held it out (``training.train --fold``), so that no
film is judged by a network that knows it, and all normal films count for the presence threshold.

``--write`` puts both into ``opacity.json``, of the weights themselves or of another folder: of a refit on
training and validation films, say, which cannot be judged on either.

    python -m training.operating_point --outputs published/model_outputs/FPN_*.csv [--subset train]

searches T on published zone shares instead. ``--curve`` writes the errors over T as CSV and as a picture.
``--import-legacy 77`` takes T from the paper's Table 9 (a share times 255) and needs no films.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from models.checkpoint import Role, load_spec, weights_folder, write_spec
from models.errors import CheckpointError
from training.data.data_folder import add_data_argument
from training.data.dataset import DataError, read_manifest
from training.judging.scoring import FilmMeasurement, measure_films, measure_held_out
from training.judging.threshold_search import Search, chosen_films, search_outputs, write_curves
from training.judging.thresholds import (
    GRID,
    ThresholdCurve,
    import_legacy,
    plateau,
    threshold_curve,
    threshold_interval,
    zone_scores,
)

PRESENCE_GRID = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
"""The last is that of Danilov et al. 2022, Eq. 2."""
NORMALS_AT_ZERO = 0.95
"""Least share of the normal films that should score 0."""
RESAMPLES = 200


@dataclass(frozen=True)
class OperatingPoint:
    """A chosen involvement threshold.

    Parameters
    ----------
    threshold : float
        T.
    error : float
        Mean absolute error of the score at T.
    curve : numpy.ndarray
        float64, (101,): mean absolute error at each value of the grid.
    errors : ThresholdCurve
        All errors along the grid.
    width : float
        How unsure a share is taken to be; 0 for the paper's sharp rule.
    """

    threshold: float
    error: float
    curve: NDArray[np.float64]
    errors: ThresholdCurve
    width: float = 0.0


def choose(
    shares: NDArray[np.float64], readers: NDArray[np.float64], widths: Sequence[float] = (0.0,)
) -> OperatingPoint:
    """Find the involvement threshold, and the width, with the least mean absolute error.

    Parameters
    ----------
    shares : numpy.ndarray
        float64, (films, 6), in [0, 1].
    readers : numpy.ndarray
        float64, (films,): the readers' score, 0 to 6.
    widths : sequence of float
        Widths to try (``models.severity.Involvement``); the first of several that are equally good is taken.

    Returns
    -------
    OperatingPoint
    """
    points = []
    for width in widths:
        errors = threshold_curve(shares, readers, width)
        point = OperatingPoint(plateau(errors.mae), float(errors.mae.min()), errors.mae, errors, width)
        points.append(point)
    return min(points, key=lambda point: round(point.error, 9))


def choose_both(
    measurements: Sequence[FilmMeasurement],
    widths: Sequence[float] = (0.0,),
    normals_at_zero: float = NORMALS_AT_ZERO,
) -> tuple[float, OperatingPoint]:
    """Find the presence threshold on validation films, and T on all.

    Parameters
    ----------
    measurements : sequence of FilmMeasurement
        Training and validation films with a readers' score, or normal.
    widths : sequence of float
        As for ``choose``.
    normals_at_zero : float
        Least share of the normal validation films that should score 0.

    Returns
    -------
    presence_threshold : float
        From ``PRESENCE_GRID``.
    point : OperatingPoint
        T and width at that presence threshold.
    """
    normals = [item for item in measurements if item.film.split == "val" and item.film.normal]
    points = {presence: _choose_gated(measurements, presence, widths) for presence in PRESENCE_GRID}
    allowed = [
        presence
        for presence, point in points.items()
        if normals
        and (zone_scores(_gated(normals, presence), point.threshold, point.width) == 0).mean()
        >= normals_at_zero
    ]
    otherwise = PRESENCE_GRID[-1:] if normals else PRESENCE_GRID[:1]
    presence = min(allowed or otherwise, key=lambda value: round(points[value].error, 9))
    return presence, points[presence]


def _choose_gated(
    measurements: Sequence[FilmMeasurement], presence: float, widths: Sequence[float]
) -> OperatingPoint:
    readers = np.array([item.film.consensus or 0.0 for item in measurements])
    return choose(_gated(measurements, presence), readers, widths)


def _gated(measurements: Sequence[FilmMeasurement], presence: float) -> NDArray[np.float64]:
    return np.array([item.shares * (item.presence >= presence) for item in measurements])


def _legacy(text: str) -> float:
    try:
        return import_legacy(int(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"a whole number from 0 to 255 is needed, not {text}") from error


def _parser(needs_data: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.operating_point", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    if needs_data:
        add_data_argument(parser)
    else:
        parser.add_argument("--data", help=argparse.SUPPRESS)
    parser.add_argument(
        "--weights", help="a folder of weights, or the name of a folder beside the shipped ones"
    )
    parser.add_argument("--folds", nargs="+", type=Path, help="run folders, that of fold 1 first")
    parser.add_argument("--lungs", type=Path, help="checkpoint folder of stage I, with --folds")
    parser.add_argument(
        "--normals",
        type=float,
        default=NORMALS_AT_ZERO,
        metavar="SHARE",
        help=f"least share of normal films at 0 (default: {NORMALS_AT_ZERO})",
    )
    parser.add_argument("--write", nargs="?", const="", help="put them into the weights' opacity.json")
    parser.add_argument("--subset", nargs="+", help="only these subsets (default: train val; test never)")
    parser.add_argument("--label", nargs="+", help="only these finding groups, e.g. covid normal")
    parser.add_argument("--source", nargs="+", help="only these sources, e.g. cohen nih")
    parser.add_argument("--curve", type=Path, help="write errors over T to this CSV, and a picture beside it")
    parser.add_argument("--outputs", nargs="+", type=Path, help="search T on these published CSVs instead")
    parser.add_argument(
        "--width",
        nargs="+",
        type=float,
        default=[0.0],
        metavar="SHARE",
        help="how unsure shares are, several to choose among (default: 0, the paper's sharp rule)",
    )
    parser.add_argument(
        "--import-legacy", type=_legacy, metavar="T", help="T of the paper's Table 9, 0 to 255"
    )
    return parser


@dataclass(frozen=True)
class _Chosen:
    """What goes into ``opacity.json``; None leaves a value as it is."""

    threshold: float
    presence: float | None = None
    width: float | None = None


def _search_films(options: argparse.Namespace, folder: Path, console: Console) -> tuple[_Chosen, Search]:
    everything = read_manifest(options.data)
    films = chosen_films(everything, options)
    if options.folds:
        held_out = measure_held_out(everything, options.lungs, options.folds)
        asked = {film.name for film in films}
        measurements = [item for item in held_out if item.film.name in asked]
    else:
        measurements = measure_films(films, folder)
    if not measurements:
        raise DataError(f"stage I of {folder} finds two lungs on none of {len(films)} films")
    presence, point = choose_both(measurements, options.width, options.normals)
    low, high = threshold_interval(
        lambda drawn: (
            _choose_gated([measurements[index] for index in drawn], presence, [point.width]).threshold
        ),
        [item.film.group for item in measurements],
        RESAMPLES,
    )
    for value, mean in zip(GRID[::4], point.curve[::4], strict=True):
        console.print(f"T = {value:.2f}  MAE {mean:.3f}")
    console.print(
        f"chosen T = {point.threshold:.2f} (95 % of resamples {low:.2f} to {high:.2f}), presence threshold = "
        f"{presence:g}, MAE {point.error:.3f} on {len(measurements)} training and validation films"
        + (f", width = {point.width:g}" if point.width else "")
    )
    chosen = _Chosen(point.threshold, presence, point.width)
    return chosen, Search("ours", point.errors, point.threshold, (low, high))


def _run(options: argparse.Namespace, console: Console) -> None:
    folder = weights_folder(options.weights)
    written = Path(options.write) if options.write else folder
    spec = load_spec(written, Role.OPACITY) if options.write is not None else None
    if options.import_legacy is not None:
        chosen = _Chosen(options.import_legacy, width=0.0)
        console.print(f"T = {chosen.threshold:.2f}")
    elif options.outputs:
        searches = search_outputs(options.outputs, options)
        for search in searches:
            console.print(search.line())
        if options.curve:
            write_curves(searches, options.curve)
        if spec is not None:
            raise DataError(
                "--write puts the thresholds of our own networks into their folder; drop --outputs"
            )
        return
    else:
        if options.folds and options.lungs is None:
            raise DataError("--folds needs the lungs that stage I finds: name its folder with --lungs")
        load_spec(options.folds[0] if options.folds else folder, Role.OPACITY)
        chosen, search = _search_films(options, folder, console)
        if options.curve:
            write_curves([search], options.curve)
    if spec is not None:
        presence = spec.presence_threshold if chosen.presence is None else chosen.presence
        width = spec.involvement_width if chosen.width is None else chosen.width
        changed = replace(
            spec,
            involvement_threshold=chosen.threshold,
            presence_threshold=presence,
            involvement_width=width,
        )
        write_spec(changed, written)
        console.print(f"written to {written / 'opacity.json'}")


def main() -> None:
    """Read the command line, measure, choose, print, write."""
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--import-legacy")
    first.add_argument("--outputs", nargs="+")
    known, _ = first.parse_known_args()
    options = _parser(needs_data=known.import_legacy is None and not known.outputs).parse_args()
    try:
        _run(options, Console())
    except (DataError, CheckpointError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
