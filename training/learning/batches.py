"""Batches of changed training films: from tensors on the device, or film by film at the films' own size."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from models.geometry import Box, CropResize
from training.learning.augment import Augmenter
from training.learning.config import TrainConfig
from training.learning.native_films import NativeFilms
from training.learning.paper_augment import PaperAugmentation
from training.learning.samples import Samples, named_layers, nearest

AHEAD = 3
"""Batches that are made while the network learns from another."""


@dataclass(frozen=True)
class Batch:
    """Some films as the network sees them.

    Parameters
    ----------
    views : torch.Tensor
        float32 in [0, 1], (batch, 1, rows, columns), before normalisation.
    maps : dict of str to torch.Tensor
        uint8, (batch, 1, rows, columns) each; see ``training.learning.losses``.
    labels : dict of str to torch.Tensor
        float32, (batch, ...) each; NaN where a film has no such label.
    """

    views: torch.Tensor
    maps: dict[str, torch.Tensor]
    labels: dict[str, torch.Tensor]


class Batches(Protocol):
    """Training films as batches; a pure function of the epoch, so that a run that goes on sees the same."""

    def __len__(self) -> int:
        """Return the number of films."""
        ...

    def epoch(self, epoch: int, side: int, steps: int) -> tuple[int, Iterator[Batch]]:
        """Return how many batches an epoch has, and the batches.

        Parameters
        ----------
        epoch : int
            Number of the epoch, which with the configuration's seed decides order and changes.
        side : int
            Rows and columns of tensor batches.
        steps : int
            At most so many batches; 0 for all.
        """
        ...


@dataclass(frozen=True)
class TensorBatches:
    """Films of the network's size, changed a batch at a time where they lie.

    Parameters
    ----------
    samples : Samples
        On the device.
    config : TrainConfig
        The run's settings.
    """

    samples: Samples
    config: TrainConfig

    def __len__(self) -> int:
        """Return the number of films."""
        return len(self.samples)

    def epoch(self, epoch: int, side: int, steps: int) -> tuple[int, Iterator[Batch]]:
        """Return the batches of an epoch; see ``Batches``."""
        order = shuffled(self.config, len(self.samples), self.samples.labels, epoch, steps)
        return len(order), self._batches(order, epoch, side)

    def _batches(self, order: Sequence[NDArray[np.int64]], epoch: int, side: int) -> Iterator[Batch]:
        samples = self.samples
        augment = Augmenter(self.config.augmentation, self.config.seed * 100_003 + epoch)
        for numbers in order:
            index = torch.from_numpy(numbers).to(samples.views.device)
            views, maps = augment(samples.views[index], samples.maps[index], side)
            labels = {name: value[index] for name, value in samples.labels.items()}
            yield Batch(views, named_layers(maps, samples.layers), labels)


@dataclass(frozen=True)
class FilmBatches:
    """Films of their own size, changed one by one on the CPU, then brought to the network's shape.

    Parameters
    ----------
    films : NativeFilms
        Where the films come from.
    config : TrainConfig
        The run's settings.
    device : torch.device
        Where the batches go.
    """

    films: NativeFilms
    config: TrainConfig
    device: torch.device

    def __len__(self) -> int:
        """Return the number of films."""
        return len(self.films)

    def epoch(self, epoch: int, side: int, steps: int) -> tuple[int, Iterator[Batch]]:
        """Return the batches of an epoch, in the network's shape whatever ``side``; see ``Batches``."""
        order = shuffled(self.config, len(self.films), self.films.labels, epoch, steps)
        return len(order), self._batches(order, epoch)

    def _batches(self, order: Sequence[NDArray[np.int64]], epoch: int) -> Iterator[Batch]:
        waiting: deque[tuple[NDArray[np.int64], list[Future[tuple[torch.Tensor, torch.Tensor]]]]] = deque()
        position = 0
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for numbers in order:
                places = range(position, position := position + len(numbers))
                make = partial(self._film, epoch)
                waiting.append(
                    (numbers, [pool.submit(make, *pair) for pair in zip(places, numbers, strict=True)])
                )
                if len(waiting) > AHEAD:
                    yield self._batch(*waiting.popleft())
            while waiting:
                yield self._batch(*waiting.popleft())

    def _film(self, epoch: int, place: int, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        # Chance depends on the place in the epoch, never on which thread comes first.
        generator = np.random.default_rng((self.config.seed, epoch, place))
        film, maps = PaperAugmentation()(*self.films.film(int(number)), generator)
        spec, shape = self.config.spec, (film.shape[0], film.shape[1])
        geometry = CropResize(shape, Box.whole(shape), spec.input_shape, spec.resize)
        view = geometry.forward(film.astype(np.float32) / np.float32(255.0))
        layers = np.stack([nearest(layer, geometry) for layer in maps])
        return torch.from_numpy(view)[None], torch.from_numpy(layers)

    def _batch(
        self, numbers: NDArray[np.int64], made: Sequence[Future[tuple[torch.Tensor, torch.Tensor]]]
    ) -> Batch:
        views, maps = (
            torch.stack(parts).to(self.device) for parts in zip(*(one.result() for one in made), strict=True)
        )
        labels = {
            name: value[torch.from_numpy(numbers)].to(self.device)
            for name, value in self.films.labels.items()
        }
        return Batch(views, named_layers(maps, self.films.layers), labels)


def shuffled(
    config: TrainConfig, count: int, labels: dict[str, torch.Tensor], epoch: int, steps: int
) -> list[NDArray[np.int64]]:
    """Return the films of each batch of an epoch, by number.

    Films with a drawn opacity mask are few; they come round ``mask_repeats`` times an epoch. A last batch of
    one film is left out: batch normalisation cannot learn from it.
    """
    numbers = np.arange(count)
    if "has_mask" in labels:
        drawn = labels["has_mask"].cpu().numpy() > 0
        numbers = np.concatenate([numbers, np.repeat(numbers[drawn], config.schedule.mask_repeats - 1)])
    order = np.random.default_rng((config.seed, epoch)).permutation(numbers)
    size = config.schedule.batch_size
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    whole = [batch for batch in batches if len(batch) > 1]
    return whole[: steps or len(whole)]
