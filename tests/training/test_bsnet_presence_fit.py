"""Phase 5: which films count as healthy, and what the fit learns from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.bsnet.network import BSNet, build_bsnet
from models.bsnet.spec import PresenceSpec
from tests.training.tiny_bsnet import TINY, film
from training.bsnet.augmentation import SWITCHES
from training.bsnet.batches import changed_batch
from training.bsnet.films import BSNetFilm
from training.bsnet.presence_fit import diseased, fit_presence, pooled
from training.bsnet.settings import BSNetTraining, PresenceFit
from training.data.dataset import Film

SPEC = replace(TINY, presence=PresenceSpec("resnet18", (64, 64)))


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (film("a", finding="normal"), False),
        (film("b"), True),
        (film("c", finding="unlabelled"), None),
        (film("d", finding=""), None),
        (film("e", ([0] * 6, [1] * 6)), False),
        (film("f", ([0, 0, 1, 0, 0, 0],), finding="unlabelled"), True),
        (film("g", finding="normal", consensus=2.0), True),
    ],
)
def test_who_counts_as_healthy(seen: Film, expected: bool | None) -> None:
    assert diseased(seen) is expected


def films(count: int = 24) -> list[BSNetFilm]:
    generator = np.random.default_rng(5)
    made = []
    for number in range(count):
        ill = number % 2 == 0
        view = generator.integers(90, 110, (64, 64)).astype(np.uint8)
        if ill:
            view[20:44, 8:28] += 100
        made.append(BSNetFilm(film(f"{number}", finding="covid" if ill else "normal"), view, None, None))
    return made


@pytest.fixture
def network() -> BSNet:
    torch.manual_seed(2)
    network = build_bsnet(SPEC).eval()
    torch.nn.init.constant_(network.decoder.head[0].bias, 10.0)  # everything is lung
    return network


def training(**fit: object) -> BSNetTraining:
    return BSNetTraining(SPEC, augmentation=SWITCHES["brightness-contrast"], presence_fit=PresenceFit(**fit))


def odds(network: BSNet, seen: list[BSNetFilm]) -> torch.Tensor:
    batch = changed_batch(seen, SWITCHES["none"], np.random.default_rng(0))
    with torch.inference_mode():
        return network.presence(pooled(network, batch))


def test_it_learns_to_tell_healthy_from_diseased_films(network: BSNet) -> None:
    seen = films()
    figures = fit_presence(network, seen, training(strength=1.0))

    assert (figures["healthy"], figures["diseased"]) == (12, 12)
    assert figures["area_under_curve"] > 0.95
    found = odds(network, seen) > 0
    assert found.tolist() == [diseased(item.film) for item in seen]


def test_films_of_which_nothing_is_known_teach_nothing(network: BSNet) -> None:
    unknown = [replace(item, film=film("u", finding="unlabelled")) for item in films(4)]
    figures = fit_presence(network, films() + unknown, training())
    assert figures["healthy"] + figures["diseased"] == 24


def test_the_margin_is_added_to_the_odds(network: BSNet) -> None:
    seen = films()
    fit_presence(network, seen, training())
    before = odds(network, seen)
    fit_presence(network, seen, training(margin=1.5))
    torch.testing.assert_close(odds(network, seen), before + 1.5, atol=1e-3, rtol=0)
