import dataclasses

import pytest
import torch

from models.checkpoint import Role, load_checkpoint
from training.config import ConfigError, read_config
from training.train import RunOptions, train


def run(data_folder, out, **changes):
    return RunOptions(data=data_folder, out=out, **changes)


def test_stage_one_learns(trained):
    _, figures, logs = trained
    assert figures["lungs"] > 0.9
    assert logs["lungs"][-1]["lungs"] < logs["lungs"][0]["lungs"]
    assert [line["epoch"] for line in logs["lungs"]] == list(range(1, 13))
    assert {line["side"] for line in logs["lungs"]} == {48, 64}


def test_stage_two_learns(trained):
    _, _, logs = trained
    first, last = logs["opacity"][0], logs["opacity"][-1]
    assert last["mask"] < first["mask"]
    assert {"mask", "boxes", "normal", "teacher", "score", "brixia", "presence"} < set(first)


def test_checkpoints_load(trained):
    weights, _, _ = trained
    for role in Role:
        _, spec = load_checkpoint(weights, role)
        assert spec.input_shape == (64, 64)
        assert "licences" in spec.training


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(data_folder, configs, tmp_path):
    config = read_config(configs / "lungs.toml")
    short = dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, epochs=2))
    whole = tmp_path / "whole"
    train(short, run(data_folder, whole, steps=2))

    stopped = tmp_path / "stopped"
    torch.manual_seed(99)
    with pytest.raises(KeyboardInterrupt):
        _stop_after_one_epoch(short, run(data_folder, stopped, steps=2))
    train(short, run(data_folder, stopped, steps=2))
    first, second = (load_checkpoint(folder, Role.LUNGS)[0].state_dict() for folder in (whole, stopped))
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=0, atol=2e-3, msg=name)


def _stop_after_one_epoch(config, options):
    import training.train as module

    original, calls = module.save_state, []

    def save_then_stop(*arguments):
        original(*arguments)
        calls.append(1)
        raise KeyboardInterrupt

    module.save_state = save_then_stop
    try:
        train(config, options)
    finally:
        module.save_state = original


def test_stage_two_needs_stage_one(data_folder, configs, tmp_path):
    with pytest.raises(ConfigError, match="--lungs"):
        train(read_config(configs / "opacity.toml"), run(data_folder, tmp_path))
