"""Batches of changed films: a pure function of the generator, so that a run that goes on sees the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from training.bsnet.alignment_set import AlignmentPair, alignment_mask, alignment_pair, standard_frame
from training.bsnet.augmentation import Augmentation, draw
from training.bsnet.films import GUESSED, LABELLED, NORMAL, BSNetFilm, by_kind
from training.bsnet.settings import Films

Floats = NDArray[np.float32]

LEAST_LUNGS = 0.05
"""Share of the film below which a lung map teaches no alignment: nothing or next to nothing was found."""


@dataclass(frozen=True)
class Batch:
    """Some films, changed.

    Parameters
    ----------
    films : torch.Tensor
        float32 in [0, 1], (batch, 1, rows, columns).
    lungs : torch.Tensor
        The same shape; 0 where ``has_lungs`` is False.
    has_lungs : torch.Tensor
        bool, (batch,).
    labels : torch.Tensor
        float32, (batch, 3, 2, 4); 0 for a film without one.
    """

    films: torch.Tensor
    lungs: torch.Tensor
    has_lungs: torch.Tensor
    labels: torch.Tensor


def lung_films(films: Sequence[BSNetFilm]) -> list[BSNetFilm]:
    """Return the films that teach phase 1."""
    return [item for item in films if item.lungs is not None]


def scored_films(
    films: Sequence[BSNetFilm], settings: Films, generator: np.random.Generator
) -> list[BSNetFilm]:
    """Return the films of one epoch of phases 3 and 4: readers' films several times, some of the normals."""
    kinds = by_kind(films)
    normals = kinds[NORMAL]
    chosen = generator.permutation(len(normals))[: settings.normals]
    return kinds[LABELLED] * settings.label_repeats + kinds[GUESSED] + [normals[index] for index in chosen]


def film_batches(
    films: Sequence[BSNetFilm], size: int, augmentation: Augmentation, generator: np.random.Generator
) -> Iterator[Batch]:
    """Shuffle films, change each, and yield them in batches; a last batch of one is dropped."""
    order = generator.permutation(len(films))
    for start in range(0, len(films), size):
        members = [films[index] for index in order[start : start + size]]
        if len(members) >= 2:
            yield changed_batch(members, augmentation, generator)


def changed_batch(
    films: Sequence[BSNetFilm], augmentation: Augmentation, generator: np.random.Generator
) -> Batch:
    """Change each film and return them as a batch."""
    return _joined([_changed(item, augmentation, generator) for item in films])


def batch_count(films: int, size: int) -> int:
    """Return how many batches ``film_batches`` yields."""
    return films // size + (films % size >= 2)


def plain_batches(films: Sequence[BSNetFilm], size: int = 8) -> Iterator[Batch]:
    """Yield films in order, unchanged."""
    for start in range(0, len(films), size):
        members = films[start : start + size]
        yield _joined([(_unit(item.view), _lungs(item), item.label) for item in members])


def alignment_frames(films: Sequence[BSNetFilm]) -> list[tuple[Floats, Floats]]:
    """Return the lung maps of phase 2, (128, 128), with the transform to their standard frame."""
    frames = []
    for item in lung_films(films):
        lungs = alignment_mask(_unit(item.lungs))  # type: ignore[arg-type]
        theta = standard_frame(lungs > 0.5)
        if theta is not None and (lungs > 0.5).mean() > LEAST_LUNGS:
            frames.append((lungs, theta))
    return frames


def alignment_batches(
    frames: Sequence[tuple[Floats, Floats]],
    size: int,
    augmentation: Augmentation,
    generator: np.random.Generator,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Shuffle lung maps and yield distorted ones with their targets, each float32 (batch, 1, 128, 128)."""
    order = generator.permutation(len(frames))
    for start in range(0, len(frames), size):
        pairs = [_pair(frames[index], augmentation, generator) for index in order[start : start + size]]
        yield _stacked([pair.lungs for pair in pairs]), _stacked([pair.target for pair in pairs])


def _pair(
    frame: tuple[Floats, Floats], augmentation: Augmentation, generator: np.random.Generator
) -> AlignmentPair:
    lungs, theta = frame
    return alignment_pair(lungs, theta, augmentation, generator)


def _changed(
    item: BSNetFilm, augmentation: Augmentation, generator: np.random.Generator
) -> tuple[Floats, Floats | None, Floats | None]:
    change = draw(augmentation, generator, item.view.shape[0])
    lungs = _lungs(item)
    return (
        change.film(_unit(item.view)),
        None if lungs is None else change.lungs(lungs),
        None if item.label is None else change.scores(item.label),
    )


def _joined(examples: Sequence[tuple[Floats, Floats | None, Floats | None]]) -> Batch:
    films, lungs, labels = zip(*examples, strict=True)
    return Batch(
        films=_stacked(films).contiguous(memory_format=torch.channels_last),
        lungs=_stacked([np.zeros_like(films[0]) if one is None else one for one in lungs]),
        has_lungs=torch.tensor([one is not None for one in lungs]),
        labels=_stacked([np.zeros((3, 2, 4), np.float32) if one is None else one for one in labels])[:, 0],
    )


def _stacked(arrays: Sequence[Floats]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays))[:, None]


def _unit(values: NDArray[np.uint8]) -> Floats:
    return values.astype(np.float32) / np.float32(255)


def _lungs(item: BSNetFilm) -> Floats | None:
    return None if item.lungs is None else _unit(item.lungs)
