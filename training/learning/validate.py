"""The figure a run is judged by: averaged weights, validation films, no augmentation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from models.checkpoint import Role
from models.segmenter import normalised
from training.learning.config import TrainConfig
from training.learning.losses import zone_shares
from training.learning.objectives import target_layer
from training.learning.samples import Samples

AT_ONCE = 16


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
        More is better. Stage I, and ``two_task``: Dice of the refined map at the network's threshold, film
        by film, mean over the films in which something is drawn (a mean over batches, as in the paper's
        code, counts an all-normal batch without a finding as 1). Stage II from ``weak_labels``: this mean,
        minus half the mean absolute error of the 0-6 score at the configured involvement threshold, plus
        half the share of normal films with a score of 0; what no film can tell is left out.
    details : dict of str to float
        What it is made of; ``specificity`` is the share of films without a mask that get an empty map.
    """
    judged = [_judge(part, config) for part in _parts(network, samples, config)]
    values = {name: torch.cat([getattr(one, name) for one in judged]) for name in Judged.__dataclass_fields__}
    figures = {"dice": _mean(values["dice"], values["drawn"])}
    if config.objective.kind == "two_task" or config.spec.role is Role.LUNGS:
        if config.spec.role is Role.OPACITY:
            figures["specificity"] = _mean((values["found"] == 0).float(), ~values["drawn"])
        return figures["dice"], _rounded(figures)
    readers, normal = samples.labels["consensus"], samples.labels["normal"] > 0
    figures["mae"] = _mean((values["score"] - readers).abs(), ~readers.isnan() & ~normal)
    figures["normals_zero"] = _mean((values["score"] == 0).float(), normal)
    terms = (figures["dice"], -figures["mae"] / 2, figures["normals_zero"] / 2)
    return math.fsum(term for term in terms if not math.isnan(term)), _rounded(figures)


@torch.no_grad()
def validation_pictures(
    network: nn.Module, samples: Samples, config: TrainConfig, count: int = 4
) -> torch.Tensor:
    """Draw what a network finds on the first validation films, and beside it what is drawn there.

    Returns
    -------
    torch.Tensor
        uint8, (films, 3, rows, 2 x columns): the refined map in red at the left, the mask at the right.
    """
    chosen = Samples(samples.views[:count], samples.maps[:count], samples.layers, {})
    refined, truth, _ = next(_parts(network, chosen, config))
    grey = chosen.views.float()
    halves = []
    for mask in (refined, truth.float()):
        clear = grey * (1 - 0.5 * mask)
        halves.append(torch.cat([clear + 127.5 * mask, clear, clear], 1))
    return torch.cat(halves, 3).clamp(0, 255).to(torch.uint8).cpu()


@dataclass(frozen=True)
class Judged:
    """What a batch of films shows: (films,) each.

    Parameters
    ----------
    dice : torch.Tensor
        Of the refined map; 0 where both maps are empty.
    drawn : torch.Tensor
        bool: the film has a mask with something in it.
    found : torch.Tensor
        Pixels that the network finds.
    score : torch.Tensor
        Zones above the involvement threshold; 0 for stage I.
    """

    dice: torch.Tensor
    drawn: torch.Tensor
    found: torch.Tensor
    score: torch.Tensor


def _judge(part: tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]], config: TrainConfig) -> Judged:
    refined, truth, maps = part
    threshold = config.spec.probability_threshold
    if "lungs" in maps and config.objective.kind == "weak_labels" and config.spec.role is Role.OPACITY:
        refined = refined * maps["lungs"]
    mask, target = refined > threshold, truth > 0
    found, drawn = mask.sum((1, 2, 3)), target.sum((1, 2, 3))
    dice = 2 * (mask & target).sum((1, 2, 3)) / (found + drawn).clamp_min(1)
    score = torch.zeros_like(found)
    if "zones" in maps:
        shares = zone_shares(mask.float(), maps["zones"])
        score = (shares > config.opacity_loss.involvement_threshold).sum(1)
    return Judged(dice, drawn > 0, found, score)


def _parts(
    network: nn.Module, samples: Samples, config: TrainConfig
) -> Iterator[tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]]:
    # Refined maps (Danilov et al. 2022, Eq. 1-2), masks and all layers, some films at a time.
    for start in range(0, len(samples), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        maps = {name: samples.layer(name)[part] for name in samples.layers}
        inputs = normalised(samples.views[part].float() / 255.0, config.spec)
        answer = network(inputs.contiguous(memory_format=torch.channels_last))
        mask, presence = answer if isinstance(answer, tuple) else (answer, None)
        probability = mask.float().sigmoid()
        if presence is not None:
            counts = presence.float().sigmoid() >= config.spec.presence_threshold
            probability = probability * counts.float()[:, :, None, None]
        yield probability, maps[target_layer(config)], maps


def _mean(values: torch.Tensor, chosen: torch.Tensor) -> float:
    return float(values[chosen].float().mean())


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in figures.items()}
