"""Where a network runs."""

from __future__ import annotations

import torch

from models.errors import CheckpointError


def torch_device(name: str) -> torch.device:
    """Return the device that a setting names; on CUDA, make torch's results repeatable.

    Parameters
    ----------
    name : str
        ``cpu``, ``cuda``, or ``auto``: CUDA where there is one.

    Raises
    ------
    CheckpointError
        If CUDA is asked for and absent.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda"):
        if not torch.cuda.is_available():
            raise CheckpointError("CUDA was asked for but torch finds no GPU; set the device to cpu or auto")
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
    return torch.device(name)
