"""Hard attention: features inside the lungs alone (Signoroni et al. 2021, "Hard/soft self-attention")."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F  # noqa: N812 - its customary name


def attended(levels: Sequence[torch.Tensor], lungs: torch.Tensor) -> list[torch.Tensor]:
    """Multiply aligned features with the aligned lungs (hard attention).

    Parameters
    ----------
    levels : sequence of torch.Tensor
        Each float32, (batch, channels, rows, columns), in the standard frame.
    lungs : torch.Tensor
        float32, (batch, 1, rows, columns), in [0, 1], in the standard frame; brought to each level's size by
        averaging areas.

    Returns
    -------
    list of torch.Tensor
        Shapes as of ``levels``; 0 wherever the lung probability is.
    """
    return [level * resized(lungs, level) for level in levels]


def resized(maps: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return maps (batch, channels, rows, columns) at the rows and columns of ``like``, areas averaged."""
    return F.adaptive_avg_pool2d(maps, (like.shape[2], like.shape[3]))
