import shutil

import pytest
import torch

from models.checkpoint import Role, load_checkpoint, load_spec
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
