"""Choose the involvement threshold T on the training and validation films.

    python -m training.operating_point --data DIR --weights FOLDER [--write]

T is the share of a zone above which it counts. The grid is 0.00 to 1.00 in steps of 0.01; of several best
values the middle of the longest run is taken. ``--write`` puts it into the folder's ``opacity.json``.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from models.checkpoint import SHIPPED_WEIGHTS, Role, load_spec, write_spec
from models.errors import CheckpointError
from training.bootstrap import interval
from training.data_folder import add_data_argument
from training.dataset import DataError, read_manifest
from training.scoring import named_weights, score_films

GRID = np.arange(101) / 100


@dataclass(frozen=True)
class OperatingPoint:
    """A chosen threshold.

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
    """Find the threshold with the least mean absolute error.

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


def _middle_of_longest_run(best: NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], best.astype(int), [0]))))
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    return int((starts[longest] + ends[longest] - 1) // 2)


def main() -> None:
    """Read the command line, score, choose, print, write."""
    parser = argparse.ArgumentParser(prog="python -m training.operating_point", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_data_argument(parser)
    parser.add_argument(
        "--weights", help="a folder of weights, or the name of a folder beside the shipped ones"
    )
    parser.add_argument("--write", action="store_true", help="put the threshold into opacity.json")
    options = parser.parse_args()
    folder = named_weights(options.weights) or SHIPPED_WEIGHTS
    try:
        films = [film for film in read_manifest(options.data) if film.split in ("train", "val")]
        outcomes = score_films([film for film in films if film.consensus is not None], folder)
        spec = load_spec(folder, Role.OPACITY)
    except (DataError, CheckpointError) as error:
        sys.exit(f"error: {error}")
    scored = [outcome for outcome in outcomes if outcome.shares is not None]
    shares = np.stack([outcome.shares for outcome in scored if outcome.shares is not None])
    readers = np.array([outcome.film.consensus for outcome in scored], float)
    point = choose(shares, readers)
    groups = [outcome.film.group for outcome in scored]
    low, high = interval(lambda drawn: choose(shares[drawn], readers[drawn]).threshold, groups)
    console = Console()
    for value, mean in zip(GRID[::4], point.curve[::4], strict=True):
        console.print(f"T = {value:.2f}  MAE {mean:.3f}")
    console.print(
        f"chosen T = {point.threshold:.2f} (95 % of resamples {low:.2f} to {high:.2f}), "
        f"MAE {point.error:.3f} on {len(scored)} training and validation films"
    )
    if options.write:
        write_spec(replace(spec, involvement_threshold=point.threshold), folder)
        console.print(f"written to {folder / 'opacity.json'}")


if __name__ == "__main__":
    main()
