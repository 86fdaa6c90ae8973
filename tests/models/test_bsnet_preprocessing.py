"""BS-Net's view of a film."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bsnet.preprocessing import preprocess
from models.bsnet.spec import COMPACT, PAPER, BSNetSpec, Preprocessing


@pytest.fixture(scope="module")
def film() -> NDArray[np.float32]:
    """Dark to the left, bright to the right, fine noise, and one dead pixel that is far brighter."""
    noise = np.random.default_rng(0).random((600, 500), dtype=np.float32)
    result = 0.1 * noise + np.linspace(0.1, 0.5, 500, dtype=np.float32)
    result[300, 250] = 1.0
    return np.asarray(result, np.float32)


@pytest.mark.parametrize("preprocessing", list(Preprocessing))
@pytest.mark.parametrize("spec", [COMPACT, PAPER])
def test_a_view_has_the_network_s_shape_and_range(
    film: NDArray[np.float32], spec: BSNetSpec, preprocessing: Preprocessing
) -> None:
    spec = replace(spec, preprocessing=preprocessing)
    view = preprocess(film, spec)
    assert view.shape == spec.input_shape
    assert view.dtype == np.float32
    assert view.min() >= 0
    assert view.max() <= 1
    assert view.std() > 0.15
    np.testing.assert_array_equal(view, preprocess(film, spec))


def test_two_percent_at_either_end_become_black_and_white(film: NDArray[np.float32]) -> None:
    view = preprocess(film, COMPACT)
    assert np.mean(view == 0) == pytest.approx(0.02, abs=0.002)
    assert np.mean(view == 1) == pytest.approx(0.02, abs=0.002)


def test_the_brightness_of_the_export_does_not_matter(film: NDArray[np.float32]) -> None:
    for spec in (COMPACT, PAPER):
        np.testing.assert_allclose(preprocess(film / 2, spec), preprocess(film, spec), atol=0.01)


def test_equalization_makes_every_grey_value_as_frequent(film: NDArray[np.float32]) -> None:
    view = preprocess(film, replace(COMPACT, preprocessing=Preprocessing.EQUALIZE))
    np.testing.assert_allclose(np.histogram(view, 10, (0, 1))[0] / view.size, 0.1, atol=0.01)


def test_clahe_raises_local_contrast_and_the_median_removes_single_pixels(film: NDArray[np.float32]) -> None:
    plain = preprocess(film, replace(PAPER, preprocessing=Preprocessing.PERCENTILES))
    view = preprocess(film, PAPER)
    assert plain[250:262, 250:262].max() > 0.9
    assert view[250:262, 250:262].max() < 0.8
    # Locally the ramp of the film is flattened: the left and the right half grow more alike.
    assert view[:, 300:].mean() - view[:, :200].mean() < plain[:, 300:].mean() - plain[:, :200].mean()


def test_a_film_of_one_grey_value_is_black() -> None:
    for value in (0.0, 0.5, 1.0):
        assert not preprocess(np.full((50, 40), value, np.float32), COMPACT).any()


def test_a_film_that_is_nearly_all_black_keeps_what_it_shows() -> None:
    film = np.zeros((384, 384), np.float32)
    film[100:103, 100:103] = 0.5
    view = preprocess(film, replace(COMPACT, preprocessing=Preprocessing.PERCENTILES))
    assert view[101, 101] == 1.0
    assert view.sum() == 9
