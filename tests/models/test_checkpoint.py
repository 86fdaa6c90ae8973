import json
from dataclasses import replace

import pytest
import torch

from models.checkpoint import (
    SHIPPED_WEIGHTS,
    NetworkSpec,
    Role,
    build_network,
    load_checkpoint,
    load_spec,
    save_checkpoint,
    write_spec,
)
from models.errors import CheckpointError
from models.geometry import Resize

SPEC = NetworkSpec(
    role=Role.OPACITY,
    architecture="unet",
    encoder="resnet18",
    input_shape=(64, 96),
    options={"encoder_depth": 3, "decoder_channels": [16, 8, 8]},
    resize=Resize.LETTERBOX,
    window_percentiles=(1.0, 99.0),
    channel_mean=(0.4,),
    channel_std=(0.2,),
    classification_head=True,
    involvement_threshold=0.3,
    training="random weights of a test",
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("weights")
    network = build_network(SPEC).eval()
    return folder, network, save_checkpoint(network, SPEC, folder)


@pytest.fixture
def copied(saved, tmp_path):
    for path in saved[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_round_trip(saved):
    folder, network, written = saved
    loaded, spec = load_checkpoint(folder, Role.OPACITY)
    assert spec == written
    assert replace(spec, weights_file="", weights_sha256="") == SPEC
    assert not loaded.training
    batch = torch.randn(1, 1, 64, 96)
    with torch.inference_mode():
        mask, label = loaded(batch)
        expected, _ = network(batch)
    assert mask.shape == (1, 1, 64, 96)
    assert label.shape == (1, 1)
    assert all(
        tensor.dtype == torch.float32 for tensor in loaded.state_dict().values() if tensor.is_floating_point()
    )
    assert (mask - expected).abs().max() < 0.05  # float16 on disk
    assert (mask - expected).abs().max() > 0


def test_three_channels_follow_the_spec():
    spec = replace(SPEC, channel_mean=(0.485, 0.456, 0.406), channel_std=(0.229, 0.224, 0.225))
    assert build_network(spec).eval()(torch.zeros(1, 3, 64, 64))[0].shape == (1, 1, 64, 64)


def test_altered_weights(copied):
    path = copied / "opacity.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not the file its description names"):
        load_checkpoint(copied, Role.OPACITY)


def test_missing_weights(copied):
    (copied / "opacity.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"cannot read .*opacity\.safetensors"):
        load_checkpoint(copied, Role.OPACITY)


def test_missing_folder(tmp_path):
    with pytest.raises(CheckpointError, match=r"cannot read .*lungs\.json"):
        load_checkpoint(tmp_path / "none", Role.LUNGS)


def test_altered_description(copied):
    path = copied / "opacity.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"involvement_threshold": 0.1}))
    with pytest.raises(CheckpointError, match="altered"):
        load_spec(copied, Role.OPACITY)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"role": "heart"}', "\x00"])
def test_description_that_is_none(copied, text):
    (copied / "opacity.json").write_text(text)
    with pytest.raises(CheckpointError, match="not a network's description"):
        load_spec(copied, Role.OPACITY)


def test_description_of_the_other_role(copied):
    (copied / "lungs.json").write_bytes((copied / "opacity.json").read_bytes())
    with pytest.raises(CheckpointError, match="describes a network for opacity"):
        load_spec(copied, Role.LUNGS)


def test_weights_of_another_shape(copied):
    spec = load_spec(copied, Role.OPACITY)
    write_spec(replace(spec, options={"encoder_depth": 3, "decoder_channels": [16, 8, 4]}), copied)
    with pytest.raises(CheckpointError, match="do not fit"):
        load_checkpoint(copied, Role.OPACITY)


def test_weights_that_are_no_safetensors(copied):
    (copied / "opacity.safetensors").write_bytes(b"nothing")
    spec = load_spec(copied, Role.OPACITY)
    digest = "1785cfc3bc6ac7738e8b38cdccd1af12563c2b9070e07af336a1bf8c0f772b6a"
    write_spec(replace(spec, weights_sha256=digest), copied)
    with pytest.raises(CheckpointError, match="do not fit"):
        load_checkpoint(copied, Role.OPACITY)


@pytest.mark.parametrize(
    "change", [{"architecture": "xnet"}, {"encoder": "no-such"}, {"options": {"depth": 1}}]
)
def test_unknown_network(change):
    with pytest.raises(CheckpointError, match="cannot build"):
        build_network(replace(SPEC, **change))


@pytest.mark.parametrize("role", list(Role))
def test_shipped_weights_load(role):
    _, spec = load_checkpoint(SHIPPED_WEIGHTS, role)
    assert spec.role is role
    assert spec.training


def test_shipped_weights_are_small():
    assert sum(path.stat().st_size for path in SHIPPED_WEIGHTS.iterdir()) <= 60 * 2**20
