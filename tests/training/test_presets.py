"""Every preset is what the paper's tables say, builds, learns, is saved and comes back."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from models.checkpoint import Role, build_network, load_checkpoint, save_checkpoint
from models.geometry import Box, CropResize, Resize
from models.segmenter import Segmentation, normalised
from training.learning import presets
from training.learning.config import ConfigError
from training.learning.optimizers import build_optimizer
from training.learning.segmentation_losses import classification_loss, segmentation_loss
from training.learning.weighting import DynamicWeighting

# Danilov et al. 2022, Tables 5 to 8: side, encoder, losses, optimiser, learning rate, batch. Encoders have
# the names of today; after the dot come the weights that the library of the paper loaded.
TABLES = """
lungs-unet            384 se_resnext101_32x4d       bce     -         adam          1e-4 24
lungs-unetplusplus    384 efficientnet-b1           jaccard -         adam_amsgrad  1e-3 32
lungs-deeplabv3       512 efficientnet-b0           dice    -         adamw_amsgrad 5e-4 16
lungs-deeplabv3plus   512 efficientnet-b1           bce     -         adamw         5e-4 20
lungs-fpn             544 efficientnet-b0           bce     -         adam_amsgrad  1e-3 32
lungs-linknet         480 tu-regnetx_064.pycls_in1k bce     -         adamw         1e-4 24
lungs-pspnet          480 tu-regnety_064.pycls_in1k dice    -         adam          1e-4 40
lungs-pan             512 efficientnet-b0           jaccard -         adam_amsgrad  1e-3 32
lungs-manet           512 efficientnet-b2           dice    -         adam_amsgrad  1e-3 24
opacity-unet          544 dpn98                     dice    smooth_l1 adam_amsgrad  1e-4 12
opacity-unetplusplus  480 tu-regnety_032.ra_in1k    jaccard smooth_l1 adam_amsgrad  1e-4 20
opacity-deeplabv3     480 efficientnet-b2           lovasz  smooth_l1 adam          1e-2 10
opacity-deeplabv3plus 480 tu-regnetx_032.pycls_in1k jaccard l1        adam          1e-3 36
opacity-fpn           384 efficientnet-b0           dice    smooth_l1 adamw_amsgrad 5e-4 64
opacity-linknet       416 efficientnet-b0           dice    bce       adamw         1e-2 48
opacity-pspnet        384 efficientnet-b0           dice    bce       adamw         1e-3 96
opacity-pan           416 se_resnet50               bce     smooth_l1 adamw_amsgrad 5e-3 48
opacity-manet         544 tu-regnetx_064.pycls_in1k dice    l1        rmsprop       1e-4 16
"""
ROWS = {row.split()[0]: row.split()[1:] for row in TABLES.strip().splitlines()}

# Pooled three times after stride 16, PAN needs 128 pixels a side; the others do with less.
SIDES = {"pan": 128}


def test_names_and_files_agree():
    assert {path.stem for path in presets.FOLDER.glob("*.toml")} == set(presets.names())
    assert all(presets.path(name).is_file() for name in presets.names())
    assert len(presets.PAPER) == 18
    assert tuple(ROWS) == presets.PAPER


def test_unknown_preset():
    with pytest.raises(ConfigError, match="there is no preset 'lungs-unet3'; choose one of lungs-unet, "):
        presets.path("lungs-unet3")


@pytest.mark.parametrize("name", presets.PAPER)
def test_settings_are_the_papers(name):
    config = presets.read(name)
    side, encoder, segmentation, classification, optimizer, rate, batch = ROWS[name]
    role, architecture = name.split("-")
    spec = config.spec
    assert (spec.role, spec.architecture, spec.encoder) == (role, architecture, encoder)
    assert spec.input_shape == (int(side), int(side))
    assert spec.options == {}
    assert (config.objective.kind, config.objective.segmentation) == ("two_task", segmentation)
    assert not config.objective.legacy_inputs
    assert (config.optimizer.name, config.optimizer.learning_rate) == (optimizer, float(rate))
    assert (config.optimizer.weight_decay, config.optimizer.schedule) == (None, "constant")
    assert (config.schedule.batch_size, config.schedule.epochs) == (int(batch), 30)
    assert (config.schedule.patience, config.schedule.min_delta) == (10, 0.01)
    assert config.schedule.augmentation == "paper"
    assert config.initial.encoder_weights == "imagenet"
    assert spec.classification_head == (role == "opacity")
    if role == "opacity":
        assert config.objective.classification == classification
        assert (config.objective.weighting, config.objective.alpha) == ("dynamic", 0.5)
        assert spec.presence_threshold == 0.5


def test_the_papers_involvement_thresholds():
    found = [
        round(presets.read(name).spec.involvement_threshold * 255)
        for name in presets.PAPER
        if name.startswith("opacity")
    ]
    assert np.allclose(found, [77, 84, 74, 77, 66, 38, 97, 102, 79], atol=1)  # Table 9, by MAE


def test_normalisation():
    for name in presets.PAPER:
        spec = presets.read(name).spec
        expected = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        if spec.encoder == "dpn98":  # its ImageNet weights expect (value - mean) * 0.0167, grey values to 255
            expected = tuple(value / 255 for value in (124, 117, 104)), (1 / (0.0167 * 255),) * 3
        assert np.allclose((spec.channel_mean, spec.channel_std), expected, atol=1e-4)
        assert spec.window_percentiles == (0, 100)
        assert spec.resize is Resize.STRETCH
    grey = torch.full((1, 1, 2, 2), 0.5)
    channels = normalised(grey, presets.read("lungs-fpn").spec)[0, :, 0, 0]
    assert channels.tolist() == pytest.approx([0.06550218, 0.19642857, 0.41777778], abs=1e-6)
    channels = normalised(grey, presets.read("opacity-unet").spec)[0, :, 0, 0]
    assert channels.tolist() == pytest.approx([0.0583, 0.1755, 0.3927], abs=1e-3)


@pytest.mark.parametrize("name", presets.PAPER)
def test_learns_two_steps_is_saved_and_comes_back(name, tmp_path):
    torch.manual_seed(2)
    config = presets.read(name)
    side = SIDES.get(config.spec.architecture, 64)
    spec = replace(config.spec, input_shape=(side, side))
    network = build_network(spec)
    _check_initial_weights(network)
    batch = torch.randn(2, 3, side, side)
    target = torch.zeros(2, 1, side, side)
    target[0, :, 10:40, 5:30] = 1
    first = network.segmentation_head[0].weight.detach().clone()
    _learn(network, config, batch, target)
    assert not torch.equal(network.segmentation_head[0].weight, first)
    _round_as_stored(network.eval())
    save_checkpoint(network, spec, tmp_path)
    with torch.inference_mode():
        expected = network(batch)
        del network
        loaded, found = load_checkpoint(tmp_path, spec.role)
        answer = loaded(batch)
    assert found.encoder == spec.encoder
    if spec.classification_head:
        assert answer[1].shape == (2, 1)
        assert torch.allclose(answer[1], expected[1], atol=1e-4)
        answer, expected = answer[0], expected[0]
    assert answer.shape == (2, 1, side, side)
    assert answer.isfinite().all()
    assert torch.allclose(answer, expected, atol=1e-4)


def _learn(network, config, batch, target):
    segment, classify = (
        segmentation_loss(config.objective.segmentation),
        classification_loss(config.objective.classification),
    )
    optimizer = build_optimizer(config.optimizer.name, network.parameters(), config.optimizer.learning_rate)
    weighting = DynamicWeighting(config.objective.alpha)
    network.train()
    for step in range(2):
        answer = network(batch)
        if config.spec.classification_head:
            losses = {"seg": segment(answer[0], target), "cls": classify(answer[1], target.amax((2, 3)))}
        else:
            losses = {"seg": segment(answer, target)}
        weights = weighting.weights(losses)
        assert step or set(weights.values()) == {1.0}
        optimizer.zero_grad(set_to_none=True)
        sum(weights[task] * loss for task, loss in losses.items()).backward()
        for parameter in (network.segmentation_head[0].weight, next(network.encoder.parameters())):
            assert parameter.grad.isfinite().all()
            assert parameter.grad.abs().sum() > 0
        optimizer.step()
    assert all(loss.isfinite() for loss in losses.values())


def _check_initial_weights(network):
    """Decoders: Kaiming-uniform; heads: Xavier-uniform; biases 0; normalisation 1 and 0."""
    heads = [network.segmentation_head, network.classification_head or nn.Identity()]
    for part, xavier in [(network.decoder, False), *((head, True) for head in heads)]:
        for layer in part.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                fan_in = layer.weight[0].numel()
                fan_out = fan_in * layer.weight.shape[0] // layer.weight.shape[1]
                xavier_layer = xavier or isinstance(layer, nn.Linear)
                bound = math.sqrt(6 / (fan_in + fan_out if xavier_layer else fan_in))
                largest = layer.weight.abs().max().item()
                assert largest <= bound * 1.0001
                assert largest > 0.97 * bound or layer.weight.numel() < 400
                assert layer.bias is None or not layer.bias.any()
            elif isinstance(layer, nn.BatchNorm2d | nn.GroupNorm):
                assert (layer.weight == 1).all()
                assert not layer.bias.any()


def _round_as_stored(network):
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.half())


def test_classification_head():
    with torch.device("meta"):
        network = build_network(presets.read("opacity-manet").spec)
    pool, flatten, dropout, linear, activation = network.classification_head
    assert isinstance(pool, nn.AdaptiveAvgPool2d)
    assert pool.output_size == 1
    assert isinstance(flatten, nn.Flatten)
    assert isinstance(dropout, nn.Dropout)
    assert dropout.p == 0.2
    assert (linear.in_features, linear.out_features) == (network.encoder.out_channels[-1], 1)
    assert linear.bias is not None
    assert torch.equal(activation(torch.tensor([-3.0, 3.0])), torch.tensor([-3.0, 3.0]))  # logits leave it


@pytest.mark.parametrize("name", ["lungs-unet", "lungs-deeplabv3plus"])
def test_stage_1_has_no_classification_head(name):
    with torch.device("meta"):
        assert build_network(presets.read(name).spec).classification_head is None


@pytest.mark.parametrize(("presence", "kept"), [(0.49, False), (0.50, True), (0.51, True)])
def test_refinement(presence, kept):
    """Equations 1 and 2: the map counts if the class probability is at least 0.5."""
    probability = np.array([[0.1, 0.9], [0.6, 0.3]], np.float32)
    geometry = CropResize((2, 2), Box.whole((2, 2)), (2, 2), Resize.STRETCH)
    spec = presets.read("opacity-unet").spec
    refined = Segmentation(probability, presence, geometry, spec.presence_threshold).refined
    assert np.array_equal(refined, probability if kept else np.zeros((2, 2)))


@pytest.mark.parametrize("name", presets.SMALL)
def test_small_presets(name):
    config = presets.read(name)
    role = name.removeprefix("small-")
    assert config.spec.role is Role(role)
    assert max(config.spec.input_shape) <= 160
    assert config.initial.encoder_weights == "none"
    assert (config.objective.kind, config.schedule.augmentation) == ("two_task", "paper")
    assert config.spec.classification_head == (role == "opacity")
    with torch.device("meta"):
        network = build_network(config.spec)
    assert sum(parameter.numel() for parameter in network.parameters()) < 4e6
