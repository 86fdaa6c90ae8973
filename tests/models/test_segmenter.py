from dataclasses import replace

import numpy as np
import pytest
import torch

from models.checkpoint import NetworkSpec, Role, build_network
from models.geometry import Box, CropResize
from models.segmenter import Segmentation, Segmenter, TorchForward, network_view, normalised, windowed

SPEC = NetworkSpec(
    role=Role.LUNGS,
    architecture="unet",
    encoder="resnet18",
    input_shape=(64, 64),
    options={"encoder_depth": 3, "decoder_channels": [16, 8, 8]},
    window_percentiles=(1.0, 99.0),
    classification_head=True,
)


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(5)
    return Segmenter(SPEC, TorchForward(build_network(SPEC).eval(), torch.device("cpu")))


@pytest.fixture
def film():
    return np.random.default_rng(2).random((90, 120), dtype=np.float32)


def test_window_maps_the_percentiles_to_0_and_1(film):
    result = windowed(film * 0.2 + 0.5, SPEC)
    assert result.min() == 0
    assert result.max() == 1
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, windowed(film, SPEC), atol=1e-4)


def test_window_of_a_blank_film_is_the_film():
    blank = np.full((20, 20), 0.3, np.float32)
    np.testing.assert_array_equal(windowed(blank, SPEC), blank)


def test_view_windows_the_film_before_it_blackens_and_cuts(film):
    keep = np.zeros(film.shape, bool)
    keep[10:74, 20:84] = True
    keep[30:40, 30:40] = False
    geometry = CropResize(film.shape, Box(10, 20, 74, 84), (64, 64))
    view = network_view(film, SPEC, geometry, keep)
    assert not view[20:30, 10:20].any()
    np.testing.assert_array_equal(view[30:, 20:], windowed(film, SPEC)[40:74, 40:84])


def test_normalised_repeats_grey_to_channels():
    spec = NetworkSpec(
        Role.LUNGS, "unet", "resnet18", (2, 2), channel_mean=(0.5, 0.25), channel_std=(0.5, 0.25)
    )
    result = normalised(torch.ones(1, 1, 2, 2), spec)
    assert result.shape == (1, 2, 2, 2)
    assert result[0, :, 0, 0].tolist() == [1.0, 3.0]


def test_segment_whole_film(segmenter, film):
    answer = segmenter.segment(film)
    assert answer.probability.shape == (64, 64)
    assert answer.probability.min() >= 0
    assert answer.probability.max() <= 1
    assert answer.presence is not None
    assert answer.at_source().shape == film.shape


def test_segment_is_deterministic(segmenter, film):
    first, second = segmenter.segment(film), segmenter.segment(film.copy())
    np.testing.assert_array_equal(first.probability, second.probability)


def test_map_comes_back_to_its_box(segmenter, film):
    answer = segmenter.segment(film, Box(10, 20, 74, 84))
    always = Segmentation(answer.probability, 1.0, answer.geometry).at_source()
    np.testing.assert_array_equal(always[10:74, 20:84], answer.probability)
    always[10:74, 20:84] = 0
    assert not always.any()


@pytest.mark.parametrize(("presence", "kept"), [(0.49, False), (0.5, True), (None, True)])
def test_classification_head_refines_the_map(presence, kept):
    geometry = CropResize((4, 4), Box.whole((4, 4)), (4, 4))
    answer = Segmentation(np.full((4, 4), 0.9, np.float32), presence, geometry)
    assert answer.at_source().any() == kept
    assert replace(answer, presence_threshold=0.2).at_source().any()
    assert answer.probability.all()


def test_mirrored_averages_the_film_and_its_mirror_image(film):
    def right_half_only(batch):
        logits = np.zeros(batch.shape[2:], np.float32)
        logits[:, 32:] = batch[0, 0, :, 32:]
        return logits, float(batch[0, 0, 0, 0])

    spec = replace(SPEC, mirrored=True)
    answer = Segmenter(spec, right_half_only).segment(film)
    view = normalised(torch.from_numpy(network_view(film, spec, answer.geometry))[None, None], spec)[
        0, 0
    ].numpy()
    # either half is seen once in the right half: as it is, or mirrored
    np.testing.assert_allclose(answer.probability, 1 / (1 + np.exp(-view / 2)), atol=1e-6)
    corner = (view[0, 0] + view[0, -1]) / 2
    assert answer.presence == pytest.approx(1 / (1 + np.exp(-corner)), abs=1e-6)
