"""The network that a BS-Net training starts from."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from models.bsnet.checkpoint import load_bsnet
from models.bsnet.decoder import LibraryDecoder
from models.bsnet.network import BSNet, build_bsnet
from models.checkpoint import Role, load_checkpoint, weights_folder
from models.errors import CheckpointError
from training.bsnet.settings import BSNetTraining
from training.learning.config import ConfigError

SHIPPED = "shipped"
"""In a configuration: the folder of the shipped two-stage weights, in place of a path."""

log = logging.getLogger(__name__)


def start_bsnet(training: BSNetTraining, init: Path | None = None) -> BSNet:
    """Build the network with the weights it starts from.

    Parameters
    ----------
    training : BSNetTraining
        Names the network, its encoder's weights and a stage I whose decoder it takes.
    init : pathlib.Path, optional
        Folder of a BS-Net whose weights it starts from; needed for the protocols ``fine-tune`` and ``full``.

    Returns
    -------
    BSNet
        In channels-last memory format.

    Raises
    ------
    training.learning.config.ConfigError
        If the protocol needs weights to start from and there are none.
    models.errors.CheckpointError
        If the network cannot be built, or the weights cannot be had or do not fit.
    """
    if training.protocol != "scratch" and init is None:
        raise ConfigError(f'protocol "{training.protocol}" starts from given weights; name them with --init')
    torch.manual_seed(training.seed)
    network = build_bsnet(
        training.spec,
        _encoder_weights(training.encoder_weights),
        _encoder_weights(training.presence_fit.encoder_weights),
    )
    if training.lung_decoder:
        _take_decoder(network, training.lung_decoder)
    if init is not None:
        _take_weights(network, init)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def shipped_or(folder: str) -> Path:
    """Return the checkpoint folder that a configuration names."""
    return weights_folder(None if folder == SHIPPED else folder)


def _encoder_weights(name: str) -> str:
    role = name.removeprefix(f"{SHIPPED}/")
    return str(shipped_or(SHIPPED) / f"{role}.safetensors") if role != name else name


def _take_decoder(network: BSNet, folder: str) -> None:
    stage, _ = load_checkpoint(shipped_or(folder), Role.LUNGS)
    try:
        if not isinstance(network.decoder, LibraryDecoder):
            raise CheckpointError(f"the decoder {network.spec.decoder} cannot start from a stage I")
        network.decoder.nodes.load_state_dict(stage.decoder.state_dict())  # type: ignore[union-attr]
        network.decoder.head.load_state_dict(stage.segmentation_head.state_dict())  # type: ignore[union-attr]
    except RuntimeError as error:
        raise CheckpointError(
            f"the decoder of the lungs in {folder} has other shapes than this network's ({error}); take the "
            "same encoder, decoder and decoder_channels, or leave lung_decoder out"
        ) from error


def _take_weights(network: BSNet, folder: Path) -> None:
    ensemble = load_bsnet(folder)
    member = ensemble.members[0]
    try:
        missing, unexpected = network.load_state_dict(member.state_dict(), strict=False)
    except RuntimeError as error:
        raise CheckpointError(
            f"the network in {folder} has other shapes than this run's ({error}); start from one of its kind"
        ) from error
    log.info("started from %s; new here: %s; left behind: %s", folder, missing, unexpected)
