"""BS-Net on disk: ``bsnet.json`` (the spec) and ``bsnet.safetensors`` (its weights); no pickle."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import torch

from models.bsnet.ensemble import BSNetEnsemble
from models.bsnet.network import BSNet, build_bsnet
from models.bsnet.spec import BSNetSpec
from models.checkpoint import SHIPPED_WEIGHTS
from models.weight_files import (
    no_description,
    read_description,
    read_weights,
    write_description,
    write_weights,
)

SHIPPED_BSNET = SHIPPED_WEIGHTS / "bs-net"
"""Folder of the weights that come with the package."""

DESCRIPTION = "bsnet.json"
WEIGHTS = "bsnet.safetensors"


def save_bsnet(networks: Iterable[BSNet], spec: BSNetSpec, folder: Path) -> BSNetSpec:
    """Write networks that answer together.

    Parameters
    ----------
    networks : iterable of BSNet
        The members, of one description.
    spec : BSNetSpec
        That description; the number of members and the weights' file and SHA-256 are filled in.
    folder : pathlib.Path
        Made if missing.

    Returns
    -------
    BSNetSpec
        The spec as written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ensemble = BSNetEnsemble(networks, spec)
    digest = write_weights(ensemble, folder / WEIGHTS)
    written = replace(spec, members=len(ensemble.members), weights_file=WEIGHTS, weights_sha256=digest)
    return write_bsnet_spec(written, folder)


def write_bsnet_spec(spec: BSNetSpec, folder: Path) -> BSNetSpec:
    """Write ``bsnet.json`` beside weights that are there, after a calibration, say; return the spec."""
    write_description(asdict(spec), folder / DESCRIPTION)
    return spec


def load_bsnet_spec(folder: Path) -> BSNetSpec:
    """Read and check ``bsnet.json``.

    Parameters
    ----------
    folder : pathlib.Path
        The checkpoint's folder.

    Returns
    -------
    BSNetSpec

    Raises
    ------
    CheckpointError
        If the file is missing, unreadable, altered, or describes something else.
    """
    path = folder / DESCRIPTION
    content = read_description(path)
    try:
        return BSNetSpec.from_mapping(content)
    except (ValueError, KeyError, TypeError) as error:
        raise no_description(path, error) from error


def load_bsnet(folder: Path) -> BSNetEnsemble:
    """Load a BS-Net, ready for inference, on the CPU, in float32.

    Parameters
    ----------
    folder : pathlib.Path
        The checkpoint's folder.

    Returns
    -------
    BSNetEnsemble
        In evaluation mode; ``spec`` holds its description.

    Raises
    ------
    CheckpointError
        If a file is missing or altered, or the weights do not fit the network.
    """
    spec = load_bsnet_spec(folder)
    ensemble = BSNetEnsemble((build_bsnet(spec) for _ in range(spec.members)), spec)
    what = f"a BS-Net of preset {spec.preset} with {spec.encoder}"
    read_weights(ensemble, folder / spec.weights_file, spec.weights_sha256, what)
    # This layout of memory makes the depthwise convolutions of small encoders a third faster on a CPU.
    ensemble.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return ensemble.eval()
