"""The losses of the two-stage workflow, each on logits (Danilov et al. 2022, Tables 5, 6 and C1).

Segmentation losses sum over every pixel of the batch, not film by film, as the paper's do. All of them
compute in float32, also under automatic mixed precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch.nn import functional as F  # noqa: N812 - the customary name

from training.learning.config import ConfigError

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Logits and target of one shape, floating point, to a scalar float32 loss."""

SMOOTHING = 1.0
"""Added to both sides of the fractions of Dice and Jaccard, in pixels."""


def segmentation_loss(name: str, legacy_inputs: bool = False) -> Loss:
    """Return a loss for mask logits.

    Parameters
    ----------
    name : str
        ``dice``, ``jaccard``, ``bce``, ``bcel``, ``lovasz`` or ``focal``. ``bcel``, the paper's
        "BCE with logits", equals ``bce`` here, since both get logits.
    legacy_inputs : bool
        True feeds probabilities to ``bcel``, ``lovasz`` and ``focal``, which expect logits, as the public
        code of Danilov et al. does. Its hinge and cross-entropy can then never be met for background; the one
        network tuned to it, DeepLabV3 of stage II, predicts nothing (Table 8). For reproduction only.

    Returns
    -------
    callable
        Takes logits and target (0 or 1), both (batch, 1, rows, columns), and returns a scalar.

    Raises
    ------
    ConfigError
        If there is no such loss.
    """
    loss = _named(SEGMENTATION_LOSSES, name, "segmentation loss")
    if legacy_inputs and name in EXPECTING_LOGITS:
        return lambda logits, target: loss(logits.float().sigmoid(), target)
    return loss


def classification_loss(name: str) -> Loss:
    """Return a loss for the classification head's logits.

    Parameters
    ----------
    name : str
        ``bce``, ``smooth_l1`` (beta 1) or ``l1``; the last two compare the probability with the label.

    Returns
    -------
    callable
        Takes logits and labels (0 or 1), both (batch, 1), and returns a scalar.

    Raises
    ------
    ConfigError
        If there is no such loss.
    """
    return _named(CLASSIFICATION_LOSSES, name, "classification loss")


def dice_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return 1 - (2 Σpg + 1) / (Σp + Σg + 1), sums over the whole batch.

    An all-empty batch teaches too: the library's Dice loss, which is 0 there, would never tell a network that
    finds opacity on normal films.
    """
    probability, truth = logits.float().sigmoid(), target.float()
    overlap = (probability * truth).sum()
    return 1 - (2 * overlap + SMOOTHING) / (probability.sum() + truth.sum() + SMOOTHING)


def jaccard_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return 1 - (Σpg + 1) / (Σp + Σg - Σpg + 1), sums over the whole batch."""
    probability, truth = logits.float().sigmoid(), target.float()
    overlap = (probability * truth).sum()
    return 1 - (overlap + SMOOTHING) / (probability.sum() + truth.sum() - overlap + SMOOTHING)


def bce_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean binary cross-entropy."""
    return F.binary_cross_entropy_with_logits(logits.float(), target.float())


def lovasz_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the Lovász hinge over the flattened batch (Berman et al. 2018, Algorithm 1)."""
    import models.torchvision_ops  # noqa: PLC0415, F401, I001 - must precede the next import
    from segmentation_models_pytorch.losses import LovaszLoss  # noqa: PLC0415 - takes seconds

    loss: torch.Tensor = LovaszLoss("binary", per_image=False)(logits.float(), target.float())
    return loss


def focal_loss(logits: torch.Tensor, target: torch.Tensor, gamma: float = 2.0) -> torch.Tensor:
    """Return the mean of (1 - p_t)^gamma times the cross-entropy, without class weights (Lin et al. 2017)."""
    entropy = F.binary_cross_entropy_with_logits(logits.float(), target.float(), reduction="none")
    return ((1 - torch.exp(-entropy)) ** gamma * entropy).mean()


def smooth_l1_loss(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return the mean of d²/2, d the difference of probability and label, which is never above 1."""
    return F.smooth_l1_loss(logits.float().sigmoid(), label.float())


def l1_loss(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute difference of probability and label."""
    return F.l1_loss(logits.float().sigmoid(), label.float())


def _named(losses: Mapping[str, Loss], name: str, kind: str) -> Loss:
    try:
        return losses[name]
    except KeyError:
        raise ConfigError(f"there is no {kind} {name!r}; choose one of {', '.join(losses)}") from None


SEGMENTATION_LOSSES: Mapping[str, Loss] = MappingProxyType(
    {
        "dice": dice_loss,
        "jaccard": jaccard_loss,
        "bce": bce_loss,
        "bcel": bce_loss,
        "lovasz": lovasz_loss,
        "focal": focal_loss,
    }
)
"""By the names that a configuration uses."""

CLASSIFICATION_LOSSES: Mapping[str, Loss] = MappingProxyType(
    {"bce": bce_loss, "smooth_l1": smooth_l1_loss, "l1": l1_loss}
)
"""By the names that a configuration uses."""

EXPECTING_LOGITS = frozenset({"bcel", "lovasz", "focal"})
"""The losses that the paper's code feeds with probabilities by mistake."""
