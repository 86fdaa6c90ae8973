"""Bringing lungs to a standard frame: a spatial transformer (Signoroni et al. 2021, section "Alignment").

Coordinates are normalised: x runs over the columns and y over the rows, -1 and 1 being the outer *edges* of
the first and last pixel (``align_corners=False`` of torch). So one transform holds for a film of any size and
for every level of features, and the identity leaves every pixel as it is (the published sampler is off by
one pixel).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its customary name

from models.geometry import Shape

SIDE = 128
"""Side of the lung map that the aligner looks at."""

ALIGN_CORNERS = False
"""Of every grid here and in ``models.bsnet.regions``; see above."""


class Aligner(nn.Module):
    """Estimates the affine transform that fills a standard frame with both lungs.

    Max-pooling to 128², twice {max-pool 2, 5 x 5 convolution to 20 channels without padding or activation},
    a dense layer of 50 with ReLU, and one of 6 that starts at the identity.
    """

    def __init__(self) -> None:
        super().__init__()
        self.localisation = nn.Sequential(
            nn.MaxPool2d(2), nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 20, 5)
        )
        self.dense = nn.Sequential(nn.Flatten(), nn.Linear(20 * 26 * 26, 50), nn.ReLU(), nn.Linear(50, 6))
        last = self.dense[-1]
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]
        with torch.no_grad():
            last.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))  # type: ignore[operator]

    def forward(self, lung_probability: torch.Tensor) -> torch.Tensor:
        """Estimate the transform.

        Parameters
        ----------
        lung_probability : torch.Tensor
            float32, (batch, 1, rows, columns), in [0, 1]; any size.

        Returns
        -------
        torch.Tensor
            theta, float32, (batch, 2, 3): (x, y, 1) of the standard frame to (x, y) of the film.
        """
        pooled = F.adaptive_max_pool2d(lung_probability, (SIDE, SIDE))
        theta: torch.Tensor = self.dense(self.localisation(pooled))
        return theta.view(-1, 2, 3)


def identity(like: torch.Tensor) -> torch.Tensor:
    """Return the transform that changes nothing, (batch, 2, 3), for a batch ``like`` this."""
    return torch.eye(2, 3, dtype=like.dtype, device=like.device).expand(like.shape[0], 2, 3)


def aligned(maps: torch.Tensor, theta: torch.Tensor, shape: Shape | None = None) -> torch.Tensor:
    """Return maps in the standard frame: bilinear samples, 0 where it reaches beyond the film.

    Parameters
    ----------
    maps : torch.Tensor
        float32, (batch, channels, rows, columns): probability, features, or the film.
    theta : torch.Tensor
        From ``Aligner``; (batch, 2, 3).
    shape : tuple of int, optional
        (rows, columns) of the frame; those of ``maps`` if left out.

    Returns
    -------
    torch.Tensor
        float32, (batch, channels, *shape).
    """
    size = [*maps.shape[:2], *(shape or maps.shape[2:])]
    grid = F.affine_grid(theta, size, align_corners=ALIGN_CORNERS)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=ALIGN_CORNERS)
