"""The network a run starts from: random weights, a pre-trained encoder, or another run's checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import nn

from models.checkpoint import Role, build_network, load_checkpoint
from models.errors import CheckpointError
from training.learning.config import TrainConfig
from training.learning.run_options import RunOptions

log = logging.getLogger(__name__)


def start_network(config: TrainConfig, options: RunOptions) -> nn.Module:
    """Build a run's network with the weights it starts from, in training mode, on the run's device.

    Parameters
    ----------
    config : TrainConfig
        Names network and encoder weights.
    options : RunOptions
        May name other encoder weights, and a checkpoint to start from.

    Returns
    -------
    torch.nn.Module
        In channels-last memory format.

    Raises
    ------
    models.errors.CheckpointError
        If the network cannot be built, or the weights cannot be had or do not fit.
    """
    network = build_network(config.spec, options.encoder_weights or config.initial.encoder_weights)
    if options.init:
        _start_from(network, options.init)
    return network.to(torch.device(options.device), memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _start_from(network: nn.Module, folder: Path) -> None:
    role = Role.LUNGS if (folder / "lungs.json").is_file() else Role.OPACITY
    other, _ = load_checkpoint(folder, role)
    try:
        missing, unexpected = network.load_state_dict(other.state_dict(), strict=False)
    except RuntimeError as error:
        raise CheckpointError(
            f"the network in {folder} has other shapes than this run's ({error}); start from one of its kind"
        ) from error
    log.info("started from %s; new here: %s; left behind: %s", folder, missing, unexpected)
