"""Train BS-Net in phases, from part to whole (Signoroni et al. 2021).

    python -m training.train_bsnet --config training/configs/bsnet/compact.toml --data DIR --out runs/bsnet

Started again with the same ``--out`` it goes on where it stopped. Each phase has a folder there (``1-lungs``
to ``5-presence``) with ``log.jsonl`` and files for TensorBoard; at the end ``bsnet.json`` and
``bsnet.safetensors`` lie in ``--out``. ``--join RUN RUN ...`` makes one checkpoint of several runs of one
configuration, whose networks then answer together.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from models.bsnet.checkpoint import load_bsnet, save_bsnet
from models.errors import CheckpointError
from training.bsnet.films import FilmSets, prepare_films
from training.bsnet.run import TrainingError, finish, phases_of, run_phases
from training.bsnet.settings import FOLDER, PHASES, BSNetTraining, read_training, with_epochs
from training.bsnet.start import start_bsnet
from training.data.data_folder import add_data_argument
from training.data.dataset import DataError, Film, read_manifest
from training.data.folds import Fold, with_fold
from training.learning.config import ConfigError
from training.learning.run_options import start_logging

log = logging.getLogger(__name__)

SHARES = "zone_shares.safetensors"
"""What the two-stage scorer finds on the training films; copy it to another run to save its minutes."""

LICENCE = "CC BY-NC-SA 4.0: non-commercial research, share-alike"
"""Of weights that learnt from Brixia scores; those are under this licence."""


@dataclass(frozen=True)
class Options:
    """What the command line adds to a configuration.

    Parameters
    ----------
    data, out : pathlib.Path
        Data folder and the run's folder.
    init : pathlib.Path or None
        Folder of a BS-Net to start from.
    phase : str
        The one phase to run, by name; empty for all.
    fold : Fold or None
        Part of the training and validation films that is held out in place of the split ``val``.
    everything : bool
        Learn from the validation films too, for a last refit; the validation figures then say nothing.
    seed : int or None
        In place of the configuration's.
    """

    data: Path
    out: Path
    init: Path | None = None
    phase: str = ""
    fold: Fold | None = None
    everything: bool = False
    seed: int | None = None


def train_bsnet(training: BSNetTraining, options: Options, films: Sequence[Film] | None = None) -> None:
    """Run a training to its end, or to that of one phase, and leave the checkpoint in ``options.out``.

    Parameters
    ----------
    training : BSNetTraining
        Settings.
    options : Options
        Where the data are and what to do with them.
    films : sequence of Film, optional
        In place of those of the data folder.

    Raises
    ------
    training.data.dataset.DataError
        If the data folder cannot be used.
    training.learning.config.ConfigError, models.errors.CheckpointError
        If the network or its start cannot be had.
    training.bsnet.run.TrainingError
        If a run cannot go on.
    """
    training = training if options.seed is None else replace(training, seed=options.seed)
    training = replace(training, spec=replace(training.spec, licence=LICENCE))
    options.out.mkdir(parents=True, exist_ok=True)
    network = start_bsnet(training, options.init)
    if training.protocol != "full":
        films = read_manifest(options.data) if films is None else films
        films = with_fold(films, options.fold) if options.fold else films
        sets = prepare_films(films, options.data, training.films, training.spec, options.out / SHARES)
        if options.everything:
            sets = FilmSets(sets.training + sets.validation, sets.validation)
        network = run_phases(training, network, sets, options.out, options.phase)
    if not options.phase or [options.phase] == phases_of(training, network)[-1:]:
        finish(training, network, options.out, _command(training))


def join(runs: Sequence[Path], out: Path) -> None:
    """Make one checkpoint of several, whose networks then answer together.

    Raises
    ------
    models.errors.CheckpointError
        If a run has no checkpoint, or their networks are not of one description.
    """
    ensembles = [load_bsnet(run) for run in runs]
    specs = {replace(one.spec, members=1, weights_file="", weights_sha256="") for one in ensembles}
    if len(specs) > 1:
        raise CheckpointError("the runs' networks are not of one description; join runs of one configuration")
    save_bsnet([member for one in ensembles for member in one.members], ensembles[0].spec, out)  # type: ignore[misc]


def _command(training: BSNetTraining) -> str:
    return (
        f"python -m training.train_bsnet, preset {training.spec.preset}, steps in training/BSNET.md; "
        "see models/BSNET_CARD.md for data and licences: non-commercial research, share-alike"
    )


def _config_path(name: str) -> Path:
    path, known = Path(name), FOLDER / f"{name}.toml"
    if path.is_file() or not known.is_file():
        return path
    return known


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.train_bsnet", description="Train BS-Net; a run that was stopped goes on."
    )
    parser.add_argument("--config", help="TOML file, or the name of one in training/configs/bsnet")
    add_data_argument(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--init", type=Path, help="folder of a BS-Net whose weights to start from")
    parser.add_argument("--phase", type=int, choices=range(1, len(PHASES) + 1), help="run this phase alone")
    parser.add_argument("--fold", type=Fold.parse, metavar="K/N", help="hold out this part, by patient")
    parser.add_argument("--everything", action="store_true", help="learn from validation films too")
    parser.add_argument("--seed", type=int, help="in place of the configuration's")
    parser.add_argument("--epochs", type=int, help="at most so many a phase, for a quick check")
    parser.add_argument("--join", type=Path, nargs="+", metavar="RUN", help="make one checkpoint of several")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and train."""
    parser = _parser()
    known = parser.parse_args(arguments)
    start_logging()
    try:
        if known.join:
            join(known.join, known.out)
            return
        if not known.config:
            parser.error("--config is needed, or --join")
        training = read_training(_config_path(known.config))
        training = with_epochs(training, known.epochs) if known.epochs is not None else training
        phase = PHASES[known.phase - 1] if known.phase else ""
        options = Options(known.data, known.out, known.init, phase, known.fold, known.everything, known.seed)
        train_bsnet(training, options)
    except (ConfigError, DataError, CheckpointError, TrainingError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on after the last whole epoch")


if __name__ == "__main__":
    main()
