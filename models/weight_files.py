"""A network on disk: a JSON description and a weight file (safetensors, float16), each with its SHA-256.

A missing, altered or mixed-up file is found before anything is scored. What a description says is for others
to know: ``models.checkpoint``, ``models.bsnet.checkpoint``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from models.errors import CheckpointError

OTHER_WEIGHTS = "install the package again, or name another folder of weights"
"""What to do about files that cannot be used."""

_DIGEST = "spec_sha256"


def write_description(content: Mapping[str, Any], path: Path) -> None:
    """Write a description with its own SHA-256.

    Parameters
    ----------
    content : Mapping[str, object]
        Whatever JSON can hold; tuples become lists.
    path : pathlib.Path
        The JSON file, in a folder that exists.
    """
    plain = json.loads(json.dumps(content))
    plain[_DIGEST] = _description_digest(plain)
    path.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")


def read_description(path: Path) -> dict[str, Any]:
    """Read a description and check that it is as it was written.

    Parameters
    ----------
    path : pathlib.Path
        The JSON file.

    Returns
    -------
    dict
        As given to ``write_description``, tuples as lists.

    Raises
    ------
    CheckpointError
        If the file is missing, unreadable or altered.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        digest = content.pop(_DIGEST)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; {OTHER_WEIGHTS}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise no_description(path, error) from error
    if digest != _description_digest(content):
        raise CheckpointError(
            f"{path} was altered after it was written (its SHA-256 differs); {OTHER_WEIGHTS}"
        )
    return dict(content)


def no_description(path: Path, error: Exception) -> CheckpointError:
    """Return the error for a file that describes no network of the kind that is wanted."""
    return CheckpointError(f"{path} is not a network's description ({error}); {OTHER_WEIGHTS}")


def write_weights(network: nn.Module, path: Path) -> str:
    """Write a network's weights, numbers as float16, and return the file's SHA-256.

    Parameters
    ----------
    network : torch.nn.Module
        On any device.
    path : pathlib.Path
        The safetensors file, in a folder that exists.
    """
    content = save({name: _half(tensor) for name, tensor in network.state_dict().items()})
    path.write_bytes(content)
    return _sha256(content)


def read_weights(network: nn.Module, path: Path, digest: str, what: str) -> None:
    """Give a network the weights in a file.

    Parameters
    ----------
    network : torch.nn.Module
        Changed in place; float32, on the CPU.
    path : pathlib.Path
        The safetensors file.
    digest : str
        The SHA-256 that it should have.
    what : str
        The network in words, for messages.

    Raises
    ------
    CheckpointError
        If the file is missing or altered, or does not fit the network.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; {OTHER_WEIGHTS}") from error
    found = _sha256(content)
    if found != digest:
        raise CheckpointError(
            f"{path} is not the file its description names (SHA-256 {found[:12]}…, "
            f"expected {digest[:12]}…); {OTHER_WEIGHTS}"
        )
    try:
        network.load_state_dict({name: _single(tensor) for name, tensor in load(content).items()})
    except (RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"the weights in {path} do not fit {what}: {error}; {OTHER_WEIGHTS}") from error


def _half(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.half() if tensor.is_floating_point() else tensor


def _single(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _description_digest(content: Mapping[str, Any]) -> str:
    return _sha256(json.dumps(content, sort_keys=True).encode())
