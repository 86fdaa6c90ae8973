"""The bidirectional pyramid: its sizes, both its ways, its weights, and a BS-Net that has it."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from models.bsnet.bifpn import LAYERS, BiFPN, BiFPNLayer, Fusion
from models.bsnet.checkpoint import load_bsnet, save_bsnet
from models.bsnet.network import build_bsnet
from models.bsnet.spec import COMPACT, PAPER, BSNetSpec, Pyramid

CONFIG = Path(__file__).parents[2] / "training" / "configs" / "bsnet" / "table10_bifpn.toml"

CHANNELS = (4, 6, 8, 10)
WIDTH = 8
HALVES = ((16, 16), (8, 8), (4, 4), (2, 2))
SIZES = [
    HALVES,
    ((32, 32), (16, 16), (12, 12), (12, 12)),
    ((8, 8),) * 4,
    ((13, 9), (7, 5), (3, 3), (2, 1)),
    ((6, 6), (8, 8), (5, 5), (7, 7)),
]

TINY = replace(
    COMPACT,
    input_shape=(64, 64),
    decoder_channels=(16, 8, 8, 8, 4),
    pyramid=Pyramid.BIFPN,
    pyramid_channels=(8, 8, 8, 8, 16),
    roi_sizes=(8, 4, 3, 3),
)


def pyramid(layers: int = LAYERS) -> BiFPN:
    torch.manual_seed(0)
    return BiFPN(CHANNELS, WIDTH, layers)


def films(sizes: tuple[tuple[int, int], ...]) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(2, channels, *size) for channels, size in zip(CHANNELS, sizes, strict=True)]


@pytest.mark.parametrize("layers", [1, 2, LAYERS])
@pytest.mark.parametrize("sizes", SIZES)
def test_the_answer_has_the_finest_level_s_size(sizes: tuple[tuple[int, int], ...], layers: int) -> None:
    united = pyramid(layers)(films(sizes))
    assert united.shape == (2, WIDTH, *sizes[0])
    assert united.dtype == torch.float32
    assert united.isfinite().all()


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("changed", range(4))
def test_every_level_alone_changes_the_answer(sizes: tuple[tuple[int, int], ...], changed: int) -> None:
    network, levels = pyramid().eval(), films(sizes)
    with torch.inference_mode():
        before = network(levels)
        levels[changed] = levels[changed] + 1
        assert not torch.allclose(network(levels), before)


@pytest.mark.parametrize("changed", [0, 3])
def test_a_repeat_goes_both_ways(changed: int) -> None:
    repeat = pyramid().eval().layers[0]
    levels = [torch.randn(1, WIDTH, *size) for size in HALVES]
    with torch.inference_mode():
        before = repeat(levels)
        levels[changed] = levels[changed] + 1
        after = repeat(levels)
    assert [level.shape for level in after] == [level.shape for level in levels]
    for old, new in zip(before, after, strict=True):
        assert not torch.allclose(old, new)


def test_an_intermediate_level_gives_itself_on_the_way_back_too() -> None:
    repeat = pyramid().eval().layers[0]
    for fusion in (*repeat.down, *repeat.up):
        torch.nn.init.zeros_(fusion.weights)
    torch.nn.init.ones_(repeat.up[0].weights[:1])
    levels = [torch.randn(1, WIDTH, *size) for size in HALVES]
    with torch.inference_mode():
        answers = repeat(levels)
        torch.testing.assert_close(answers[1], repeat.up[0].smooth(levels[1] / (1 + 1e-4)))


def test_the_fusion_is_a_mean_without_what_has_a_negative_weight() -> None:
    fusion = Fusion(3, WIDTH).eval()
    fusion.smooth = torch.nn.Sequential()
    fusion.weights.data = torch.tensor([1.0, 3.0, -5.0])
    first, second, third = torch.randn(3, 2, WIDTH, 4, 4)
    torch.testing.assert_close(fusion(first, second, third), (first + 3 * second) / (4 + 1e-4))


def test_the_way_back_fuses_a_level_with_itself_its_node_of_the_way_down_and_the_finer_level() -> None:
    torch.manual_seed(0)
    layer = BiFPNLayer(4, WIDTH).eval()
    levels = list(torch.randn(4, 2, WIDTH, 8, 8))
    coarser = [*levels[:3], levels[3] + 1]
    for taken, hangs_on_the_coarsest in enumerate((False, True, True)):
        layer.up[0].weights.data = torch.eye(3)[taken]
        moved = not torch.equal(layer(levels)[1], layer(coarser)[1])
        assert moved == hangs_on_the_coarsest, taken


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_fusions_without_any_weight_stay_finite(value: float) -> None:
    network = pyramid().train()
    for part in network.modules():
        if isinstance(part, Fusion):
            torch.nn.init.constant_(part.weights, value)
    united = network(films(HALVES))
    united.sum().backward()
    assert united.isfinite().all()
    for parameter in network.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


@pytest.mark.parametrize("sizes", SIZES)
def test_gradients_reach_every_level_and_every_weight(sizes: tuple[tuple[int, int], ...]) -> None:
    network = pyramid().train()
    levels = [level.requires_grad_() for level in films(sizes)]
    network(levels).square().sum().backward()
    for tensor in (*levels, *network.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0


def test_a_network_with_it_can_be_saved_and_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_bsnet(TINY).eval()
    network.half().float()  # as the file has its numbers
    assert isinstance(network.heads["hard"].pyramid, BiFPN)
    assert network.heads["hard"].pyramid.out_channels == TINY.pyramid_channels[-1]
    written = save_bsnet([network], TINY, tmp_path)
    loaded = load_bsnet(tmp_path)
    assert loaded.spec == written
    assert loaded.spec.pyramid is Pyramid.BIFPN
    state = loaded.members[0].state_dict()
    assert state.keys() == network.state_dict().keys()
    for name, tensor in network.state_dict().items():
        assert torch.equal(state[name], tensor), name
    film = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        answers, again = network(film).region_logits, loaded.members[0](film).region_logits
    for attention, logits in answers.items():
        assert logits.shape == (1, 3, 2, 4)
        torch.testing.assert_close(again[attention], logits)


def test_the_ablation_of_table_10_has_it() -> None:
    network = tomllib.loads(CONFIG.read_text())["network"]
    spec = BSNetSpec.from_mapping({**asdict(PAPER), **network})
    assert network["preset"] == PAPER.preset
    assert replace(spec, pyramid_channels=PAPER.pyramid_channels) == replace(PAPER, pyramid=Pyramid.BIFPN)
