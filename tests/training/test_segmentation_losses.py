import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812

from training.learning.config import ConfigError
from training.learning.segmentation_losses import (
    CLASSIFICATION_LOSSES,
    SEGMENTATION_LOSSES,
    classification_loss,
    focal_loss,
    segmentation_loss,
)


def maps(*values):
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, 1, -1)


# Probabilities 0.5, 0.8, 0.2 and 0.5 as logits.
LOGITS = maps(0.0, math.log(4), -math.log(4), 0.0)
TARGET = maps(1, 1, 0, 0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dice", 1 - (2 * 1.3 + 1) / (2.0 + 2 + 1)),
        ("jaccard", 1 - (1.3 + 1) / (2.0 + 2 - 1.3 + 1)),
        ("bce", (2 * math.log(2) + 2 * math.log(1.25)) / 4),
        ("bcel", (2 * math.log(2) + 2 * math.log(1.25)) / 4),
        ("focal", (2 * 0.25 * math.log(2) + 2 * 0.04 * math.log(1.25)) / 4),
        # Only the two pixels of logit 0 miss their margin, each by 1: Jaccard is then 1 of 3.
        ("lovasz", 2 / 3),
    ],
)
def test_closed_forms(name, expected):
    loss = segmentation_loss(name)(LOGITS, TARGET)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def lovasz_by_definition(logits, target):
    """Lovász extension as a sum over level sets: the gain in Jaccard loss of each pixel, worst first."""
    errors = [max(0.0, 1 - x * (2 * y - 1)) for x, y in zip(logits, target, strict=True)]
    order = sorted(range(len(errors)), key=lambda index: -errors[index])
    positives, total, before = sum(target), 0.0, 0.0
    for length in range(1, len(order) + 1):
        wrong = order[:length]
        missed = sum(target[index] for index in wrong)
        added = length - missed
        after = 1 - (positives - missed) / (positives + added)
        total += errors[order[length - 1]] * (after - before)
        before = after
    return total


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-4, 4, width=32), st.integers(0, 1)), min_size=1, max_size=12))
def test_lovasz_hinge_by_its_definition(pixels):
    logits, target = zip(*pixels, strict=True)
    loss = segmentation_loss("lovasz")(maps(*logits), maps(*target))
    assert loss.item() == pytest.approx(lovasz_by_definition(logits, target), abs=1e-4)


def test_lovasz_is_zero_where_every_margin_is_met():
    assert segmentation_loss("lovasz")(maps(1.5, -1.0, 3.0), maps(1, 0, 1)).item() == 0


def test_sums_run_over_the_whole_batch():
    logits = torch.cat([maps(2.0, 1.0), maps(-1.0, 3.0)])
    target = torch.cat([maps(1, 0), maps(0, 0)])
    for name in SEGMENTATION_LOSSES:
        loss = segmentation_loss(name)
        assert loss(logits, target).item() == pytest.approx(
            loss(logits.reshape(1, 1, 1, -1), target.reshape(1, 1, 1, -1)).item(), abs=1e-6
        )
        if name in ("dice", "jaccard"):
            film_by_film = sum(loss(logits[i : i + 1], target[i : i + 1]).item() for i in range(2)) / 2
            assert loss(logits, target).item() != pytest.approx(film_by_film, abs=1e-3)


@pytest.mark.parametrize("name", ["dice", "jaccard"])
def test_an_empty_batch_still_teaches(name):
    logits = torch.zeros(2, 1, 4, 4, requires_grad=True)
    loss = segmentation_loss(name)(logits, torch.zeros(2, 1, 4, 4))
    loss.backward()
    assert loss.item() == pytest.approx(1 - 1 / 17)
    assert (logits.grad > 0).all()
    assert segmentation_loss(name)(torch.full((2, 1, 4, 4), -20.0), torch.zeros(2, 1, 4, 4)).item() < 1e-4


