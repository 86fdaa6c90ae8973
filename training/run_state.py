"""The state of a training run on disk, so that a stopped run goes on: safetensors and JSON, no pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn


@dataclass
class Progress:
    """Where a run stands.

    Parameters
    ----------
    epoch : int
        Epochs finished.
    elapsed_s : float
        Time spent on them.
    best : float
        Best validation figure so far.
    """

    epoch: int = 0
    elapsed_s: float = 0.0
    best: float = float("-inf")


def save_state(
    folder: Path, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write ``state.safetensors`` and ``state.json``; a crash in between leaves the former state usable."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
    partial = folder / "state.part"
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, partial)
    partial.replace(folder / "state.safetensors")
    (folder / "state.json").write_text(json.dumps(vars(progress)), encoding="utf-8")


def load_state(
    folder: Path, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> Progress:
    """Bring a run back to where ``save_state`` left it; without a state it starts from the beginning."""
    if not (folder / "state.json").is_file():
        return Progress()
    tensors = load_file(folder / "state.safetensors")
    network.load_state_dict(_below(tensors, "network."))
    average.load_state_dict(_below(tensors, "average."))
    moments: dict[int, dict[str, Any]] = {}
    for name, value in _below(tensors, "optimizer.").items():
        index, moment = name.split(".", 1)
        moments.setdefault(int(index), {})[moment] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    return Progress(**json.loads((folder / "state.json").read_text(encoding="utf-8")))


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
