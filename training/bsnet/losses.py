"""What BS-Net learns from: the joint loss on scores, Dice on lungs (Signoroni et al. 2021, Eq. 1-3).

Labels are distributions over the four scores, so that two readers who differ, or a teacher who is unsure, can
say so; one reader's score is the distribution that is 1 there.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F  # noqa: N812 - its customary name

ALPHA = 0.7
"""Weight of the cross-entropy against the differentiable mean absolute error; the paper's."""

BETA = 20.0
"""Sharpness of the differentiable argmax. The paper says "arbitrarily large"; its value is not published."""

SMOOTHING = 1.0
"""Added to both parts of the Dice, in pixels, so that an empty mask has one."""


def joint_loss(
    logits: torch.Tensor, labels: torch.Tensor, alpha: float = ALPHA, beta: float = BETA
) -> torch.Tensor:
    """Return the paper's loss for each film: alpha · SCCE + (1 - alpha) · MAE_d (Eq. 1).

    Parameters
    ----------
    logits : torch.Tensor
        float32, (batch, 3, 2, 4).
    labels : torch.Tensor
        float32, (batch, 3, 2, 4): distributions over the scores.
    alpha, beta : float
        See ``ALPHA`` and ``differentiable_mae``.

    Returns
    -------
    torch.Tensor
        float32, (batch,).
    """
    scce = -(labels * logits.log_softmax(dim=-1)).sum(dim=-1).mean(dim=(1, 2))
    return alpha * scce + (1 - alpha) * differentiable_mae(logits.softmax(dim=-1), labels, beta)


def differentiable_mae(probabilities: torch.Tensor, labels: torch.Tensor, beta: float = BETA) -> torch.Tensor:
    """Return the mean absolute error of each film's regions with a differentiable argmax (Eq. 2-3).

    The score is Σ c · softmax(β · p)_c, which tends to the argmax as β grows. Where the label is a
    distribution, the error is its mean over the label.

    Parameters
    ----------
    probabilities, labels : torch.Tensor
        float32, (batch, 3, 2, 4).
    beta : float
        Above 0.

    Returns
    -------
    torch.Tensor
        float32, (batch,), in [0, 3].
    """
    classes = torch.arange(labels.shape[-1], dtype=labels.dtype, device=labels.device)
    score = ((beta * probabilities).softmax(dim=-1) * classes).sum(dim=-1, keepdim=True)
    return (labels * (score - classes).abs()).sum(dim=-1).mean(dim=(1, 2))


def dice_loss(probability: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return 1 - Dice of each map, float32 (batch,), for maps in [0, 1] of (batch, 1, rows, columns)."""
    axes = (1, 2, 3)
    both = (probability * target).sum(dim=axes)
    total = probability.sum(dim=axes) + target.sum(dim=axes)
    return 1 - (2 * both + SMOOTHING) / (total + SMOOTHING)


def lung_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return cross-entropy plus 1 - Dice of each lung map.

    Parameters
    ----------
    logits, target : torch.Tensor
        float32, (batch, 1, rows, columns); the target in [0, 1].

    Returns
    -------
    torch.Tensor
        float32, (batch,).
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=(1, 2, 3))
    return entropy + dice_loss(logits.sigmoid(), target)
