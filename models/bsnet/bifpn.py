"""The bidirectional feature pyramid of EfficientDet (Tan, Pang & Le 2020, arXiv 1911.09070, section 3).

BS-Net's Table 10 compares it with the pyramids of ``models.bsnet.regions``. Neither torchvision nor timm nor
segmentation-models-pytorch has one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its customary name

LAYERS = 3
"""Repeats of EfficientDet-D0 (Table 1 there); BS-Net's paper does not say how many it took."""

EPSILON = 1e-4
"""Keeps the sum of a fusion's weights from 0 (section 3.3 there)."""


class Fusion(nn.Module):
    """Weighted mean of maps of one size (fast normalised fusion), then a depthwise-separable convolution.

    Parameters
    ----------
    inputs : int
        How many maps are fused.
    width : int
        Channels of each of them and of the answer.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(inputs))
        self.smooth = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.SiLU(),
        )

    def forward(self, *maps: torch.Tensor) -> torch.Tensor:
        """Fuse maps, each float32, (batch, width, rows, columns), into one of the same shape."""
        positive = F.relu(self.weights)
        shares = positive / (positive.sum() + EPSILON)
        fused = torch.stack([share * each for share, each in zip(shares, maps, strict=True)]).sum(dim=0)
        return torch.as_tensor(self.smooth(fused))


class BiFPNLayer(nn.Module):
    """One repeat: from the coarsest level to the finest, and back.

    Parameters
    ----------
    levels : int
        How many; at least two.
    width : int
        Channels of every level.
    back : bool
        Whether the way back is gone; without it the finest level alone is answered.
    """

    def __init__(self, levels: int, width: int, back: bool = True) -> None:
        super().__init__()
        self.down = nn.ModuleList(Fusion(2, width) for _ in range(levels - 1))
        self.up = nn.ModuleList()
        if back:  # The coarsest level is no node of the way down, so it has nothing third to fuse.
            self.up.extend(Fusion(3, width) for _ in range(levels - 2))
            self.up.append(Fusion(2, width))

    def forward(self, levels: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Fuse levels.

        Parameters
        ----------
        levels : sequence of torch.Tensor
            Finest first; each float32, (batch, width, rows, columns), of any size.

        Returns
        -------
        list of torch.Tensor
            Shapes as of ``levels``; the first alone without the way back.
        """
        downward = [levels[-1]]
        for fusion, level in zip(self.down, reversed(levels[:-1]), strict=True):
            downward.insert(0, fusion(level, _enlarged(downward[0], level)))
        answers = downward[:1]
        for index, fusion in enumerate(self.up, start=1):
            level = levels[index]
            # An intermediate level gives itself, too, beside its node of the way down.
            nodes = [level] if index == len(self.up) else [level, downward[index]]
            answers.append(fusion(*nodes, _reduced(answers[-1], level)))
        return answers


class BiFPN(nn.Module):
    """The bidirectional pyramid of Tan, Pang & Le 2020; the finest level is the answer.

    The last repeat ends at the finest level: what it would do on the way back would reach nothing.

    Parameters
    ----------
    level_channels : sequence of int
        Channels of the four levels, finest first.
    width : int
        Of every level of the pyramid.
    layers : int
        Repeats, at least one.
    """

    def __init__(self, level_channels: Sequence[int], width: int, layers: int = LAYERS) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))
            for channels in level_channels
        )
        self.layers = nn.Sequential(
            *(BiFPNLayer(len(level_channels), width, back=left > 0) for left in reversed(range(layers)))
        )
        self.out_channels = width

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Unite the levels (batch, channels, rows, columns), finest first, at the finest one's size.

        Parameters
        ----------
        levels : sequence of torch.Tensor
            Four, each float32, (batch, channels, rows, columns); no size need be half of another.

        Returns
        -------
        torch.Tensor
            float32, (batch, width, rows, columns) of the finest level.
        """
        narrowed = [lateral(level) for lateral, level in zip(self.lateral, levels, strict=True)]
        return torch.as_tensor(self.layers(narrowed)[0])


def _enlarged(maps: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return F.interpolate(maps, like.shape[2:], mode="nearest")


def _reduced(maps: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return F.adaptive_max_pool2d(maps, (like.shape[2], like.shape[3]))
