"""Join runs of one configuration into one checkpoint whose networks answer together.

    python -m training.join runs/fold1 runs/fold2 runs/fold3 --out runs/weights --mirrored

The role is that of the checkpoints found. A single run is copied, with the changes asked for. ``--average``
makes one network of the mean weights instead, which only makes sense of runs that started from the same
trained weights (``training.train --init``).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from models.checkpoint import NetworkSpec, Role, load_checkpoint, save_checkpoint
from models.ensemble import Ensemble
from models.errors import CheckpointError
from training.learning.run_options import CONSOLE

EACH_ITS_OWN = {"weights_file": "", "weights_sha256": "", "training": ""}
"""What may differ between the descriptions of networks that answer together."""


def join(
    runs: Sequence[Path],
    out: Path,
    mirrored: bool = False,
    side: int | None = None,
    average: bool = False,
) -> NetworkSpec:
    """Write one checkpoint from several.

    Parameters
    ----------
    runs : sequence of pathlib.Path
        Folders with checkpoints of one role and description.
    out : pathlib.Path
        Folder of the result.
    mirrored : bool
        The result also averages over the mirror image.
    side : int, optional
        Rows and columns of the input, where they are not to be those of training.
    average : bool
        One network of the mean weights, not several that answer together.

    Returns
    -------
    NetworkSpec
        The result's.

    Raises
    ------
    models.errors.CheckpointError
        If a checkpoint cannot be read, or they do not fit together.
    """
    role = Role.LUNGS if (runs[0] / "lungs.json").is_file() else Role.OPACITY
    networks, specs = zip(*(load_checkpoint(run, role) for run in runs), strict=True)
    for run, spec in zip(runs, specs, strict=True):
        if replace(spec, **EACH_ITS_OWN) != replace(specs[0], **EACH_ITS_OWN) or spec.members != 1:
            raise CheckpointError(
                f"{run} and {runs[0]} hold networks of different descriptions, or of several members; join "
                "single networks of one configuration"
            )
    spec = replace(specs[0], members=1 if average else len(runs), mirrored=mirrored)
    if side:
        spec = replace(spec, input_shape=(side, side))
    if average:
        networks[0].load_state_dict(_mean([network.state_dict() for network in networks]))
    return save_checkpoint(Ensemble(networks) if spec.members > 1 else networks[0], spec, out)


def _mean(states: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point() else value
        for name, value in states[0].items()
    }


def main() -> None:
    """Read the command line and join."""
    parser = argparse.ArgumentParser(prog="python -m training.join", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("runs", type=Path, nargs="+", help="run folders")
    parser.add_argument("--out", type=Path, required=True, help="folder of the result")
    parser.add_argument("--mirrored", action="store_true", help="average over the mirror image too")
    parser.add_argument("--average", action="store_true", help="one network of the mean weights")
    parser.add_argument("--side", type=int, help="rows and columns of the input, if not those of training")
    options = parser.parse_args()
    try:
        spec = join(options.runs, options.out, options.mirrored, options.side, options.average)
    except CheckpointError as error:
        sys.exit(f"error: {error}")
    CONSOLE.print(f"{options.out / spec.weights_file}: {spec.members} networks")


if __name__ == "__main__":
    main()
