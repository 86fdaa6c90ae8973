"""Choose the two thresholds of the score on the training and validation films.

    python -m training.operating_point --data DIR --weights FOLDER [--write [FOLDER]]

T is the share of a zone above which it counts: the least mean absolute error of the 0-6 score over films
with readers' scores and films that their source calls normal (which count as 0), on a grid of 0.00 to 1.00
in steps of 0.01; of several best values the middle of the longest run is taken.

The presence threshold is the classification head's probability below which a film has no opacity at all:
the smallest that lets no more normal validation films score above 0 than the paper's 0.5 does. Training
films say nothing of it, since the head knows them by heart; and a gate that closes wrongly hides all of a
film's disease.

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

from models.checkpoint import SHIPPED_WEIGHTS, Role, load_spec, write_spec
from models.errors import CheckpointError
from training.data_folder import add_data_argument
from training.dataset import DataError, Film, read_manifest
from training.scoring import FilmMeasurement, measure_films, named_weights
from training.threshold_search import Search, search_outputs, write_curves
from training.thresholds import (
    GRID,
    ThresholdCurve,
    import_legacy,
    plateau,
    threshold_curve,
    threshold_interval,
)

PUBLISHED_PRESENCE = 0.5
"""Danilov et al. 2022, Eq. 2."""
PRESENCE_GRID = (0.05, 0.1, 0.2, 0.3, 0.4, PUBLISHED_PRESENCE)
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
    """

    threshold: float
    error: float
    curve: NDArray[np.float64]
    errors: ThresholdCurve


def choose(shares: NDArray[np.float64], readers: NDArray[np.float64]) -> OperatingPoint:
    """Find the involvement threshold with the least mean absolute error.

    Parameters
    ----------
    shares : numpy.ndarray
        float64, (films, 6), in [0, 1].
    readers : numpy.ndarray
        float64, (films,): the readers' score, 0 to 6.

    Returns
    -------
    OperatingPoint
    """
    errors = threshold_curve(shares, readers)
    return OperatingPoint(plateau(errors.mae), float(errors.mae.min()), errors.mae, errors)


def choose_both(measurements: Sequence[FilmMeasurement]) -> tuple[float, OperatingPoint]:
    """Find the presence threshold on validation films, and T on all.

    Parameters
    ----------
    measurements : sequence of FilmMeasurement
        Training and validation films with a readers' score, or normal.

    Returns
    -------
    presence_threshold : float
        From ``PRESENCE_GRID``.
    point : OperatingPoint
        T at that presence threshold.
    """
    first = _choose_gated(measurements, PUBLISHED_PRESENCE)
    normals = [item for item in measurements if item.film.split == "val" and item.film.normal]

    def called_diseased(presence: float) -> int:
        gated = _gated(normals, presence)
        return int((gated > first.threshold).any(axis=1).sum()) if normals else 0

    allowed = called_diseased(PUBLISHED_PRESENCE)
    presence = next(value for value in PRESENCE_GRID if called_diseased(value) <= allowed)
    return presence, _choose_gated(measurements, presence)


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


def _choose_gated(measurements: Sequence[FilmMeasurement], presence: float) -> OperatingPoint:
    readers = np.array([item.film.consensus or 0.0 for item in measurements])
    return choose(_gated(measurements, presence), readers)


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
    parser.add_argument("--write", nargs="?", const="", help="put them into the weights' opacity.json")
    parser.add_argument("--subset", nargs="+", help="only these subsets (default: train val; test never)")
    parser.add_argument("--label", nargs="+", help="only these finding groups, e.g. covid normal")
    parser.add_argument("--source", nargs="+", help="only these sources, e.g. cohen nih")
    parser.add_argument("--curve", type=Path, help="write errors over T to this CSV, and a picture beside it")
    parser.add_argument("--outputs", nargs="+", type=Path, help="search T on these published CSVs instead")
    parser.add_argument(
        "--import-legacy", type=_legacy, metavar="T", help="T of the paper's Table 9, 0 to 255"
    )
    return parser


def _search_films(options: argparse.Namespace, folder: Path, console: Console) -> tuple[float, Search]:
    films = chosen_films(read_manifest(options.data), options)
    measurements = measure_films(films, folder)
    if not measurements:
        raise DataError(f"stage I of {folder} finds two lungs on none of {len(films)} films")
    presence, point = choose_both(measurements)
    low, high = threshold_interval(
        lambda drawn: choose_both([measurements[index] for index in drawn])[1].threshold,
        [item.film.group for item in measurements],
        RESAMPLES,
    )
    for value, mean in zip(GRID[::4], point.curve[::4], strict=True):
        console.print(f"T = {value:.2f}  MAE {mean:.3f}")
    console.print(
        f"chosen T = {point.threshold:.2f} (95 % of resamples {low:.2f} to {high:.2f}), presence threshold = "
        f"{presence:g}, MAE {point.error:.3f} on {len(measurements)} training and validation films"
    )
    return presence, Search("ours", point.errors, point.threshold, (low, high))


def _run(options: argparse.Namespace, console: Console) -> None:
    folder = named_weights(options.weights) or SHIPPED_WEIGHTS
    written = Path(options.write) if options.write else folder
    spec = load_spec(written, Role.OPACITY) if options.write is not None else None
    presence = None
    if options.import_legacy is not None:
        threshold = options.import_legacy
        console.print(f"T = {threshold:.2f}")
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
        load_spec(folder, Role.OPACITY)
        presence, search = _search_films(options, folder, console)
        threshold = search.threshold
        if options.curve:
            write_curves([search], options.curve)
    if spec is not None:
        chosen = replace(spec, involvement_threshold=threshold)
        write_spec(chosen if presence is None else replace(chosen, presence_threshold=presence), written)
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
