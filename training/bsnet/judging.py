"""How good a BS-Net is on validation films, while it learns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from models.bsnet.aligner import aligned
from models.bsnet.decision import scores
from models.bsnet.ensemble import BSNetEnsemble
from models.bsnet.network import BSNet
from training.bsnet.augmentation import Augmentation
from training.bsnet.batches import alignment_batches, alignment_frames, lung_films, plain_batches
from training.bsnet.films import LABELLED, BSNetFilm, as_grid
from training.bsnet.losses import dice_loss

ALIGNMENT_SEED = 7
"""Of the distortions that validation masks undergo, the same in every epoch."""


@torch.inference_mode()
def region_probabilities(network: BSNet, films: Sequence[BSNetFilm]) -> NDArray[np.float32]:
    """Return what a network says of films, float32 (films, 3, 2, 4), as it would be shipped alone."""
    ensemble = BSNetEnsemble([network], network.spec).eval()
    answers = [ensemble(batch.films).region_probabilities for batch in plain_batches(films)]
    return np.asarray(torch.cat(answers).float().numpy(), np.float32)


def score_figures(network: BSNet, films: Sequence[BSNetFilm]) -> dict[str, float]:
    """Return the mean absolute errors against the senior reader, per region and of the sum."""
    films = [item for item in films if item.label is not None and item.kind == LABELLED]
    if not films:
        return {}
    found = scores(region_probabilities(network, films), network.spec.decision)
    error = found - np.array([_senior(item) for item in films])
    return {
        "region_mae": float(np.abs(error).mean()),
        "region_me": float(error.mean()),
        "global_mae": float(np.abs(error.sum(axis=(1, 2))).mean()),
    }


@torch.inference_mode()
def lung_figures(network: BSNet, films: Sequence[BSNetFilm]) -> dict[str, float]:
    """Return the mean Dice of the lungs above 0.5, on films with a drawn mask."""
    films = [item for item in lung_films(films) if item.film.lung_masks]
    if not films:
        return {}
    dice = []
    for batch in plain_batches(films):
        found = (network.lungs(network.features(batch.films)) > 0).float()
        dice.append(1 - dice_loss(found, (batch.lungs > 0.5).float()))
    return {"lungs_dice": float(torch.cat(dice).mean())}


@torch.inference_mode()
def alignment_figures(
    network: BSNet, films: Sequence[BSNetFilm], augmentation: Augmentation
) -> dict[str, float]:
    """Return mean Dice and IoU between realigned masks and their targets (section "Lung alignment")."""
    frames = alignment_frames(films)
    if not frames:
        return {}
    dice, overlap = [], []
    generator = np.random.default_rng(ALIGNMENT_SEED)
    for lungs, target in alignment_batches(frames, 32, augmentation, generator):
        found = aligned(lungs, network.align(lungs))
        dice.append(1 - dice_loss(found, target))
        both = (found * target).sum(dim=(1, 2, 3))
        overlap.append(both / (found + target - found * target).sum(dim=(1, 2, 3)))
    return {
        "alignment_dice": float(torch.cat(dice).mean()),
        "alignment_iou": float(torch.cat(overlap).mean()),
    }


def _senior(item: BSNetFilm) -> NDArray[np.float32]:
    return as_grid(item.film.brixia_readers[0])
