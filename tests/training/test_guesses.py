from dataclasses import replace

import numpy as np
import pytest

from models.geometry import Box
from training.data.dataset import DataError, read_manifest
from training.guesses import BOX_SHARE, SURE, guess, with_guesses, write_guesses
from training.learning.crops import teacher_shares

ROWS, COLUMNS = 60, 40


@pytest.fixture
def film(data_folder):
    plain = read_manifest(data_folder)[0]
    return replace(
        plain, finding="covid", opacity_mask=None, consensus=3.0, brixia=None, teacher=None, boxes=()
    )


@pytest.fixture
def zones():
    result = np.zeros((ROWS, COLUMNS), np.uint8)
    for number in range(6):
        top, left = number % 3 * 20, number // 3 * 20
        result[top : top + 20, left : left + 18] = number + 1
    return result


@pytest.fixture
def probability():
    across = np.linspace(0.1, 0.5, COLUMNS, dtype=np.float32)
    return across + np.random.default_rng(1).random((ROWS, COLUMNS), dtype=np.float32) * np.float32(0.1)


def test_published_shares_say_how_much_and_the_network_where(film, zones, probability):
    shares = np.array([0.5, 0.02, 0, 1, 0.25, 0], np.float32)
    film = replace(film, teacher=shares)
    made = guess(film, probability, zones)
    assert made.source == "published shares"
    marked = made.map > 0.5
    found = [marked[zones == zone].mean() for zone in range(1, 7)]
    expected = [share if share >= 0.04 else 0 for share in teacher_shares(film)]
    np.testing.assert_allclose(found, expected, atol=0.03)
    first = zones == 1
    assert probability[first & marked].mean() > probability[first & ~marked].mean() + 0.08
    assert not made.map[zones == 0].any()
    assert made.map.max() == pytest.approx(SURE + (1 - SURE) * 0.6, abs=0.05)


def test_brixia_scores_say_how_much_where_no_shares_are_published(film, zones, probability):
    made = guess(replace(film, brixia=np.array([0, 1, 2, 3, 0, 0], np.float32)), probability, zones)
    assert made.source == "Brixia"
    found = [(made.map > 0.5)[zones == zone].mean() for zone in range(1, 7)]
    np.testing.assert_allclose(found, [0, 0.25, 0.5, 0.75, 0, 0], atol=0.03)


def test_boxes_are_filled_in_part_and_nothing_is_outside(film, zones, probability):
    made = guess(replace(film, boxes=(Box(5, 2, 25, 16),)), probability, zones)
    inside = np.zeros(zones.shape, bool)
    inside[5:25, 2:16] = True
    assert made.source == "boxes"
    assert not made.map[~inside].any()
    assert made.map[inside & (zones > 0)].mean() == pytest.approx(BOX_SHARE, abs=0.05)


def test_otherwise_the_probability_within_the_lungs_is_kept(film, zones, probability):
    made = guess(film, probability, zones)
    assert made.source == "probability"
    np.testing.assert_array_equal(made.map, np.where(zones > 0, probability, 0))


@pytest.mark.parametrize(
    "known",
    [{"finding": "normal", "consensus": None}, {"consensus": 0.0}, {"consensus": None, "finding": "covid"}],
)
def test_films_that_need_no_guess_or_allow_none(film, zones, probability, known):
    assert guess(replace(film, **known), probability, zones) is None


def test_guesses_are_written_by_networks_that_did_not_see_the_film_and_read_again(
    data_folder, trained, tmp_path
):
    films = [film for film in read_manifest(data_folder) if film.split in ("train", "val")]
    films = [replace(film, opacity_mask=None) if film.finding == "covid" else film for film in films]
    counts = write_guesses(films, trained[0], [trained[0], trained[0]], tmp_path)
    given = with_guesses(films, tmp_path)
    made = [film for film in given if film.guess]
    assert len(made) == sum(counts.values()) > 0
    assert all(film.guess.is_file() and film.guess_weight > 0 for film in made)
    assert not any(film.normal or film.opacity_mask for film in made)


def test_a_folder_without_guesses(data_folder, tmp_path):
    with pytest.raises(DataError, match="no guesses"):
        with_guesses(read_manifest(data_folder), tmp_path)
