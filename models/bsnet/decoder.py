"""The lungs: nested U-Nets on an encoder's features (Signoroni et al. 2021, section "Lung segmentation").

One channel of logits with a sigmoid; the paper's text says soft-max.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from models.bsnet.encoder import Features


class LibraryDecoder(nn.Module):
    """Decoder and segmentation head of segmentation-models-pytorch.

    Parameters
    ----------
    nodes, head : torch.nn.Module
        As the library built them.
    """

    def __init__(self, nodes: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.nodes = nodes
        self.head = head

    def forward(self, features: Features) -> torch.Tensor:
        """Return logits, (batch, 1, rows, columns) of the film."""
        finest = features.skips[0]
        # Of the first of its six maps, which is the film, the library takes the size alone.
        film = finest.new_empty(len(finest), 0, 2 * finest.shape[2], 2 * finest.shape[3])
        logits: torch.Tensor = self.head(self.nodes([film, *features.skips, features.downs[-1]]))
        return logits


class NestedDecoder(nn.Module):
    """Nested U-Net of the published code.

    Node (row, column) enlarges node (row + 1, column - 1), joins it with all earlier nodes of its row, and
    convolves once. Row 0 has the film's size, no skip connection and one node; row 4 has stride 16.

    Parameters
    ----------
    skip_channels, down_channels : sequence of int
        Of ``Features.skips`` and ``Features.downs``.
    widths : sequence of int
        Width of the nodes' rows, from row 4 to row 0. (The published code takes 16 for row 4, by an index
        below zero.)
    """

    def __init__(
        self, skip_channels: Sequence[int], down_channels: Sequence[int], widths: Sequence[int]
    ) -> None:
        super().__init__()
        self.depth = len(widths) - 1
        width = tuple(reversed(widths))
        self.nodes = nn.ModuleDict()
        for row in range(1, self.depth + 1):
            for column in range(1, self.depth - row + 2):
                below = down_channels[row - 1] if column == 1 else width[row + 1]
                beside = skip_channels[row - 1] + (column - 1) * width[row]
                self.nodes[f"{row}_{column}"] = _Node(below, beside, width[row])
        self.nodes[f"0_{self.depth + 1}"] = _Node(width[1], 0, width[0])
        self.head = nn.Conv2d(width[0], 1, 3, padding=1)

    def forward(self, features: Features) -> torch.Tensor:
        """Return logits, (batch, 1, rows, columns) of the film."""
        rows = [[skip] for skip in features.skips]
        for column in range(1, self.depth + 1):
            for row in range(1, self.depth - column + 2):
                below = features.downs[row - 1] if column == 1 else rows[row][column - 1]
                rows[row - 1].append(self.nodes[f"{row}_{column}"](below, rows[row - 1]))
        last = self.nodes[f"0_{self.depth + 1}"](rows[0][self.depth], [])
        logits: torch.Tensor = self.head(last)
        return logits


class _Node(nn.Module):
    """Transposed convolution, batch-norm, ReLU; join; convolution, batch-norm, ReLU."""

    def __init__(self, below: int, beside: int, width: int) -> None:
        super().__init__()
        self.enlarge = nn.Sequential(
            nn.ConvTranspose2d(below, width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.convolve = nn.Sequential(
            nn.Conv2d(width + beside, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )

    def forward(self, below: torch.Tensor, beside: Sequence[torch.Tensor]) -> torch.Tensor:
        joined = torch.cat([self.enlarge(below), *beside], dim=1)
        result: torch.Tensor = self.convolve(joined)
        return result