@pytest.mark.parametrize("name", list(SEGMENTATION_LOSSES))
def test_gradient(name):
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(2, 1, 3, 4, generator=generator)
    target = (torch.rand(2, 1, 3, 4, generator=generator) > 0.6).float()
    leaf = logits.clone().requires_grad_()
    loss = segmentation_loss(name)
    loss(leaf, target).backward()
    step = 1e-2
    for index in ((0, 0, 0, 0), (1, 0, 2, 3), (0, 0, 1, 2)):
        shift = torch.zeros_like(logits)
        shift[index] = step
        slope = (loss(logits + shift, target) - loss(logits - shift, target)).item() / (2 * step)
        assert leaf.grad[index].item() == pytest.approx(slope, abs=3e-3)
    with torch.no_grad():
        assert loss(logits - 0.1 * leaf.grad, target) < loss(logits, target)


def test_focal_without_focus_is_cross_entropy():
    logits, target = torch.randn(2, 1, 5, 5), (torch.rand(2, 1, 5, 5) > 0.5).float()
    assert torch.allclose(focal_loss(logits, target, gamma=0.0), segmentation_loss("bce")(logits, target))


def test_extreme_logits_stay_finite():
    logits = torch.tensor([-200.0, 200.0, -200.0, 200.0]).reshape(1, 1, 2, 2).requires_grad_()
    for name in SEGMENTATION_LOSSES:
        logits.grad = None
        loss = segmentation_loss(name)(logits, maps(1, 1, 0, 0).reshape(1, 1, 2, 2))
        loss.backward()
        assert loss.isfinite()
        assert logits.grad.isfinite().all()


def test_half_precision_is_computed_in_float32():
    logits = torch.full((1, 1, 300, 300), 3.0, dtype=torch.float16)
    target = torch.ones(1, 1, 300, 300, dtype=torch.uint8)
    for name in SEGMENTATION_LOSSES:
        loss = segmentation_loss(name)(logits, target)
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(segmentation_loss(name)(logits.float(), target.float()).item())
        assert loss.isfinite()


@pytest.mark.parametrize("name", ["bcel", "lovasz", "focal"])
def test_legacy_inputs_are_probabilities(name):
    logits, target = torch.tensor([-3.0, 0.5, 6.0]).reshape(1, 1, 1, 3), maps(0, 1, 1)
    legacy = segmentation_loss(name, legacy_inputs=True)(logits, target)
    assert torch.equal(legacy, segmentation_loss(name)(logits.sigmoid(), target))
    assert legacy != segmentation_loss(name)(logits, target)


def test_legacy_hinge_is_never_met_for_background():
    logits, target = torch.full((1, 1, 4, 4), -50.0), torch.zeros(1, 1, 4, 4)
    assert segmentation_loss("lovasz")(logits, target).item() == 0
    assert segmentation_loss("lovasz", legacy_inputs=True)(logits, target).item() == pytest.approx(1)


@pytest.mark.parametrize("name", ["dice", "jaccard", "bce"])
def test_the_other_losses_have_no_legacy_form(name):
    assert segmentation_loss(name, legacy_inputs=True) is segmentation_loss(name)


def test_classification_losses():
    logits, labels = torch.tensor([[0.0], [math.log(4)]]), torch.tensor([[1.0], [0.0]])
    expected = {
        "bce": (math.log(2) + math.log(5)) / 2,
        "smooth_l1": (0.5 * 0.25 + 0.5 * 0.64) / 2,
        "l1": (0.5 + 0.8) / 2,
    }
    assert set(expected) == set(CLASSIFICATION_LOSSES)
    for name, value in expected.items():
        assert classification_loss(name)(logits, labels).item() == pytest.approx(value)
    assert torch.allclose(
        classification_loss("bce")(logits, labels), F.binary_cross_entropy(logits.sigmoid(), labels)
    )


@pytest.mark.parametrize("find", [segmentation_loss, classification_loss])
def test_unknown_names(find):
    with pytest.raises(ConfigError, match=r"there is no .* loss 'tversky'; choose one of"):
        find("tversky")
