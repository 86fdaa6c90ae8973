import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.checkpoint import (
    SHIPPED_WEIGHTS,
    NetworkSpec,
    Role,
    build_network,
    load_checkpoint,
    load_spec,
    save_checkpoint,
    weights_folder,
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


def test_members_answer_together_and_keep(tmp_path):
    spec = replace(SPEC, members=2)
    torch.manual_seed(4)
    network = build_network(spec).eval()
    loaded, read = load_checkpoint(tmp_path, save_checkpoint(network, spec, tmp_path).role)
    assert read.members == 2
    batch = torch.randn(1, 1, 64, 96)
    with torch.inference_mode():
        first, second = (member(batch) for member in network.members)
        mask, label = network(batch)
        kept, _ = loaded(batch)
    assert (first[0] - second[0]).abs().max() > 0.01
    torch.testing.assert_close(mask, (first[0] + second[0]) / 2)
    torch.testing.assert_close(label, (first[1] + second[1]) / 2)
    torch.testing.assert_close(kept, mask, atol=0.05, rtol=0)


def test_members_without_a_classification_head():
    network = build_network(replace(SPEC, members=2, classification_head=False)).eval()
    assert network(torch.zeros(1, 1, 64, 64)).shape == (1, 1, 64, 64)


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


def test_weights_are_named_by_folder_or_by_a_name_beside_the_shipped_ones(tmp_path, monkeypatch):
    shipped = tmp_path / "shipped"
    (shipped / "light").mkdir(parents=True)
    monkeypatch.setattr("models.checkpoint.SHIPPED_WEIGHTS", shipped)
    assert weights_folder(None) == shipped
    assert weights_folder("light") == shipped / "light"
    assert weights_folder(tmp_path) == tmp_path
    assert weights_folder("missing") == Path("missing")


@pytest.mark.parametrize("role", list(Role))
def test_shipped_weights_load(role):
    _, spec = load_checkpoint(SHIPPED_WEIGHTS, role)
    assert spec.role is role
    assert spec.training


def test_shipped_weights_are_small():
    assert sum(path.stat().st_size for path in SHIPPED_WEIGHTS.iterdir()) <= 60 * 2**20


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """The library's downloads fail at once, as without a network, and it has nothing in its cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("encoder", ["resnet18", "tu-regnety_002.pycls_in1k"])
def test_encoder_weights_that_cannot_be_downloaded(encoder, offline):
    spec = replace(SPEC, encoder=encoder, channel_mean=(0.5,) * 3, channel_std=(0.25,) * 3)
    with pytest.raises(CheckpointError) as raised:
        build_network(spec, encoder_weights="imagenet")
    message = str(raised.value)
    assert message.startswith(f"the imagenet weights of {encoder} cannot be downloaded: ")
    assert message.endswith(
        "--encoder-weights none, or name a safetensors file of that encoder's weights in their place"
    )


def test_encoder_weights_that_the_library_does_not_have():
    with pytest.raises(CheckpointError, match=r"cannot build unet with encoder resnet18: .*flickr"):
        build_network(SPEC, encoder_weights="flickr")


def same_encoder(first, second):
    pairs = zip(first.encoder.state_dict().values(), second.encoder.state_dict().values(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


def test_no_encoder_weights():
    torch.manual_seed(5)
    first = build_network(SPEC, encoder_weights="none")
    torch.manual_seed(5)
    assert same_encoder(first, build_network(SPEC))


@pytest.mark.parametrize("encoder", ["resnet18", "tu-regnety_002.pycls_in1k"])
def test_encoder_weights_from_a_file(encoder, tmp_path):
    spec = replace(SPEC, encoder=encoder)
    source = build_network(spec)
    state = source.encoder.state_dict()
    files = {
        "encoder": state,
        "network": source.state_dict(),
        # A classifier on the same encoder: the head is left behind, and timm knows no "model." in front.
        "classifier": {name.removeprefix("model."): value for name, value in state.items()}
        | {"head.fc.weight": torch.zeros(10, 4)},
        "old": {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")},
    }
    for name, tensors in files.items():
        path = tmp_path / f"{name}.safetensors"
        save_file(tensors, path)
        network = build_network(spec, encoder_weights=str(path))
        assert same_encoder(network, source), name
        assert not same_encoder(network, build_network(spec))


def test_encoder_weights_from_a_file_that_does_not_fit(tmp_path, saved):
    path = tmp_path / "other.safetensors"
    path.write_bytes((saved[0] / "opacity.safetensors").read_bytes())
    three = replace(SPEC, channel_mean=(0.5,) * 3, channel_std=(0.25,) * 3)
    with pytest.raises(CheckpointError, match=r"another encoder: 1 of \d+ tensors .* e\.g\. conv1\.weight"):
        build_network(three, encoder_weights=str(path))
    with pytest.raises(CheckpointError, match="are of another encoder"):
        build_network(replace(SPEC, encoder="resnet34"), encoder_weights=str(path))
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot read the encoder weights"):
        build_network(SPEC, encoder_weights=str(path))
    with pytest.raises(CheckpointError, match="cannot read the encoder weights"):
        build_network(SPEC, encoder_weights=str(tmp_path / "missing.safetensors"))


def test_colour_encoder_weights_fit_a_grey_film(tmp_path):
    torch.manual_seed(2)
    colour = build_network(replace(SPEC, channel_mean=(0.4,) * 3, channel_std=(0.2,) * 3)).eval()
    path = tmp_path / "encoder.safetensors"
    save_file({name: value.contiguous() for name, value in colour.encoder.state_dict().items()}, path)
    grey = build_network(SPEC, encoder_weights=str(path)).eval()
    film = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        for one, three in zip(grey.encoder(film), colour.encoder(film.expand(-1, 3, -1, -1)), strict=True):
            torch.testing.assert_close(
                one, three[:, :1] if one.shape[1] == 1 else three, atol=1e-4, rtol=1e-4
            )
