"""The state of a training run on disk, so that a stopped run goes on: safetensors and JSON, no pickle."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from training.learning.early_stopping import EarlyStopping

STATE = "state.safetensors"


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
    stopped : bool
        True once early stopping has ended the run.
    """

    epoch: int = 0
    elapsed_s: float = 0.0
    best: float = float("-inf")
    stopped: bool = False


@dataclass
class Learner:
    """What changes while a run learns.

    Parameters
    ----------
    network, average : torch.nn.Module
        The network, and the running mean of its weights.
    optimizer : torch.optim.Optimizer
        Of the network's weights.
    scaler : torch.amp.GradScaler
        Of the loss, for fp16; does nothing otherwise.
    stopping : EarlyStopping or None
        None for a run of a fixed length.
    """

    network: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    stopping: EarlyStopping | None


def save_state(folder: Path, learner: Learner, progress: Progress) -> None:
    """Write ``state.safetensors``, whole or not at all.

    Numbers go into the file's header, as JSON, so that they and the tensors are always of one epoch.
    """
    tensors = {f"network.{name}": value for name, value in learner.network.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in learner.average.state_dict().items()}
    for index, moments in learner.optimizer.state_dict()["state"].items():
        tensors |= {
            f"optimizer.{index}.{name}": value for name, value in moments.items() if value is not None
        }
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    numbers = {
        "progress": asdict(progress),
        "scaler": learner.scaler.state_dict(),
        "stopping": learner.stopping.as_dict() if learner.stopping else None,
    }
    partial = folder / "state.part"
    content = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    save_file(content, partial, {name: json.dumps(value) for name, value in numbers.items()})
    partial.replace(folder / STATE)


def load_state(folder: Path, learner: Learner) -> Progress:
    """Bring a run back to where ``save_state`` left it; without a state it starts from the beginning."""
    if not (folder / STATE).is_file():
        return Progress()
    tensors = load_file(folder / STATE)
    with safe_open(folder / STATE, "pt") as file:
        numbers = {name: json.loads(value) for name, value in file.metadata().items()}
    learner.network.load_state_dict(_below(tensors, "network."))
    learner.average.load_state_dict(_below(tensors, "average."))
    _load_moments(learner.optimizer, _below(tensors, "optimizer."))
    learner.scaler.load_state_dict(numbers["scaler"])
    if numbers["stopping"]:
        learner.stopping = EarlyStopping.from_dict(numbers["stopping"])
    torch.set_rng_state(tensors["random.cpu"])
    if torch.cuda.is_available() and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])
    return Progress(**numbers["progress"])


def _load_moments(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        index, moment = name.split(".", 1)
        parameter = parameters[int(index)]
        if value.shape == parameter.shape and value.ndim:
            # In the parameter's memory format: sums in another order would not be bit-equal.
            value = torch.empty_like(parameter, requires_grad=False).copy_(value)  # noqa: PLW2901
        moments.setdefault(int(index), {})[moment] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
