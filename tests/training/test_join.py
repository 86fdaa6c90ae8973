import shutil

import pytest
import torch

from models.checkpoint import Role, load_checkpoint, load_spec, save_checkpoint
from models.errors import CheckpointError
from training.join import join


@pytest.fixture
def weights(trained):
    return trained[0]


def test_joined_networks_answer_with_the_mean_of_their_logits(weights, tmp_path):
    spec = join([weights, weights], tmp_path, mirrored=True)
    assert (spec.members, spec.mirrored) == (2, True)
    joined, read = load_checkpoint(tmp_path, spec.role)
    single, _ = load_checkpoint(weights, spec.role)
    assert read.input_shape == load_spec(weights, spec.role).input_shape
    views = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(joined(views), single(views), atol=1e-3, rtol=1e-3)


def test_one_network_keeps_its_form(weights, tmp_path):
    spec = join([weights], tmp_path, side=96)
    assert (spec.members, spec.mirrored, spec.input_shape) == (1, False, (96, 96))


def test_networks_of_other_descriptions_do_not_join(weights, tmp_path):
    other = tmp_path / "other"
    join([weights], other, side=96)
    with pytest.raises(CheckpointError, match="different descriptions"):
        join([weights, other], tmp_path / "joined")


def test_a_run_without_a_checkpoint(weights, tmp_path):
    for role in (Role.LUNGS,):
        shutil.copy(weights / f"{role}.json", tmp_path)
    with pytest.raises(CheckpointError, match="cannot read"):
        join([weights, tmp_path], tmp_path / "joined")


def test_averaged_weights_make_one_network(weights, tmp_path):
    role = join([weights], tmp_path / "first").role
    network, spec = load_checkpoint(weights, role)
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.mul_(3)
    save_checkpoint(network, spec, tmp_path / "second")
    spec = join([tmp_path / "first", tmp_path / "second"], tmp_path / "mean", average=True)
    assert spec.members == 1
    mean, _ = load_checkpoint(tmp_path / "mean", role)
    first, _ = load_checkpoint(weights, role)
    for (name, value), other in zip(mean.state_dict().items(), first.state_dict().values(), strict=True):
        if value.is_floating_point():
            torch.testing.assert_close(value, 2 * other, rtol=2e-3, atol=1e-4, msg=name)
