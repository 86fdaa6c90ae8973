"""Whether there is disease at all: what it looks at, and how it weighs on the regions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.bsnet.checkpoint import load_bsnet, load_bsnet_spec, save_bsnet
from models.bsnet.ensemble import BSNetEnsemble
from models.bsnet.network import BSNet, build_bsnet
from models.bsnet.presence import with_presence
from models.bsnet.scorer import algorithm_id
from models.bsnet.spec import ALL_IN_ONE, COMPACT, BSNetSpec, PresenceSpec, Pyramid

SPEC = replace(
    COMPACT,
    encoder="resnet18",
    input_shape=(64, 96),
    decoder_channels=(16, 8, 8, 8, 4),
    pyramid=Pyramid.POOLED,
    roi_sizes=(8, 4, 4, 4),
    presence=PresenceSpec("resnet18", (64, 64)),
    mirrored=True,
)


@pytest.fixture(scope="module")
def network() -> BSNet:
    torch.manual_seed(3)
    network = build_bsnet(SPEC).eval()
    torch.nn.init.normal_(network.presence.dense.weight, std=0.1)
    torch.nn.init.zeros_(network.presence.dense.bias)
    for head in network.heads.values():
        torch.nn.init.normal_(head.dense.weight, std=0.5)
    return network


def lungs_of_the_left_half() -> torch.Tensor:
    lungs = torch.zeros(1, 1, 64, 96)
    lungs[..., :48] = 1
    return lungs


def asked(network: BSNet, film: torch.Tensor, theta: torch.Tensor | None = None) -> torch.Tensor:
    """Return the logit for a film; the regions' features are those of another one, and stay the same."""
    identity = torch.eye(2, 3)[None]
    features = network.features(torch.zeros(1, 1, 64, 96))
    lungs = lungs_of_the_left_half()
    return network.find_presence(film, features.levels, lungs, identity if theta is None else theta)


def test_only_what_is_lung_is_looked_at(network: BSNet) -> None:
    film = torch.rand(1, 1, 64, 96)
    beside, inside = film.clone(), film.clone()
    beside[..., 52:] = 1 - beside[..., 52:]
    inside[..., :44] = 1 - inside[..., :44]

    with torch.inference_mode():
        here = asked(network, film)
        assert here.shape == (1,)
        torch.testing.assert_close(asked(network, beside), here)
        assert (asked(network, inside) - here).abs() > 1e-4


def test_what_the_regions_are_judged_by_counts_too(network: BSNet) -> None:
    film, lungs, theta = torch.rand(1, 1, 64, 96), torch.ones(1, 1, 64, 96), torch.eye(2, 3)[None]
    with torch.inference_mode():
        one, other = (
            network.find_presence(film, network.features(seen).levels, lungs, theta)
            for seen in (film, film.flip(-2))
        )
    assert (one - other).abs() > 1e-4


def test_the_film_is_brought_to_the_frame_first(network: BSNet) -> None:
    film = torch.rand(1, 1, 64, 96)
    closer = torch.tensor([[[0.5, 0, -0.2], [0, 0.5, 0]]])
    with torch.inference_mode():
        assert (asked(network, film, closer) - asked(network, film)).abs() > 1e-4


def test_presence_mixes_the_answer_with_nothing_everywhere() -> None:
    given = torch.tensor([0.1, 0.2, 0.3, 0.4]).expand(3, 3, 2, 4)
    mixed = with_presence(given, torch.tensor([1.0, 0.0, 0.25]))

    torch.testing.assert_close(mixed[0], given[0])
    torch.testing.assert_close(mixed[1], torch.tensor([1.0, 0, 0, 0]).expand(3, 2, 4))
    torch.testing.assert_close(mixed[2, 0, 0], torch.tensor([0.775, 0.05, 0.075, 0.1]))


def test_several_networks_and_mirror_images_answer_together(network: BSNet) -> None:
    torch.manual_seed(4)
    networks = BSNetEnsemble([network, build_bsnet(SPEC).eval()], SPEC)
    torch.nn.init.normal_(networks.members[1].presence.dense.bias)
    film = torch.rand(2, 1, 64, 96)
    with torch.inference_mode():
        here, there, alone = networks(film), networks(film.flip(-1)), networks(film[:1])
        given = networks.judge(film, here.lung_probability, here.theta)

    assert here.presence.shape == (2,)
    assert ((here.presence > 0) & (here.presence < 1)).all()
    torch.testing.assert_close(there.presence, here.presence)
    torch.testing.assert_close(alone.presence, here.presence[:1])
    torch.testing.assert_close(here.region_probabilities, with_presence(given, here.presence))
    torch.testing.assert_close(here.region_probabilities.sum(-1), torch.ones(2, 3, 2))


def test_a_network_alone_tells_it_too(network: BSNet) -> None:
    with torch.inference_mode():
        answer = network(torch.rand(2, 1, 64, 96))
        without = build_bsnet(replace(SPEC, presence=None)).eval()(torch.rand(1, 1, 64, 96))
    assert answer.presence_logits.shape == (2,)
    assert without.presence_logits is None


def test_it_is_kept_on_disk_and_part_of_the_algorithm(network: BSNet, tmp_path: Path) -> None:
    save_bsnet([network], SPEC, tmp_path)
    film = torch.rand(1, 1, 64, 96)

    loaded = load_bsnet(tmp_path)

    with torch.inference_mode():
        expected, found = BSNetEnsemble([network], SPEC)(film), loaded(film)
    torch.testing.assert_close(found.presence, expected.presence, atol=0.02, rtol=0)
    assert load_bsnet_spec(tmp_path).presence == SPEC.presence
    assert algorithm_id(loaded.spec).parameters["presence"] == "resnet18, 64 x 64"
    assert "presence" not in algorithm_id(replace(SPEC, presence=None)).parameters


@pytest.mark.parametrize(
    "change",
    [
        {"presence": {"encoder": "resnet18", "input_shape": [60, 64]}},
        {
            "presence": {"encoder": "resnet18", "input_shape": [64, 64]},
            "decoder": "none",
            "attentions": ["soft"],
            "align": False,
        },
    ],
)
def test_a_presence_that_cannot_be(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="presence needs the lungs"):
        BSNetSpec.from_mapping({"preset": "x", "encoder": "resnet18", "input_shape": [64, 64], **change})


def test_a_presence_with_an_unknown_key() -> None:
    presence = {"encoder": "resnet18", "input_shape": [64, 64], "margin": 1.0}
    with pytest.raises(TypeError, match="margin"):
        BSNetSpec.from_mapping(
            {"preset": "x", "encoder": "resnet18", "input_shape": [64, 64], "presence": presence}
        )


def test_before_it_has_learnt_disease_is_certain() -> None:
    with torch.inference_mode():
        answer = build_bsnet(SPEC).eval()(torch.rand(1, 1, 64, 96))
    assert answer.presence_logits.sigmoid() > 0.9999


def test_the_baseline_has_none() -> None:
    assert build_bsnet(replace(ALL_IN_ONE, input_shape=(64, 64))).presence is None
