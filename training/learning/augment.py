"""Random changes of a batch of views and their maps, as tensor operations on any device."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional as F  # noqa: N812 - the customary name

from training.learning.settings import Augmentation


def _turned(view: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    turns = 1 if float(torch.rand(1, generator=generator)) < 0.5 else 3
    return torch.rot90(view, turns, (-2, -1))


def _blank(view: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    level, spread = (float(value) for value in torch.rand(2, generator=generator))
    noise = torch.randn(view.shape, generator=generator) * (0.05 * spread)
    return (level + noise).to(view.device)


def _gradient(view: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    across, down = (float(value) for value in torch.randn(2, generator=generator))
    steps = torch.linspace(-0.7, 0.7, view.shape[-1])
    slope = (across * steps + down * steps[:, None]) / math.hypot(across, down)
    return (0.5 + 0.7 * slope)[None].to(view.device)


def _cloud(view: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    cells = 2 ** int(torch.randint(2, 8, (1,), generator=generator))
    field = torch.rand(1, 1, cells, cells, generator=generator)
    shape = (view.shape[-2], view.shape[-1])
    return F.interpolate(field, shape, mode="bicubic", align_corners=False)[0].to(view.device)


def _inverted(view: torch.Tensor, _: torch.Generator) -> torch.Tensor:
    return 1 - view


def _upside_down(view: torch.Tensor, _: torch.Generator) -> torch.Tensor:
    return view.flip(-2)


NEGATIVES: tuple[Callable[[torch.Tensor, torch.Generator], torch.Tensor], ...] = (
    _inverted, _inverted, _upside_down, _turned, _blank, _gradient, _cloud,
)  # fmt: skip
"""What makes a view (1, rows, columns), float32 in [0, 1], into no upright film of a chest."""


class Augmenter:
    """Changes batches at random, reproducibly.

    Parameters
    ----------
    settings : Augmentation
        How far.
    seed : int
        Of the generator, which lives on the CPU so that a run is the same on every device.
    """

    def __init__(self, settings: Augmentation, seed: int) -> None:
        self.settings = settings
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(
        self, views: torch.Tensor, maps: torch.Tensor, side: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Change a batch.

        Parameters
        ----------
        views : torch.Tensor
            uint8, (batch, 1, rows, columns).
        maps : torch.Tensor
            uint8, (batch, layers, rows, columns).
        side : int
            Rows and columns of the result.

        Returns
        -------
        views : torch.Tensor
            float32 in [0, 1], (batch, 1, side, side).
        maps : torch.Tensor
            uint8, (batch, layers, side, side); pixels from beyond the film are 0.
        """
        grid = self._grid(views.shape[0], side).to(views.device)
        warped = F.grid_sample(views.float() / 255.0, grid, align_corners=False)
        labels = F.grid_sample(maps.float(), grid, mode="nearest", align_corners=False).to(torch.uint8)
        return self._negatives(self._grey_values(warped), labels)

    def _uniform(self, batch: int, limit: float) -> torch.Tensor:
        return (torch.rand(batch, 1, 1, 1, generator=self.generator) * 2 - 1) * limit

    def _chance(self, batch: int, probability: float) -> torch.Tensor:
        return torch.rand(batch, 1, 1, 1, generator=self.generator) < probability

    def _grid(self, batch: int, side: int) -> torch.Tensor:
        settings = self.settings
        angle = self._uniform(batch, math.radians(settings.rotation_degrees)).flatten()
        scale = self._uniform(batch, settings.scale).flatten()
        aspect = self._uniform(batch, settings.aspect).flatten()
        shear = self._uniform(batch, settings.shear).flatten()
        shift = torch.cat([self._uniform(batch, settings.shift) for _ in range(2)], 1).view(batch, 2) * 2
        flip = 1.0 - 2.0 * self._chance(batch, settings.flip).flatten().float()
        across, down = torch.exp(scale + aspect / 2), torch.exp(scale - aspect / 2)
        cosine, sine = torch.cos(angle), torch.sin(angle)
        first = torch.stack([across * cosine * flip, -down * sine + shear, shift[:, 0]], 1)
        second = torch.stack([across * sine * flip, down * cosine, shift[:, 1]], 1)
        theta = torch.stack([first, second], 1)
        return F.affine_grid(theta, [batch, 1, side, side], align_corners=False)

    def _grey_values(self, views: torch.Tensor) -> torch.Tensor:
        settings, batch, side = self.settings, views.shape[0], views.shape[-1]
        device = views.device
        views = views.clamp(1e-4, 1) ** torch.exp(self._uniform(batch, settings.gamma)).to(device)
        contrast = 1 + self._uniform(batch, settings.contrast).to(device)
        views = (views - 0.5) * contrast + 0.5 + self._uniform(batch, settings.brightness).to(device)
        field = (torch.rand(batch, 1, 4, 4, generator=self.generator) * 2 - 1) * settings.bias
        views = views + F.interpolate(field.to(device), (side, side), mode="bicubic", align_corners=False)
        blurred = F.avg_pool2d(F.pad(views, (1, 1, 1, 1), mode="replicate"), 3, 1)
        views = torch.where(self._chance(batch, settings.blur).to(device), blurred, views)
        strength = torch.rand(batch, 1, 1, 1, generator=self.generator) * settings.noise
        noise = torch.randn(batch, 1, side, side, generator=self.generator) * strength
        views = views + noise.to(device)
        return torch.where(
            self._rectangles(batch, side).to(device), self._fill(batch).to(device), views
        ).clamp(0, 1)

    def _negatives(self, views: torch.Tensor, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.settings.negatives:
            return views, maps
        chosen = self._chance(len(views), self.settings.negatives).flatten()
        kinds = torch.randint(len(NEGATIVES), (len(views),), generator=self.generator)
        views, maps = views.clone(), maps.clone()
        for index in chosen.nonzero().flatten().tolist():
            changed = NEGATIVES[int(kinds[index])](views[index], self.generator)
            views[index], maps[index] = changed.clamp(0, 1), 0
        return views, maps

    def _rectangles(self, batch: int, side: int) -> torch.Tensor:
        corner = torch.rand(batch, 2, generator=self.generator)
        extent = torch.rand(batch, 2, generator=self.generator) * 0.22 + 0.03
        lower, upper = corner * (1 - extent), corner * (1 - extent) + extent
        position = (torch.arange(side) + 0.5) / side
        inside = (position[None, None] >= lower[..., None]) & (position[None, None] < upper[..., None])
        chosen = self._chance(batch, self.settings.erase)
        return inside[:, 0, :, None][:, None] & inside[:, 1, None, :][:, None] & chosen

    def _fill(self, batch: int) -> torch.Tensor:
        return torch.rand(batch, 1, 1, 1, generator=self.generator)
