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
from training.bootstrap import interval
from training.data_folder import add_data_argument
from training.dataset import DataError, read_manifest
from training.scoring import FilmMeasurement, measure_films, named_weights

GRID = np.arange(101) / 100
PUBLISHED_PRESENCE = 0.5
"""Danilov et al. 2022, Eq. 2."""
PRESENCE_GRID = (0.05, 0.1, 0.2, 0.3, 0.4, PUBLISHED_PRESENCE)


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
    """

    threshold: float
    error: float
    curve: NDArray[np.float64]


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
    scores = (shares[:, None, :] > GRID[None, :, None]).sum(axis=2)
    curve = np.abs(scores - readers[:, None]).mean(axis=0)
    index = _middle_of_longest_run(np.isclose(curve, curve.min(), atol=1e-9))
    return OperatingPoint(float(GRID[index]), float(curve[index]), curve)


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


def _choose_gated(measurements: Sequence[FilmMeasurement], presence: float) -> OperatingPoint:
    readers = np.array([item.film.consensus or 0.0 for item in measurements])
    return choose(_gated(measurements, presence), readers)


def _gated(measurements: Sequence[FilmMeasurement], presence: float) -> NDArray[np.float64]:
    return np.array([item.shares * (item.presence >= presence) for item in measurements])


def _middle_of_longest_run(best: NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], best.astype(int), [0]))))
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    return int((starts[longest] + ends[longest] - 1) // 2)


def main() -> None:
    """Read the command line, measure, choose, print, write."""
    parser = argparse.ArgumentParser(prog="python -m training.operating_point", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_data_argument(parser)
    parser.add_argument(
        "--weights", help="a folder of weights, or the name of a folder beside the shipped ones"
    )
    parser.add_argument("--write", nargs="?", const="", help="put them into the weights' opacity.json")
    options = parser.parse_args()
    folder = named_weights(options.weights) or SHIPPED_WEIGHTS
    try:
        films = [film for film in read_manifest(options.data) if film.split in ("train", "val")]
        judged = [film for film in films if film.consensus is not None or film.normal]
        measurements = measure_films(judged, folder)
        written = Path(options.write) if options.write else folder
        spec = load_spec(written, Role.OPACITY)
    except (DataError, CheckpointError) as error:
        sys.exit(f"error: {error}")
    presence, point = choose_both(measurements)
    groups = [item.film.group for item in measurements]
    low, high = interval(
        lambda drawn: choose_both([measurements[index] for index in drawn])[1].threshold, groups, 200
    )
    console = Console()
    for value, mean in zip(GRID[::4], point.curve[::4], strict=True):
        console.print(f"T = {value:.2f}  MAE {mean:.3f}")
    console.print(
        f"chosen T = {point.threshold:.2f} (95 % of resamples {low:.2f} to {high:.2f}), presence threshold = "
        f"{presence:g}, MAE {point.error:.3f} on {len(measurements)} training and validation films"
    )
    if options.write is not None:
        chosen = replace(spec, involvement_threshold=point.threshold, presence_threshold=presence)
        write_spec(chosen, written)
        console.print(f"written to {written / 'opacity.json'}")


if __name__ == "__main__":
    main()
