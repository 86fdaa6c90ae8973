"""BS-Net's shapes, steps and gradients, with tiny networks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from models.bsnet.network import BSNet, build_bsnet
from models.bsnet.spec import COMPACT, PARITY, PRESETS, Attention, BSNetSpec, Decoder, Pyramid

TINY = replace(
    COMPACT,
    encoder="tu-tf_efficientnet_lite0",
    input_shape=(64, 96),
    decoder_channels=(16, 8, 8, 8, 4),
    pyramid_channels=(8, 8, 8, 8, 16),
    roi_sizes=(8, 4, 4, 4),
)


def built(spec: BSNetSpec) -> BSNet:
    torch.manual_seed(0)
    return build_bsnet(spec)


@pytest.mark.parametrize("decoder", [Decoder.UNET, Decoder.UNETPLUSPLUS, Decoder.NESTED_TRANSPOSED])
@pytest.mark.parametrize("pyramid", [Pyramid.FINE_TO_COARSE, Pyramid.FPN, Pyramid.BACKBONE])
def test_every_variant_answers_with_the_shapes_of_the_contract(decoder: Decoder, pyramid: Pyramid) -> None:
    network = built(replace(TINY, decoder=decoder, pyramid=pyramid)).eval()
    with torch.inference_mode():
        answer = network(torch.rand(2, 1, 64, 96))
    assert answer.lung_logits.shape == (2, 1, 64, 96)
    assert answer.aligned_lungs.shape == (2, 1, 16, 24)
    assert answer.theta.shape == (2, 2, 3)
    assert set(answer.region_logits) == {"hard", "soft"}
    for logits in answer.region_logits.values():
        assert logits.shape == (2, 3, 2, 4)
        assert torch.allclose(logits.softmax(-1).sum(-1), torch.ones(2, 3, 2))


def test_an_untrained_network_does_not_move_the_lungs() -> None:
    network = built(TINY).eval()
    with torch.inference_mode():
        films = torch.rand(2, 1, 64, 96)
        answer = network(films)
    assert torch.equal(answer.theta, torch.eye(2, 3).expand(2, 2, 3))
    small = torch.nn.functional.avg_pool2d(answer.lung_logits.sigmoid(), 4)
    assert torch.allclose(answer.aligned_lungs, small, atol=1e-5)


def test_the_public_steps_give_what_the_whole_gives() -> None:
    network = built(TINY).eval()
    torch.nn.init.normal_(network.aligner.dense[-1].weight, std=0.05)
    with torch.inference_mode():
        films = torch.rand(1, 1, 64, 96)
        whole = network(films)
        features = network.features(films)
        probability = network.lungs(features).sigmoid()
        theta = network.align(probability)
        parts = network.judge(features.levels, probability, theta)
    assert not torch.allclose(theta, torch.eye(2, 3))
    for attention, logits in whole.region_logits.items():
        assert torch.allclose(parts[attention], logits, atol=1e-6)


def learns(module: torch.nn.Module) -> bool:
    gradients = [parameter.grad for parameter in module.parameters()]
    return any(gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients)


@pytest.mark.parametrize(("attention", "other"), [("hard", "soft"), ("soft", "hard")])
def test_the_regions_reach_every_part_that_they_hang_on(attention: str, other: str) -> None:
    network = built(TINY).train()
    torch.nn.init.normal_(network.aligner.dense[-1].weight, std=0.05)
    network(torch.rand(2, 1, 64, 96)).region_logits[attention].square().sum().backward()
    # To the decoder the soft head's loss comes by way of the transform alone.
    for part in (network.encoder, network.decoder, network.aligner, network.heads[attention]):
        assert learns(part)
    assert not learns(network.heads[other])


def test_hard_attention_reaches_the_lungs_without_alignment_and_soft_does_not() -> None:
    for attention, reached in (("hard", True), ("soft", False)):
        network = built(replace(TINY, align=False)).train()
        network(torch.rand(2, 1, 64, 96)).region_logits[attention].square().sum().backward()
        assert learns(network.decoder) is reached
        assert learns(network.encoder)


def test_the_hard_head_sees_the_lungs_alone() -> None:
    network = built(TINY).eval()
    first, second = torch.rand(2, 1, 1, 64, 96)
    nothing, theta = torch.zeros(1, 1, 64, 96), torch.eye(2, 3)[None]
    with torch.inference_mode():
        answers = [network.judge(network.features(film).levels, nothing, theta) for film in (first, second)]
    assert torch.equal(answers[0][Attention.HARD], answers[1][Attention.HARD])
    assert not torch.allclose(answers[0][Attention.SOFT], answers[1][Attention.SOFT])


def test_the_baseline_has_neither_lungs_nor_alignment() -> None:
    baseline = built(replace(PRESETS["all-in-one"], input_shape=(64, 64))).eval()
    with torch.inference_mode():
        answer = baseline(torch.rand(2, 1, 64, 64))
    assert answer.lung_logits is None
    assert answer.aligned_lungs is None
    assert answer.region_logits[Attention.SOFT].shape == (2, 3, 2, 4)
    with pytest.raises(ValueError, match="no decoder"):
        baseline.lungs(baseline.features(torch.rand(1, 1, 64, 64)))


def convolutions(module: torch.nn.Module) -> int:
    kinds = (torch.nn.Conv2d, torch.nn.ConvTranspose2d)
    return sum(part.weight.numel() for part in module.modules() if isinstance(part, kinds))


def weights(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_parity_network_has_the_published_sizes() -> None:
    network = built(replace(PARITY, input_shape=(64, 64), attentions=(Attention.HARD,)))
    assert convolutions(network.encoder) == 11_164_736  # 11.16 M
    assert convolutions(network.decoder) == 7_077_408  # 7.08 M
    assert weights(network.aligner) == 686_896  # 0.69 M
    assert convolutions(network.heads["hard"].pyramid) == 1_761_280  # 1.76 M
    assert convolutions(network.heads["hard"].regions) == 229_824  # 0.23 M
    assert round(weights(network) / 1e6, 1) == 20.9


def test_the_published_backbone_gives_its_levels() -> None:
    network = built(replace(PARITY, attentions=(Attention.SOFT,))).eval()
    with torch.inference_mode():
        features = network.features(torch.rand(1, 1, 512, 512))
    assert [tuple(level.shape[1:]) for level in features.levels] == [
        (64, 128, 128),
        (128, 64, 64),
        (256, 32, 32),
        (512, 16, 16),
    ]
    assert [tuple(skip.shape[1:]) for skip in features.skips] == [
        (64, 256, 256),
        (64, 128, 128),
        (128, 64, 64),
        (256, 32, 32),
    ]


def test_a_published_stage_projects_what_is_activated_and_then_adds() -> None:
    encoder = built(replace(PARITY, attentions=(Attention.SOFT,))).eval().encoder
    first, second = encoder.stages[0]
    negative = -torch.rand(1, 64, 8, 8)
    with torch.inference_mode():
        assert not first(negative)[1].any()
        assert torch.equal(second(negative)[1], negative)
    assert not encoder.film_norm.weight.requires_grad
