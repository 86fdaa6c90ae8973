"""The features of a film: encoders of segmentation-models-pytorch, and the published code's ResNet-18.

Both give ``Features``, so that what follows need not know which it was.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its customary name


class Features(NamedTuple):
    """What an encoder sees in a batch of films; each entry float32, (batch, channels, rows, columns).

    Parameters
    ----------
    levels : tuple of torch.Tensor
        Strides 4, 8, 16, 32: what the regions are judged by.
    skips : tuple of torch.Tensor
        Strides 2, 4, 8, 16: what the decoder's nodes are joined with.
    downs : tuple of torch.Tensor
        Strides 4, 8, 16, 32: what the decoder's first nodes enlarge.
    """

    levels: tuple[torch.Tensor, ...]
    skips: tuple[torch.Tensor, ...]
    downs: tuple[torch.Tensor, ...]


class LibraryEncoder(nn.Module):
    """An encoder of segmentation-models-pytorch.

    Parameters
    ----------
    model : torch.nn.Module
        It gives six maps: the film, then strides 2 to 32.
    channels : sequence of int
        Of the six.
    """

    def __init__(self, model: nn.Module, channels: list[int]) -> None:
        super().__init__()
        self.model = model
        self.skip_channels = tuple(channels[1:5])
        self.down_channels = self.level_channels = tuple(channels[2:])

    def forward(self, films: torch.Tensor) -> Features:
        """Return the features of films (batch, 1, rows, columns)."""
        maps = tuple(self.model(films))
        return Features(levels=maps[2:], skips=maps[1:5], downs=maps[2:])


class PreActivationResNet18(nn.Module):
    """ResNet-18 of the published code: batch-norm and ReLU before each convolution, and on the film itself.

    7 x 7 convolution, four stages of two units (64, 128, 256, 512 channels), a last batch-norm and ReLU. A
    stage's first unit always projects its shortcut, even where the shape does not change.
    """

    level_channels = (64, 128, 256, 512)
    skip_channels = (64, 64, 128, 256)
    down_channels = (64, 128, 256, 512)

    def __init__(self) -> None:
        super().__init__()
        self.film_norm = _norm(1)
        # "BN without scale" of the published code: torch has no such switch.
        nn.init.ones_(self.film_norm.weight).requires_grad_(False)
        self.stem = nn.Sequential(nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False), _norm(64), nn.ReLU())
        self.stages = nn.ModuleList(
            nn.ModuleList([_Unit(before, after, stride, project=True), _Unit(after, after, 1, project=False)])
            for before, after, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
        )
        self.last_norm = _norm(512)

    def forward(self, films: torch.Tensor) -> Features:
        """Return the features of films (batch, 1, rows, columns)."""
        stem = self.stem(self.film_norm(films))
        x = F.max_pool2d(stem, 3, stride=2, padding=1)
        activated, outputs = [], []
        for stage in self.stages:
            active, x = stage[0](x)  # type: ignore[index]
            _, x = stage[1](x)  # type: ignore[index]
            activated.append(active)
            outputs.append(x)
        last = F.relu(self.last_norm(x))
        return Features(
            levels=(activated[0], outputs[1], outputs[2], last),
            skips=(stem, *activated[1:]),
            downs=(*outputs[:3], last),
        )


class _Unit(nn.Module):
    """Two 3 x 3 convolutions, each after batch-norm and ReLU, beside a shortcut."""

    def __init__(self, before: int, after: int, stride: int, *, project: bool) -> None:
        super().__init__()
        self.norm1 = _norm(before)
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.norm2 = _norm(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(before, after, 1, stride=stride, bias=False) if project else None

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the activated input, which is a skip connection elsewhere, and the unit's output."""
        active = F.relu(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        return active, shortcut + self.conv2(F.relu(self.norm2(self.conv1(active))))


def _norm(channels: int) -> nn.BatchNorm2d:
    # Keras' momentum 0.99 is torch's 0.01.
    return nn.BatchNorm2d(channels, eps=2e-5, momentum=0.01)
