"""What the networks are taught: losses from masks, boxes, zone shares, readers' scores.

Every loss takes logits and skips films that lack its label; a batch without a label gives 0.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F  # noqa: N812 - the customary name

from training.learning.settings import OpacityLoss

ZONES = 6
BRIXIA_SHARES = (0.02, 0.25, 0.5, 0.75)
"""Opacified share of a zone taken for Brixia 0, 1, 2, 3; in between, a straight line."""


def mask_loss(logits: torch.Tensor, target: torch.Tensor, where: torch.Tensor | None = None) -> torch.Tensor:
    """Binary cross-entropy plus soft Dice loss, each film by itself.

    Parameters
    ----------
    logits, target : torch.Tensor
        float32, (batch, 1, rows, columns); target 0 or 1.
    where : torch.Tensor, optional
        0 or 1, same shape: pixels that count.

    Returns
    -------
    torch.Tensor
        float32, (batch,).
    """
    weight = torch.ones_like(target) if where is None else where
    area = weight.sum((1, 2, 3)).clamp_min(1)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    probability = logits.sigmoid() * weight
    overlap = (probability * target).sum((1, 2, 3))
    total = probability.sum((1, 2, 3)) + (target * weight).sum((1, 2, 3))
    dice = 1 - (2 * overlap + 1) / (total + 1)
    return (entropy * weight).sum((1, 2, 3)) / area + dice


def zone_shares(probability: torch.Tensor, zones: torch.Tensor) -> torch.Tensor:
    """Mean probability in each zone: the opacified share, differentiable.

    Parameters
    ----------
    probability : torch.Tensor
        float32, (batch, 1, rows, columns).
    zones : torch.Tensor
        uint8, same shape: 0 outside the lungs, 1 to 6 inside a zone.

    Returns
    -------
    torch.Tensor
        float32, (batch, 6); 0 for a zone that is not in view.
    """
    shares = []
    for zone in range(1, ZONES + 1):
        inside = (zones == zone).float()
        shares.append((probability * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3)).clamp_min(1))
    return torch.stack(shares, 1)


def opacity_losses(
    answer: tuple[torch.Tensor, torch.Tensor],
    maps: dict[str, torch.Tensor],
    labels: dict[str, torch.Tensor],
    settings: OpacityLoss,
) -> dict[str, torch.Tensor]:
    """Return stage II's loss, part by part, weighted.

    - ``mask``: cross-entropy and Dice against a drawn mask, within the lungs.
    - ``guess``: the same against a guessed mask (``training.guesses``), by the weight of the guess.
    - ``normal``: cross-entropy against nothing, on normal films.
    - ``boxes``: nothing outside the boxes; the mean inside each film's boxes at least a half.
    - ``teacher``: zone shares against those of the seed networks.
    - ``brixia``: zone shares against ``BRIXIA_SHARES``, for films without a mask or teacher.
    - ``score``: the number of zones above the involvement threshold, made differentiable, against the
      readers.
    - ``zones``: each zone above or below the involvement threshold, likewise, against a reader's zones.
    - ``presence``: the classification head.

    Parameters
    ----------
    answer : tuple of torch.Tensor
        Logits of the mask (batch, 1, rows, columns) and of presence (batch, 1), float32.
    maps : dict of str to torch.Tensor
        ``lungs``, ``zones``, ``opacity``, ``boxes``, ``guess`` (0 to 255); uint8, (batch, 1, rows, columns).
    labels : dict of str to torch.Tensor
        ``has_mask``, ``has_boxes``, ``normal`` (0 or 1); ``guess_weight``; ``teacher``, ``brixia`` (batch,
        6), ``zones`` (batch, 6; NaN for each zone that nothing is said of), ``consensus``, ``presence`` (NaN
        where missing).
    settings : OpacityLoss
        Weights.

    Returns
    -------
    dict of str to torch.Tensor
        Scalars; their sum is the loss.
    """
    logits, presence = answer
    lungs, opacity, boxed = (maps[name].float() for name in ("lungs", "opacity", "boxes"))
    shares = zone_shares(logits.sigmoid(), maps["zones"])
    outside = lungs * (1 - boxed)
    inside_share = (logits.sigmoid() * lungs * boxed).sum((1, 2, 3)) / (lungs * boxed).sum(
        (1, 2, 3)
    ).clamp_min(1)
    empty_outside = _mean_softplus(logits, outside)
    box_loss = empty_outside + F.relu(0.5 - inside_share) * 4
    involvement = (shares - settings.involvement_threshold) / settings.temperature
    score = F.smooth_l1_loss(involvement.sigmoid().sum(1), labels["consensus"].nan_to_num(), reduction="none")
    parts = {
        "mask": (mask_loss(logits, opacity, lungs), labels["has_mask"]),
        "guess": (mask_loss(logits, maps["guess"].float() / 255.0, lungs), labels["guess_weight"]),
        "normal": (_mean_softplus(logits, lungs), labels["normal"]),
        "boxes": (box_loss, labels["has_boxes"]),
        "teacher": _share_loss(shares, labels["teacher"]),
        "brixia": _share_loss(shares, labels["brixia"]),
        "score": (score, known(labels["consensus"])),
        "zones": _zone_loss(involvement, labels["zones"]),
        "presence": (
            F.binary_cross_entropy_with_logits(
                presence[:, 0], labels["presence"].nan_to_num(), reduction="none"
            ),
            known(labels["presence"]),
        ),
    }
    batch = logits.shape[0]
    return {
        name: getattr(settings, name) * (value * use).sum() / batch for name, (value, use) in parts.items()
    }


def known(label: torch.Tensor) -> torch.Tensor:
    """Return 1.0 where a label is there, 0.0 where it is NaN."""
    return (~label.isnan()).float()


def brixia_shares(scores: torch.Tensor) -> torch.Tensor:
    """Return the opacified share that stands for a Brixia zone score; NaN stays NaN."""
    table = torch.tensor(BRIXIA_SHARES, device=scores.device)
    lower = scores.nan_to_num().floor().clamp(0, 2).long()
    step = scores - lower
    return torch.where(scores.isnan(), scores, table[lower] * (1 - step) + table[lower + 1] * step)


def _mean_softplus(logits: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    return (F.softplus(logits) * where).sum((1, 2, 3)) / where.sum((1, 2, 3)).clamp_min(1)


def _zone_loss(involvement: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    said = known(target)
    entropy = F.binary_cross_entropy_with_logits(involvement, target.nan_to_num(), reduction="none")
    return (entropy * said).sum(1) / said.sum(1).clamp_min(1), said.amax(1)


def _share_loss(shares: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    difference = F.smooth_l1_loss(shares, target.nan_to_num(), reduction="none", beta=0.1)
    return difference.mean(1), known(target[:, 0])
