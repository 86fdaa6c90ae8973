"""The joint loss of BS-Net (Signoroni et al. 2021, Eq. 1-3)."""

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - its customary name

from training.bsnet.losses import dice_loss, differentiable_mae, joint_loss, lung_loss


def labels(scores: torch.Tensor) -> torch.Tensor:
    return F.one_hot(scores, 4).float()


def some(batch: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(batch, 3, 2, 4, generator=generator) * 3
    return logits, torch.randint(0, 4, (batch, 3, 2), generator=generator)


def test_the_error_tends_to_that_of_the_argmax_as_beta_grows() -> None:
    logits, scores = some()
    probabilities = logits.softmax(-1)
    wanted = (probabilities.argmax(-1) - scores).abs().float().mean(dim=(1, 2))

    gaps = [
        (differentiable_mae(probabilities, labels(scores), beta) - wanted).abs().max()
        for beta in (5, 50, 2000)
    ]

    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 0.01


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_the_gradient_is_finite_and_not_everywhere_zero(scale: float) -> None:
    logits, scores = some()
    logits = (logits * scale).requires_grad_()

    joint_loss(logits, labels(scores)).sum().backward()

    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad != 0).any()


def test_alpha_weighs_cross_entropy_against_the_error() -> None:
    logits, scores = some()
    entropy = F.cross_entropy(logits.flatten(0, 2), scores.flatten(), reduction="none").view(5, 6).mean(1)
    error = differentiable_mae(logits.softmax(-1), labels(scores))

    assert torch.allclose(joint_loss(logits, labels(scores), alpha=1.0), entropy)
    assert torch.allclose(joint_loss(logits, labels(scores), alpha=0.0), error)
    assert torch.allclose(joint_loss(logits, labels(scores)), 0.7 * entropy + 0.3 * error)


def test_a_soft_label_is_the_mean_of_two_readers() -> None:
    logits, first = some()
    second = (first + 1) % 4
    mixed = (labels(first) + labels(second)) / 2

    both = (joint_loss(logits, labels(first)) + joint_loss(logits, labels(second))) / 2

    assert torch.allclose(joint_loss(logits, mixed), both, atol=1e-5)


def test_dice_of_equal_maps_is_one_and_of_apart_ones_nothing() -> None:
    left = torch.zeros(1, 1, 32, 32)
    left[..., :16] = 1

    assert float(dice_loss(left, left)) == pytest.approx(0.0, abs=1e-6)
    assert float(dice_loss(left, 1 - left)) == pytest.approx(1.0, abs=0.01)
    assert float(dice_loss(left * 0, left * 0)) == 0.0


def test_lungs_that_are_found_cost_less_than_lungs_that_are_missed() -> None:
    target = torch.zeros(1, 1, 32, 32)
    target[..., 8:24] = 1

    assert (
        float(lung_loss(10 * (target - 0.5), target)) < 0.1 < float(lung_loss(-10 * (target - 0.5), target))
    )
