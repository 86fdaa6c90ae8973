import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.checkpoint import NetworkSpec, Role
from models.geometry import Resize
from training.learning import presets
from training.learning.config import ConfigError, TrainConfig, config_from, config_text, read_config
from training.learning.settings import Augmentation, Initial, Objective, OptimizerSettings, Schedule

NETWORK = {"role": "lungs", "architecture": "fpn", "encoder": "resnet18", "input_shape": [64, 64]}

share = st.floats(0, 1)
config_strategy = st.builds(
    TrainConfig,
    spec=st.builds(
        NetworkSpec,
        role=st.sampled_from(Role),
        architecture=st.text("ab\"\\'é", min_size=1),
        encoder=st.just("resnet18"),
        input_shape=st.integers(32, 640).map(lambda side: (side, side)),
        options=st.dictionaries(st.text("a-_.", min_size=1), st.lists(st.integers()).map(list), max_size=2),
        resize=st.sampled_from(Resize),
        channel_mean=st.tuples(share, share, share),
        classification_head=st.booleans(),
        involvement_threshold=st.none() | share,
    ),
    initial=st.builds(Initial, encoder_weights=st.sampled_from(["none", "imagenet", "a b.safetensors"])),
    objective=st.builds(Objective, kind=st.sampled_from(["two_task", "weak_labels"]), alpha=share),
    optimizer=st.builds(
        OptimizerSettings, learning_rate=st.floats(1e-12, 1), weight_decay=st.none() | st.floats(1e-12, 1)
    ),
    schedule=st.builds(Schedule, resolutions=st.lists(st.tuples(st.integers(1, 9), share)).map(tuple)),
    augmentation=st.builds(Augmentation, noise=share),
    seed=st.integers(0, 2**31),
)


@given(config_strategy)
def test_a_written_configuration_is_read_as_the_same(tmp_path_factory, config):
    path = tmp_path_factory.mktemp("config") / "x.toml"
    path.write_text(config_text(config), encoding="utf-8")
    assert read_config(path) == config


def test_every_preset_is_read():
    for name in presets.names():
        assert read_config(presets.path(name)).objective.kind in ("two_task", "weak_labels")


def test_one_number_is_a_square_input():
    assert config_from({"network": NETWORK | {"input_shape": 96}}, "x").spec.input_shape == (96, 96)


def test_the_defaults_are_the_papers():
    config = config_from({"network": NETWORK}, "x")
    assert config.schedule.ema_decay == 0
    assert config.optimizer.clip_norm == 0
    assert config.optimizer.schedule == "constant"


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"objective": {"kind": "three_task"}}, "three_task.*two_task"),
        ({"optimizer": {"learning_rate": 0.0}}, "learning_rate"),
        ({"optimizer": {"schedule": "linear"}}, "constant, cosine"),
        ({"schedule": {"batch_size": 1}}, "batch_size is 1; write 2"),
        ({"schedule": {"precision": "int8"}}, "bf16"),
        ({"schedule": {"learning_rate": 0.1}}, "unknown key learning_rate"),
        ({"network": NETWORK | {"input_shape": [64, 32]}}, "square"),
        ({"schedule": {"augmentation": "paper", "resolutions": [[32, 1.0]]}}, "resolutions"),
        ({"opacity_loss": {"dice": 1}}, "unknown key dice for OpacityLoss"),
    ],
)
def test_wrong_values_are_told(tables, words):
    with pytest.raises(ConfigError, match=words):
        config_from({"network": NETWORK} | tables, "x.toml")
