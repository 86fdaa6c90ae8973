import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.learning.config import ConfigError
from training.learning.weighting import DynamicWeighting, LossWeighting, StaticWeighting


def losses(**values):
    return {name: torch.tensor(value) for name, value in values.items()}


def test_the_first_batch_has_weight_one():
    assert DynamicWeighting().weights(losses(seg=0.8, cls=12.0)) == {"seg": 1.0, "cls": 1.0}


def test_a_halved_loss():
    weighting = DynamicWeighting(alpha=0.5)
    weighting.weights(losses(seg=0.8, cls=0.2))
    weights = weighting.weights(losses(seg=0.4, cls=0.2))
    assert weights["seg"] == pytest.approx(0.70710678)
    assert weights["cls"] == 1.0


@given(st.floats(0.01, 5), st.floats(0.01, 5), st.floats(0, 2))
def test_equation_3(first, now, alpha):
    weighting = DynamicWeighting(alpha=alpha, limit=1e9)
    weighting.weights(losses(seg=first))
    assert weighting.weights(losses(seg=now))["seg"] == pytest.approx((now / first) ** alpha, rel=1e-4)


def test_an_epoch_starts_anew():
    weighting = DynamicWeighting()
    weighting.weights(losses(seg=1.0))
    weighting.start_epoch()
    assert weighting.weights(losses(seg=0.25)) == {"seg": 1.0}
    assert weighting.weights(losses(seg=0.0625))["seg"] == pytest.approx(0.5)


def test_alpha_zero_is_equal_weights():
    weighting = DynamicWeighting(alpha=0.0)
    weighting.weights(losses(seg=1.0, cls=1.0))
    assert weighting.weights(losses(seg=0.1, cls=7.0)) == {"seg": 1.0, "cls": 1.0}


def test_a_first_loss_of_zero():
    weighting = DynamicWeighting(limit=10.0)
    assert weighting.weights(losses(seg=0.0)) == {"seg": 1.0}
    assert weighting.weights(losses(seg=0.0)) == {"seg": 0.0}
    assert weighting.weights(losses(seg=0.5)) == {"seg": 10.0}


def test_a_task_that_comes_later_is_compared_with_its_own_first_batch():
    weighting = DynamicWeighting()
    weighting.weights(losses(seg=1.0))
    assert weighting.weights(losses(seg=1.0, cls=3.0))["cls"] == 1.0


@pytest.mark.parametrize("weighting", [DynamicWeighting(), StaticWeighting({"seg": 0.5})])
def test_no_gradient_flows_through_a_weight(weighting: LossWeighting):
    parameter = torch.tensor(3.0, requires_grad=True)
    weighting.weights({"seg": torch.tensor(2.0)})
    loss = parameter**2
    weights = weighting.weights({"seg": loss})
    assert type(weights["seg"]) is float
    (weights["seg"] * loss).backward()
    assert parameter.grad.item() == pytest.approx(weights["seg"] * 6.0)


def test_static_weights():
    weighting = StaticWeighting({"seg": 0.55})
    for value in (1.0, 0.1):
        weighting.start_epoch()
        assert weighting.weights(losses(seg=value, cls=value)) == {"seg": 0.55, "cls": 1.0}
    assert StaticWeighting().weights(losses(seg=2.0)) == {"seg": 1.0}


@pytest.mark.parametrize("settings", [{"alpha": -0.1}, {"epsilon": 0.0}, {"limit": 0.0}])
def test_settings_out_of_range(settings):
    with pytest.raises(ConfigError, match="alpha must be at least 0"):
        DynamicWeighting(**settings)


def test_negative_static_weight():
    with pytest.raises(ConfigError, match="cls is negative"):
        StaticWeighting({"seg": 1.0, "cls": -1.0})
