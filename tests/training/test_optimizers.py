import pytest
import torch
from torch import nn, optim

from training.learning.config import ConfigError
from training.learning.optimizers import OPTIMIZERS, build_optimizer


def parameters():
    return [nn.Parameter(torch.ones(3))]


@pytest.mark.parametrize(
    ("name", "kind", "settings"),
    [
        ("sgd", optim.SGD, {"momentum": 0, "weight_decay": 0}),
        ("rmsprop", optim.RMSprop, {"alpha": 0.99, "weight_decay": 0}),
        ("adam", optim.Adam, {"amsgrad": False, "betas": (0.9, 0.999), "weight_decay": 0}),
        ("adamw", optim.AdamW, {"amsgrad": False, "weight_decay": 0.01}),
        ("adam_amsgrad", optim.Adam, {"amsgrad": True, "weight_decay": 0}),
        ("adamw_amsgrad", optim.AdamW, {"amsgrad": True, "weight_decay": 0.01}),
    ],
)
def test_the_six(name, kind, settings):
    assert len(OPTIMIZERS) == 6
    optimizer = build_optimizer(name, parameters(), 5e-4)
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    assert {key: group[key] for key in settings} == settings
    assert group["lr"] == 5e-4
    assert build_optimizer(name, parameters(), 1e-3, 0.05).param_groups[0]["weight_decay"] == 0.05


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_each_goes_downhill(name):
    parameter = nn.Parameter(torch.tensor([3.0, -2.0]))
    optimizer = build_optimizer(name, [parameter], 0.05)
    for _ in range(200):
        optimizer.zero_grad()
        (parameter**2).sum().backward()
        optimizer.step()
    assert parameter.detach().abs().max() < 0.2
    kept = "max_exp_avg_sq" in optimizer.state[parameter]
    assert kept == name.endswith("amsgrad")


def test_unknown_name():
    with pytest.raises(ConfigError, match="there is no optimizer 'lion'; choose one of sgd, rmsprop, adam"):
        build_optimizer("lion", parameters(), 1e-3)


@pytest.mark.parametrize("rate", [0.0, -1e-3, float("nan")])
def test_learning_rate_out_of_range(rate):
    with pytest.raises(ConfigError, match="not above 0"):
        build_optimizer("adam", parameters(), rate)


def test_weight_decay_out_of_range():
    with pytest.raises(ConfigError, match="cannot be used: Invalid weight_decay"):
        build_optimizer("adam", parameters(), 1e-3, -1.0)
