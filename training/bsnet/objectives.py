"""What each phase learns from a batch."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from models.bsnet.aligner import aligned
from models.bsnet.network import BSNet
from models.bsnet.spec import Attention
from training.bsnet.batches import Batch
from training.bsnet.losses import dice_loss, joint_loss, lung_loss
from training.bsnet.settings import Loss

Losses = dict[str, torch.Tensor]


def lungs_losses(network: BSNet, batch: Batch) -> Losses:
    """Phase 1: lungs of films that have some."""
    logits = network.lungs(network.features(batch.films))
    return {"lungs": lung_loss(logits, batch.lungs).mean()}


def alignment_losses(network: BSNet, pair: tuple[torch.Tensor, torch.Tensor]) -> Losses:
    """Phase 2: distorted lungs, brought to the standard frame, against what they should look like there."""
    lungs, target = pair
    return {"alignment": dice_loss(aligned(lungs, network.align(lungs)), target).mean()}


def heads_losses(network: BSNet, batch: Batch, loss: Loss) -> Losses:
    """Phase 3: the regions, judged on features, lungs and alignment that do not learn."""
    with torch.no_grad():
        features = network.features(batch.films)
        lungs = _known_lungs(network, batch)
        if lungs is None and network.decoder is not None:
            lungs = network.lungs(features).sigmoid()
        theta = network.align(batch.films if lungs is None else lungs)
    return {"score": score_loss(network.judge(features.levels, lungs, theta), batch.labels, loss)}


def everything_losses(network: BSNet, batch: Batch, loss: Loss, *, with_lungs: bool) -> Losses:
    """Phase 4: regions and lungs.

    Parameters
    ----------
    network, batch, loss
        See there.
    with_lungs : bool
        Whether this step finds the lungs, learns from them and judges by them. Steps between take the lungs
        as the film has them, which saves the decoder's time.
    """
    features = network.features(batch.films)
    known = _known_lungs(network, batch)
    if network.decoder is None:
        theta = network.align(batch.films)
        return {"score": score_loss(network.judge(features.levels, None, theta), batch.labels, loss)}
    if known is not None and not with_lungs:
        theta = network.align(known)
        return {"score": score_loss(network.judge(features.levels, known, theta), batch.labels, loss)}
    logits = network.lungs(features)
    lungs = logits.sigmoid()
    judged = network.judge(features.levels, lungs, network.align(lungs))
    losses = {"score": score_loss(judged, batch.labels, loss)}
    if batch.has_lungs.any():
        losses["lungs"] = lung_loss(logits[batch.has_lungs], batch.lungs[batch.has_lungs]).mean()
    return losses


def score_loss(
    region_logits: Mapping[Attention, torch.Tensor], labels: torch.Tensor, loss: Loss
) -> torch.Tensor:
    """Return the mean joint loss over films and attentions."""
    each = [joint_loss(logits, labels, loss.alpha, loss.beta) for logits in region_logits.values()]
    return torch.stack(each).mean()


def _known_lungs(network: BSNet, batch: Batch) -> torch.Tensor | None:
    return batch.lungs if network.decoder is not None and bool(batch.has_lungs.all()) else None
