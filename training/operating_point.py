"""Choose the two thresholds of the score on the training and validation films.

    python -m training.operating_point --data DIR --weights FOLDER [--write]

T is the share of a zone above which it counts, on a grid of 0.00 to 1.00 in steps of 0.01; of several best
values the middle of the longest run is taken. The presence threshold is the classification head's
probability below which a film has no opacity at all. Both together have the least mean absolute error of
the 0-6 score, over films with readers' scores and films that their source calls normal (which count as 0).
``--write`` puts them into ``opacity.json``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
PRESENCE_GRID = (0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.0)


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
    """Find the presence and the involvement threshold that are best together.

    Parameters
    ----------
    measurements : sequence of FilmMeasurement
        Films with a readers' score, or normal.

    Returns
    -------
    presence_threshold : float
        The largest of equally good ones.
    point : OperatingPoint
        T at that presence threshold.
    """
    shares = np.stack([item.shares for item in measurements])
    presence = np.array([item.presence for item in measurements])
    readers = np.array([item.film.consensus or 0.0 for item in measurements])
    points = [
        (threshold, choose(shares * (presence >= threshold)[:, None], readers)) for threshold in PRESENCE_GRID
    ]
    return min(points, key=lambda pair: round(pair[1].error, 6))


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
    parser.add_argument("--write", action="store_true", help="put the thresholds into opacity.json")
    options = parser.parse_args()
    folder = named_weights(options.weights) or SHIPPED_WEIGHTS
    try:
        films = [film for film in read_manifest(options.data) if film.split in ("train", "val")]
        judged = [film for film in films if film.consensus is not None or film.normal]
        measurements = measure_films(judged, folder)
        spec = load_spec(folder, Role.OPACITY)
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
    if options.write:
        chosen = replace(spec, involvement_threshold=point.threshold, presence_threshold=presence)
        write_spec(chosen, folder)
        console.print(f"written to {folder / 'opacity.json'}")


if __name__ == "__main__":
    main()
