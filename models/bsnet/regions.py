"""From aligned features to the class of each of six regions (Signoroni et al. 2021, section "BS-Net").

A region's crops of the four levels are united by a pyramid, which the six regions share; each region has a
classifier of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its customary name

from models.bsnet.aligner import ALIGN_CORNERS
from models.bsnet.bifpn import BiFPN
from models.bsnet.spec import CLASSES, BSNetSpec, Pyramid

ROWS = ((0.0, 0.4), (0.3, 0.7), (0.6, 1.0))
"""Upper, middle, lower, as shares of the frame's rows; neighbours share a quarter of their height."""

COLUMNS = ((0.0, 0.5), (0.5, 1.0))
"""Image left (the patient's right), image right."""

REGIONS = tuple((rows, columns) for rows in ROWS for columns in COLUMNS)
"""The boxes of regions A, D, B, E, C, F: row by row, as the scores lie in (3, 2)."""

NARROW = 8
"""Width of a region's classifier."""


def region_crops(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Cut the six regions out of a map and bring each to one size, bilinearly.

    Parameters
    ----------
    maps : torch.Tensor
        float32, (batch, channels, rows, columns), in the standard frame.
    size : tuple of int
        (rows, columns) of a crop.

    Returns
    -------
    torch.Tensor
        float32, (batch, 6, channels, *size), in the order of ``REGIONS``.
    """
    boxes = torch.tensor(REGIONS, dtype=maps.dtype, device=maps.device)
    scale = boxes[:, :, 1] - boxes[:, :, 0]
    centre = boxes.sum(dim=2) - 1
    theta = torch.zeros(len(REGIONS), 2, 3, dtype=maps.dtype, device=maps.device)
    theta[:, 0, 0], theta[:, 1, 1] = scale[:, 1], scale[:, 0]
    theta[:, 0, 2], theta[:, 1, 2] = centre[:, 1], centre[:, 0]
    grids = F.affine_grid(theta, [len(REGIONS), maps.shape[1], *size], align_corners=ALIGN_CORNERS)
    crops = [
        F.grid_sample(maps, grid.expand(len(maps), *grid.shape), "bilinear", "border", ALIGN_CORNERS)
        for grid in grids
    ]
    return torch.stack(crops, dim=1)


class FineToCoarse(nn.Module):
    """The pyramid as the published code runs it: from the finest level to the coarsest, which is the answer.

    Parameters
    ----------
    level_channels : sequence of int
        Channels of the four levels, finest first.
    widths : sequence of int
        Width of the pyramid at each level, then of the output.
    """

    def __init__(self, level_channels: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(
            nn.Conv2d(channels, width, 1) for channels, width in zip(level_channels, widths[:-1], strict=True)
        )
        self.smooth = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths)
        )
        self.out_channels = widths[-1]

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Unite the levels (batch, channels, rows, columns), finest first, at the coarsest one's size."""
        sizes = [level.shape[2:] for level in levels[1:]] + [levels[-1].shape[2:]]
        united = self.lateral[0](levels[0])
        for index, (smooth, size) in enumerate(zip(self.smooth, sizes, strict=True)):
            if index > 0:
                united = united + self.lateral[index](levels[index])
            if united.shape[2:] != size:
                united = F.interpolate(united, size, mode="bilinear", align_corners=False)
            united = F.silu(smooth(united))
        return torch.as_tensor(united)


class CanonicalFPN(nn.Module):
    """The pyramid of Lin et al. 2017: from the coarsest level to the finest, which is the answer.

    Parameters
    ----------
    level_channels : sequence of int
        Channels of the four levels, finest first.
    width : int
        Of every level of the pyramid.
    """

    def __init__(self, level_channels: Sequence[int], width: int) -> None:
        super().__init__()
        import models.torchvision_ops  # noqa: PLC0415, F401, I001 - must precede the next import
        from torchvision.ops import FeaturePyramidNetwork  # noqa: PLC0415

        self.pyramid = FeaturePyramidNetwork(list(level_channels), width)
        self.out_channels = width

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Unite the levels (batch, channels, rows, columns), finest first, at the finest one's size."""
        united = self.pyramid(OrderedDict((str(index), level) for index, level in enumerate(levels)))
        return F.silu(united["0"])


class Coarsest(nn.Module):
    """No pyramid: the coarsest level is the answer.

    Parameters
    ----------
    level_channels : sequence of int
        Channels of the four levels, finest first.
    """

    def __init__(self, level_channels: Sequence[int]) -> None:
        super().__init__()
        self.out_channels = level_channels[-1]

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the last of the levels."""
        return levels[-1]


class RegionalHead(nn.Module):
    """Crops of the six regions, a pyramid that they share, and six classifiers.

    Parameters
    ----------
    spec : BSNetSpec
        Names the pyramid, its widths and the crops' sizes.
    level_channels : sequence of int
        Channels of the four levels of features, finest first.
    """

    def __init__(self, spec: BSNetSpec, level_channels: Sequence[int]) -> None:
        super().__init__()
        self.roi_sizes = spec.roi_sizes
        self.pyramid: FineToCoarse | CanonicalFPN | BiFPN | Coarsest
        if spec.pyramid is Pyramid.FINE_TO_COARSE:
            self.pyramid = FineToCoarse(level_channels, spec.pyramid_channels)
        elif spec.pyramid is Pyramid.FPN:
            self.pyramid = CanonicalFPN(level_channels, spec.pyramid_channels[-1])
        elif spec.pyramid is Pyramid.BIFPN:
            self.pyramid = BiFPN(level_channels, spec.pyramid_channels[-1])
        else:
            self.pyramid = Coarsest(level_channels)
        self.dropout = nn.Dropout2d(spec.dropout)
        self.regions = nn.ModuleList(_classifier(self.pyramid.out_channels) for _ in REGIONS)

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Classify the regions.

        Parameters
        ----------
        levels : sequence of torch.Tensor
            Four, finest first, aligned; each float32, (batch, channels, rows, columns).

        Returns
        -------
        torch.Tensor
            Logits, float32, (batch, 3, 2, 4).
        """
        batch = len(levels[0])
        if isinstance(self.pyramid, Coarsest):
            levels = levels[-1:]
        crops = [region_crops(level, size) for level, size in zip(levels, self._sizes(levels), strict=True)]
        united = self.dropout(self.pyramid([crop.flatten(0, 1) for crop in crops]))
        by_region = united.unflatten(0, (batch, len(REGIONS)))
        logits = [
            classifier(by_region[:, index]).mean(dim=(2, 3)) for index, classifier in enumerate(self.regions)
        ]
        return torch.stack(logits, dim=1).view(batch, len(ROWS), len(COLUMNS), CLASSES)

    def _sizes(self, levels: Sequence[torch.Tensor]) -> list[tuple[int, int]]:
        if self.roi_sizes is None:
            return [(level.shape[2], level.shape[3]) for level in levels]
        return [(side, side) for side in self.roi_sizes[-len(levels) :]]


class PooledHead(nn.Module):
    """Means of all levels over each region, then one dense layer for all regions and a bias for each.

    Some 2,000 weights in place of 600,000: what a hundred films can teach.

    Parameters
    ----------
    spec : BSNetSpec
        Names the dropout and the crops' sizes.
    level_channels : sequence of int
        Channels of the four levels of features, finest first.
    """

    def __init__(self, spec: BSNetSpec, level_channels: Sequence[int]) -> None:
        super().__init__()
        self.roi_sizes = spec.roi_sizes
        self.norm = nn.BatchNorm1d(sum(level_channels), affine=False)
        self.dropout = nn.Dropout(spec.dropout)
        self.dense = nn.Linear(sum(level_channels), CLASSES, bias=False)
        self.bias = nn.Parameter(torch.zeros(len(REGIONS), CLASSES))

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Classify the regions; see ``RegionalHead.forward``."""
        return self.classify(self.pool(levels))

    def pool(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the means of the levels over each region, float32 (batch, 6, channels)."""
        sizes = self.roi_sizes or [level.shape[2] for level in levels]
        means = [
            region_crops(level, (side, side)).mean(dim=(3, 4))
            for level, side in zip(levels, sizes, strict=True)
        ]
        return torch.cat(means, dim=2)

    def classify(self, means: torch.Tensor) -> torch.Tensor:
        """Return logits, float32 (batch, 3, 2, 4), from what ``pool`` returns."""
        features = self.norm(means.flatten(0, 1))
        logits: torch.Tensor = self.dense(self.dropout(features)).unflatten(0, (-1, len(REGIONS))) + self.bias
        return logits.view(-1, len(ROWS), len(COLUMNS), CLASSES)


class WholeFilmHead(nn.Module):
    """The all-in-one baseline's: mean of the coarsest level over the film, then one dense layer.

    Parameters
    ----------
    spec : BSNetSpec
        Names the dropout.
    level_channels : sequence of int
        Channels of the four levels of features, finest first.
    """

    def __init__(self, spec: BSNetSpec, level_channels: Sequence[int]) -> None:
        super().__init__()
        self.dense = nn.Sequential(
            nn.Dropout(spec.dropout), nn.Linear(level_channels[-1], len(REGIONS) * CLASSES)
        )

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Classify the regions; see ``RegionalHead.forward``."""
        logits: torch.Tensor = self.dense(levels[-1].mean(dim=(2, 3)))
        return logits.view(-1, len(ROWS), len(COLUMNS), CLASSES)


def _classifier(channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (channels, NARROW, NARROW):
        layers += [nn.Conv2d(before, NARROW, 3, padding=1), nn.BatchNorm2d(NARROW), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(NARROW, CLASSES, 3, padding=1))
