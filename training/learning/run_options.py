"""What the command line adds to a run's configuration."""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from rich.console import Console
from rich.logging import RichHandler

from training.data.data_folder import add_data_argument
from training.data.folds import Fold
from training.learning import presets
from training.learning.config import ConfigError, TrainConfig, read_config

CONSOLE = Console(stderr=True)
"""Where commands of this package report what they are doing; results go to standard output."""


@dataclass(frozen=True)
class RunOptions:
    """Where the data are, and what to do with them.

    Parameters
    ----------
    data, out : pathlib.Path
        Data folder and the run's folder.
    lungs : pathlib.Path or None
        Checkpoint folder of stage I, which cuts stage II's views; None for stage I itself.
    init : pathlib.Path or None
        Checkpoint folder whose weights a run starts from, of either role.
    encoder_weights : str or None
        In place of the configuration's ``initial.encoder_weights``.
    device : str
        ``cpu`` or ``cuda``.
    minutes : float
        The schedule is shortened to end after this long.
    everything : bool
        Learn from the validation films too (the figures then say nothing); for a last refit.
    steps : int
        Stop each epoch after so many steps; 0 for all of them.
    fold : Fold or None
        The part of the training and validation films that is held out, in place of the split ``val``.
    guesses : pathlib.Path or None
        Folder of guessed opacity masks; see ``training.guesses``.
    cache : pathlib.Path or None
        Folder for films that stage I has cut, shared by runs on the same films; None for the run's own.
    """

    data: Path
    out: Path
    lungs: Path | None = None
    init: Path | None = None
    encoder_weights: str | None = None
    device: str = "cpu"
    minutes: float = math.inf
    everything: bool = False
    steps: int = 0
    fold: Fold | None = None
    guesses: Path | None = None
    cache: Path | None = None


def run_parser(program: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with what every command that trains takes: a configuration and ``RunOptions``."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument(
        "--config", required=True, help="TOML file, e.g. training/configs/lungs.toml, or a preset's name"
    )
    add_data_argument(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--lungs", type=Path, help="checkpoint folder of stage I (for stage II)")
    parser.add_argument("--init", type=Path, help="checkpoint folder whose weights to start from")
    parser.add_argument(
        "--encoder-weights",
        metavar="FILE|imagenet|none",
        help="what the encoder starts from, in place of the configuration's",
    )
    parser.add_argument("--device", default=default_device())
    return parser


def parsed(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None
) -> tuple[TrainConfig, RunOptions, argparse.Namespace]:
    """Parse a command line, set up logging, and read the configuration it names.

    Returns
    -------
    config : TrainConfig
        What ``--config`` names.
    options : RunOptions
        What the other arguments say.
    everything : argparse.Namespace
        All arguments, for those that only one command has.

    Raises
    ------
    training.learning.config.ConfigError
        If there is no such configuration, or it is wrong.
    """
    namespace = parser.parse_args(arguments)
    start_logging()
    known = {item.name for item in fields(RunOptions)}
    options = RunOptions(**{name: value for name, value in vars(namespace).items() if name in known})
    return read_config(config_path(namespace.config)), options, namespace


def start_logging() -> None:
    """Let what this package logs appear on the console, between its progress bars."""
    handler = RichHandler(console=CONSOLE, show_path=False)
    logging.basicConfig(level=logging.INFO, format="%(message)s", datefmt="%X", handlers=[handler])


def be_quiet() -> None:
    """Show no progress bars in this process: several processes would draw over each other's."""
    CONSOLE.quiet = True


def config_path(name: str) -> Path:
    """Return the file that ``--config`` names: a file, or a preset by its name.

    Raises
    ------
    training.learning.config.ConfigError
        If it is neither.
    """
    if Path(name).is_file():
        return Path(name)
    if name in presets.names():
        return presets.path(name)
    known = ", ".join(presets.names())
    raise ConfigError(f"there is neither a file nor a preset {name}; name a TOML file or one of {known}")


def default_device() -> str:
    """Return ``cuda`` where torch finds a GPU, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"
