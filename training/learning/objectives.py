"""What a network is taught: the losses of a batch, and the weight of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from models.checkpoint import Role
from training.learning.batches import Batch
from training.learning.config import TrainConfig
from training.learning.losses import mask_loss, opacity_losses
from training.learning.segmentation_losses import classification_loss, segmentation_loss
from training.learning.weighting import DynamicWeighting, LossWeighting, StaticWeighting

Answer = tuple[torch.Tensor, torch.Tensor | None]
"""Logits of the mask, float32 (batch, 1, rows, columns), and of presence (batch, 1) if there is a head."""

Losses = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Objective:
    """Losses and their weights; the sum of weight times loss is what a step lowers.

    Parameters
    ----------
    losses : callable
        Takes an answer and its batch, returns scalars by name.
    weighting : LossWeighting
        Takes these, returns a number for each.
    """

    losses: Callable[[Answer, Batch], Losses]
    weighting: LossWeighting


def build_objective(config: TrainConfig) -> Objective:
    """Return the objective that a configuration names.

    Parameters
    ----------
    config : TrainConfig
        Settings.

    Returns
    -------
    Objective

    Raises
    ------
    training.learning.config.ConfigError
        If a loss does not exist or a number is out of range.
    """
    settings = config.objective
    dynamic = settings.weighting == "dynamic"
    weighting = DynamicWeighting(alpha=settings.alpha) if dynamic else StaticWeighting()
    if settings.kind == "two_task":
        return Objective(two_task_losses(config), weighting)
    if config.spec.role is Role.LUNGS:
        return Objective(_lung_losses, weighting)
    return Objective(_weak_label_losses(config), weighting)


def two_task_losses(config: TrainConfig) -> Callable[[Answer, Batch], Losses]:
    """Return the losses of segmentation and classification (Danilov et al. 2022, "Stage II").

    The segmentation loss sees the map before its refinement by the classification head. A film's class is 1
    if its mask has any pixel, after the film's random changes. Without a head there is one loss.
    """
    settings, layer = config.objective, target_layer(config)
    segmentation = segmentation_loss(settings.segmentation, settings.legacy_inputs)
    classification = classification_loss(settings.classification)

    def losses(answer: Answer, batch: Batch) -> Losses:
        mask, presence = answer
        target = batch.maps[layer].float()
        result = {"segmentation": segmentation(mask, target)}
        if presence is not None:
            result["classification"] = classification(presence, target.amax((2, 3)))
        return result

    return losses


def target_layer(config: TrainConfig) -> str:
    """Return the name of the layer that the network is to predict: ``lungs`` or ``opacity``."""
    return str(config.spec.role)


def _lung_losses(answer: Answer, batch: Batch) -> Losses:
    return {"lungs": mask_loss(answer[0], batch.maps["lungs"].float()).mean()}


def _weak_label_losses(config: TrainConfig) -> Callable[[Answer, Batch], Losses]:
    def losses(answer: Answer, batch: Batch) -> Losses:
        mask, presence = answer
        if presence is None:
            presence = torch.zeros(len(mask), 1, device=mask.device)
        return opacity_losses((mask, presence), batch.maps, batch.labels, config.opacity_loss)

    return losses
