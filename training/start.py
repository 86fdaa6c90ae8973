"""The network a run starts from: random weights, a pre-trained encoder, or another run's checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from models.checkpoint import Role, build_network, load_checkpoint
from models.errors import CheckpointError
from training.config import TrainConfig
from training.run_options import RunOptions

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
    wanted = options.encoder_weights or config.initial.encoder_weights
    if wanted == "none":
        network = build_network(config.spec)
    elif Path(wanted).suffix == ".safetensors":
        network = build_network(config.spec)
        _load_encoder(network, Path(wanted), config.spec.encoder)
    else:
        network = _with_published_encoder(config, wanted)
    if options.init:
        _start_from(network, options.init)
    return network.to(torch.device(options.device), memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _with_published_encoder(config: TrainConfig, name: str) -> nn.Module:
    try:
        return build_network(config.spec, encoder_weights=name)
    except (OSError, ConnectionError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"the encoder weights {name!r} of {config.spec.encoder} cannot be fetched ({reason}); go "
            "online once, or name a file with --encoder-weights FILE.safetensors, or start from none with "
            "--encoder-weights none"
        ) from error


def _load_encoder(network: nn.Module, path: Path, encoder: str) -> None:
    remedy = "name a safetensors file with the state of this encoder, or --encoder-weights none"
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read the encoder weights {path}: {error}; {remedy}") from error
    target = network.get_submodule("encoder")
    expected = target.state_dict()
    missing, unexpected = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    shapes = [
        name for name in expected.keys() & tensors.keys() if expected[name].shape != tensors[name].shape
    ]
    for names, fault in (
        (missing, "lack"),
        (unexpected, "have in excess"),
        (shapes, "have in another shape"),
    ):
        if names:
            raise CheckpointError(
                f"the weights in {path} do not fit the encoder {encoder}: they {fault} {len(names)} of "
                f"its tensors, {names[0]} first; {remedy}"
            )
    target.load_state_dict({name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()})


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
