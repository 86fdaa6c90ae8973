"""Weights that an encoder starts from: by the library's name, which may download them, or from a file."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from models.errors import CheckpointError

REMEDY = (
    "start from random weights with --encoder-weights none, or name a safetensors file of that encoder's "
    "weights in their place"
)
"""What to do where weights cannot be had."""


def is_file(encoder_weights: str | None) -> bool:
    """Say whether encoder weights are named as a safetensors file rather than by the library's name."""
    return encoder_weights is not None and encoder_weights.endswith(".safetensors")


def library_argument(encoder: str, encoder_weights: str | None) -> str | bool | None:
    """Return the weights as segmentation-models-pytorch wants to be asked for them.

    Parameters
    ----------
    encoder : str
        Its name; a ``tu-`` encoder's name holds the variant of its weights after a dot.
    encoder_weights : str or None
        E.g. ``imagenet``; ``none`` as in a configuration; or a safetensors file, which the library is not
        asked for.

    Returns
    -------
    str or bool or None
        None for random weights; True for the weights that a ``tu-`` encoder's name holds.
    """
    if encoder_weights in (None, "none") or is_file(encoder_weights):
        return None
    return True if encoder.startswith("tu-") else encoder_weights


def load_encoder(encoder: nn.Module, path: Path) -> None:
    """Give an encoder the weights in a file.

    Parameters
    ----------
    encoder : torch.nn.Module
        Changed in place.
    path : pathlib.Path
        A safetensors file of the encoder, of a classifier built on it (its head is left behind), or of one of
        our own networks. Weights for three colour channels are summed for an encoder of one grey channel.

    Raises
    ------
    CheckpointError
        If the file cannot be read, or lacks weights that the encoder has, or they have another shape.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read the encoder weights {path}: {error}; {REMEDY}") from error
    wanted = encoder.state_dict()
    found = _named_as(tensors, wanted)
    wrong = [name for name in wanted if not _fits(found.get(name), wanted[name], name)]
    if wrong:
        raise CheckpointError(
            f"the encoder weights {path} are of another encoder: {len(wrong)} of {len(wanted)} tensors are "
            f"missing or of another shape, e.g. {wrong[0]}; {REMEDY}"
        )
    encoder.load_state_dict(found, strict=False)


def _named_as(tensors: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    # A whole network of ours calls its encoder "encoder."; the library wraps timm's encoders as "model.".
    inner = {
        name.removeprefix("encoder."): value for name, value in tensors.items() if "encoder." in name[:8]
    }
    tensors = inner or tensors
    wrapped = {f"model.{name}": value for name, value in tensors.items()}
    named = {name: value for name, value in (wrapped | tensors).items() if name in wanted}
    return {name: _for_grey(value, wanted[name]) for name, value in named.items()}


def _for_grey(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    # The first layer sees the film once instead of three times over, which comes to the same.
    colour = found.ndim == wanted.ndim == 4 and found.shape[1] == 3 and wanted.shape[1] == 1
    return found.sum(1, keepdim=True) if colour else found


def _fits(found: torch.Tensor | None, wanted: torch.Tensor, name: str) -> bool:
    if found is None:
        return name.endswith("num_batches_tracked")  # older files lack this count, which inference ignores
    return found.shape == wanted.shape
