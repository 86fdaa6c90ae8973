"""BS-Net on disk, and several networks that answer together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.bsnet.aligner import aligned
from models.bsnet.checkpoint import SHIPPED_BSNET, load_bsnet, load_bsnet_spec, save_bsnet, write_bsnet_spec
from models.bsnet.decision import confidence, in_zone_order, scores
from models.bsnet.ensemble import BSNetEnsemble, calibrated, mirrored
from models.bsnet.network import build_bsnet
from models.bsnet.spec import COMPACT, PRESETS, Attention, BSNetSpec, Decision, Preprocessing
from models.errors import CheckpointError

TINY = replace(
    COMPACT,
    input_shape=(64, 64),
    decoder_channels=(16, 8, 8, 8, 4),
    pyramid_channels=(8, 8, 8, 8, 16),
    roi_sizes=(8, 4, 4, 4),
    preprocessing=Preprocessing.PERCENTILES,
    training="random weights of a test",
    licence="for tests",
)


def ensemble(spec: BSNetSpec, members: int = 1) -> BSNetEnsemble:
    """Return untrained networks that turn and shift the lungs a little, each its own way."""
    torch.manual_seed(1)
    networks = [build_bsnet(spec) for _ in range(members)]
    for network in networks:
        if network.aligner is not None:
            torch.nn.init.normal_(network.aligner.dense[-1].weight, std=0.05)
        for head in network.heads.values():  # so that the regions do not all get the same answer
            for parameter in head.parameters():
                torch.nn.init.normal_(parameter, std=0.5)
    return BSNetEnsemble(networks, spec).eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BSNetEnsemble, BSNetSpec]:
    folder = tmp_path_factory.mktemp("weights")
    networks = ensemble(TINY, 2)
    return folder, networks, save_bsnet(networks.members, TINY, folder)


@pytest.fixture
def copied(saved: tuple[Path, BSNetEnsemble, BSNetSpec], tmp_path: Path) -> Path:
    for path in saved[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_round_trip(saved: tuple[Path, BSNetEnsemble, BSNetSpec]) -> None:
    folder, networks, written = saved
    loaded = load_bsnet(folder)
    assert loaded.spec == written
    assert written == replace(
        TINY, members=2, weights_file="bsnet.safetensors", weights_sha256=written.weights_sha256
    )
    assert not loaded.training
    films = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        expected, found = networks(films), loaded(films)
    torch.testing.assert_close(found.region_probabilities, expected.region_probabilities, atol=0.03, rtol=0)
    torch.testing.assert_close(found.theta, expected.theta, atol=0.01, rtol=0)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_json(name: str, tmp_path: Path) -> None:
    write_bsnet_spec(PRESETS[name], tmp_path)
    assert load_bsnet_spec(tmp_path) == PRESETS[name]


def test_altered_weights(copied: Path) -> None:
    path = copied / "bsnet.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(CheckpointError, match=r"bsnet\.safetensors is not the file its description names"):
        load_bsnet(copied)


def test_missing_weights(copied: Path) -> None:
    (copied / "bsnet.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"cannot read .*bsnet\.safetensors.*name another folder"):
        load_bsnet(copied)


def test_no_weights_at_all(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot read .*bsnet\.json: No such file"):
        load_bsnet(tmp_path)


def test_altered_description(copied: Path) -> None:
    path = copied / "bsnet.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"temperature": 2.0}))
    with pytest.raises(CheckpointError, match="altered after it was written"):
        load_bsnet_spec(copied)


@pytest.mark.parametrize("text", ["", "{}", "[]", "\x00", '{"spec_sha256": 3}'])
def test_a_file_that_is_no_description(copied: Path, text: str) -> None:
    (copied / "bsnet.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"not a network's description|altered"):
        load_bsnet_spec(copied)


def test_weights_of_another_shape(copied: Path) -> None:
    write_bsnet_spec(replace(load_bsnet_spec(copied), pyramid_channels=(8, 8, 8, 8, 24)), copied)
    with pytest.raises(
        CheckpointError, match="do not fit a BS-Net of preset compact with tu-tf_efficientnet_lite0"
    ):
        load_bsnet(copied)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_shape": (100, 64)}, "multiples of 32"),
        ({"attentions": ()}, "at least one"),
        ({"attentions": (Attention.HARD, Attention.HARD)}, "each once"),
        ({"decoder": "none"}, "not a valid|need the lungs"),
        ({"decoder_channels": (1, 2)}, "five widths"),
        ({"pyramid_channels": (1, 2)}, "four levels"),
        ({"roi_sizes": (4,)}, "roi_sizes"),
        ({"temperature": 0.0}, "above 0"),
        ({"class_bias": (0.0,)}, "4 classes"),
        ({"pyramid": "panet"}, "panet"),
    ],
)
def test_a_spec_that_cannot_be(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BSNetSpec.from_mapping({"preset": "x", "encoder": "resnet18", "input_shape": [64, 64], **change})


def test_the_answers_of_heads_and_members_are_averaged() -> None:
    networks = ensemble(replace(TINY, align=False), 2)
    films = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        together = networks(films)
        lungs = torch.stack([member(films).lung_logits.sigmoid() for member in networks.members]).mean(0)
        single = [
            member.judge(member.features(films).levels, lungs, together.theta)[attention].softmax(-1)
            for member in networks.members
            for attention in ("hard", "soft")
        ]
    torch.testing.assert_close(together.lung_probability, lungs)
    torch.testing.assert_close(together.region_probabilities, torch.stack(single).mean(0))
    assert (single[0] - single[3]).abs().max() > 0.01
    hard = torch.stack([single[0], single[2]]).mean(0)
    torch.testing.assert_close(together.by_attention[Attention.HARD], hard)


def test_a_film_s_mirror_image_gets_the_answer_with_its_columns_swapped() -> None:
    networks = ensemble(replace(TINY, mirrored=True))
    films = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        here, there = networks(films), networks(films.flip(-1))
    assert (here.region_probabilities[:, :, 0] - here.region_probabilities[:, :, 1]).abs().max() > 1e-3
    torch.testing.assert_close(there.region_probabilities, here.region_probabilities.flip(2))
    torch.testing.assert_close(there.lung_probability, here.lung_probability.flip(-1))
    torch.testing.assert_close(there.theta, mirrored(here.theta))


def test_a_mirrored_transform_gives_the_mirrored_frame() -> None:
    theta = torch.tensor([[[0.7, 0.2, 0.1], [-0.3, 0.8, -0.2]]])
    film = torch.rand(1, 1, 20, 30)
    expected = aligned(film, theta).flip(-1)
    torch.testing.assert_close(aligned(film.flip(-1), mirrored(theta)), expected)


def test_judging_by_known_lungs_gives_the_answer_itself() -> None:
    networks = ensemble(replace(TINY, mirrored=True, temperature=2.0), 2)
    films = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        whole = networks(films)
        twice = networks.judge(films.repeat(2, 1, 1, 1), whole.lung_probability, whole.theta)
        half = networks.judge(films, whole.lung_probability, whole.theta, mirror=False)
        turned = networks.judge(
            films.flip(-1), whole.lung_probability.flip(-1), mirrored(whole.theta), mirror=False
        )
    torch.testing.assert_close(twice, whole.region_probabilities.repeat(2, 1, 1, 1), atol=1e-5, rtol=0)
    assert (half - turned.flip(2)).abs().max() > 1e-3


def test_the_baseline_s_ensemble() -> None:
    networks = ensemble(replace(PRESETS["all-in-one"], input_shape=(64, 64), mirrored=True))
    with torch.inference_mode():
        answer = networks(torch.rand(2, 1, 64, 64))
    assert answer.lung_probability is None
    with pytest.raises(ValueError, match="find no lungs"):
        _ = answer.lungs
    torch.testing.assert_close(answer.region_probabilities.sum(-1), torch.ones(2, 3, 2))


def test_calibration_keeps_distributions_and_does_what_it_says() -> None:
    probabilities = torch.tensor([0.1, 0.2, 0.3, 0.4])
    torch.testing.assert_close(calibrated(probabilities, TINY), probabilities)
    flat = calibrated(probabilities, replace(TINY, temperature=100.0))
    torch.testing.assert_close(flat, torch.full((4,), 0.25), atol=0.01, rtol=0)
    biased = calibrated(probabilities, replace(TINY, class_bias=(float(np.log(2)), 0.0, 0.0, 0.0)))
    torch.testing.assert_close(biased, torch.tensor([0.2, 0.2, 0.3, 0.4]) / 1.1)


def test_decisions() -> None:
    probabilities = np.array(
        [[0.4, 0.0, 0.3, 0.3], [0.0, 0.0, 0.5, 0.5], [1, 0, 0, 0], [0, 0, 0, 1]], np.float32
    )
    assert scores(probabilities, Decision.ARGMAX).tolist() == [0, 2, 0, 3]
    assert scores(probabilities, Decision.MEDIAN).tolist() == [2, 2, 0, 3]
    medians = scores(probabilities, Decision.MEDIAN)
    np.testing.assert_array_equal(confidence(probabilities, medians), np.array([0.3, 0.5, 1, 1], np.float32))
    # A sum that rounds to less than one half everywhere must not become class 0.
    assert scores(np.full((1, 4), 0.1, np.float32), Decision.MEDIAN).tolist() == [3]


def test_the_layout_and_the_order_of_zones() -> None:
    layout = np.array([["A", "D"], ["B", "E"], ["C", "F"]])
    numbers = np.vectorize("ABCDEF".index)(layout)
    assert in_zone_order(numbers) == [0, 1, 2, 3, 4, 5]


def test_the_shipped_weights_load_are_small_and_say_what_they_may_be_used_for() -> None:
    networks = load_bsnet(SHIPPED_BSNET)
    assert len(networks.members) == networks.spec.members
    assert "non-commercial" in networks.spec.licence
    assert networks.spec.training
    assert sum(path.stat().st_size for path in SHIPPED_BSNET.iterdir()) <= 45 * 2**20
