"""A network's answer in training: normalised input, mixed precision, logits as float32."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import nn

from models.segmenter import normalised
from training.learning.config import ConfigError, TrainConfig
from training.learning.objectives import Answer

CPU_DESCRIPTION = Path("/proc/cpuinfo")
BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})


def forward(network: nn.Module, views: torch.Tensor, config: TrainConfig) -> Answer:
    """Run a network on a batch of views.

    Parameters
    ----------
    network : torch.nn.Module
        What ``models.checkpoint.build_network`` returns.
    views : torch.Tensor
        float32 in [0, 1], (batch, 1, rows, columns), before normalisation.
    config : TrainConfig
        The run's settings.

    Returns
    -------
    Answer
        Logits.
    """
    inputs = normalised(views, config.spec).contiguous(memory_format=torch.channels_last)
    kind = autocast_type(config.schedule.precision, inputs.device)
    with torch.autocast(inputs.device.type, kind or torch.bfloat16, enabled=kind is not None):
        answer = network(inputs)
    mask, presence = answer if isinstance(answer, tuple) else (answer, None)
    return mask.float(), None if presence is None else presence.float()


def autocast_type(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the number type of the forward pass.

    Parameters
    ----------
    precision : str
        See ``training.learning.settings.Schedule``.
    device : torch.device
        Where the network is.

    Returns
    -------
    torch.dtype or None
        None for float32 throughout.

    Raises
    ------
    training.learning.config.ConfigError
        If the precision does not exist.
    """
    named = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
    if precision in named:
        return named[precision]
    if precision != "auto":
        raise ConfigError(f"there is no precision {precision!r}; choose auto, {', '.join(named)}")
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if _cpu_computes_bf16() else None


@cache
def _cpu_computes_bf16() -> bool:
    # Without these instructions, bf16 is emulated and slower than float32.
    try:
        text = CPU_DESCRIPTION.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return not BF16_FLAGS.isdisjoint(flags.split())
