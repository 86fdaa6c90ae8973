"""The figure a run is judged by: averaged weights, validation films, no augmentation."""

from __future__ import annotations

import torch
from torch import nn

from models.checkpoint import Role
from models.segmenter import normalised
from training.config import TrainConfig
from training.losses import zone_shares
from training.samples import Samples


@torch.no_grad()
def validation_figure(
    network: nn.Module, samples: Samples, config: TrainConfig
) -> tuple[float, dict[str, float]]:
    """Judge a network.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode.
    samples : Samples
        Validation films.
    config : TrainConfig
        The run's settings.

    Returns
    -------
    figure : float
        More is better. Stage I: mean Dice. Stage II: mean Dice of films with opacity, minus half the mean
        absolute error of the 0-6 score at the configured involvement threshold.
    details : dict of str to float
        What it is made of.
    """
    probability, presence = _probabilities(network, samples, config)
    if config.spec.role is Role.LUNGS:
        mean = float(_dice(probability, samples.layer("lungs")).mean())
        return mean, {"dice": round(mean, 4)}
    refined = probability * samples.layer("lungs") * (presence >= 0.5).float()[:, None, None, None]
    drawn = samples.labels["has_mask"].bool() & (samples.layer("opacity").sum((1, 2, 3)) > 0)
    dice = float(_dice(refined[drawn], samples.layer("opacity")[drawn]).mean())
    shares = zone_shares((refined > 0.5).float(), samples.layer("zones"))
    score = (shares > config.opacity_loss.involvement_threshold).sum(1)
    readers = samples.labels["consensus"]
    diseased = ~readers.isnan() & (samples.labels["normal"] == 0)
    error = float((score - readers)[diseased].abs().mean())
    zero = float((score[samples.labels["normal"] > 0] == 0).float().mean())
    figures = {"dice": dice, "mae": error, "normals_zero": zero}
    return dice - error / 2 + zero / 2, {name: round(value, 4) for name, value in figures.items()}


def _probabilities(
    network: nn.Module, samples: Samples, config: TrainConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    maps, presences = [], []
    for start in range(0, len(samples), 16):
        inputs = normalised(samples.views[start : start + 16].float() / 255.0, config.spec)
        answer = network(inputs.contiguous(memory_format=torch.channels_last))
        mask, label = answer if isinstance(answer, tuple) else (answer, None)
        maps.append(mask.float().sigmoid())
        presences.append(torch.ones(len(mask)) if label is None else label[:, 0].float().sigmoid().cpu())
    return torch.cat(maps), torch.cat(presences).to(samples.views.device)


def _dice(probability: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    mask = probability > 0.5
    both = (mask & (target > 0)).sum((1, 2, 3))
    return 2 * both / (mask.sum((1, 2, 3)) + (target > 0).sum((1, 2, 3))).clamp_min(1)
