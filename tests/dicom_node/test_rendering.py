"""The picture shows what was found, where it was found, and hides nothing else."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from dicom_node.rendering import (
    COLOUR,
    LONGEST_FILM_SIDE_PX,
    MONOCHROME,
    SHORTEST_FILM_SIDE_PX,
    render_overlay,
)
from models.result import AlgorithmId


def film_part(picture, shape):
    """The film inside its margins, found by its known place and shape."""
    longest = min(max(*shape, SHORTEST_FILM_SIDE_PX), LONGEST_FILM_SIDE_PX)
    rows, columns = (round(side * longest / max(shape)) for side in shape)
    side = (picture.shape[1] - columns) // 2
    unit = max(14, round(max(rows, columns) / 46))
    top = round(3.6 * unit)
    return picture[top : top + rows, side : side + columns]


def coloured(picture):
    return np.ptp(picture.astype(np.int16), axis=2) > 12


@pytest.fixture
def flat():
    """A film of one grey, on which every drawn line shows."""
    return np.full((900, 800), 0.4, np.float32)


@pytest.mark.parametrize(
    "shape", [(256, 256), (440, 440), (1024, 900), (900, 1024), (2500, 2048), (3000, 700)]
)
def test_films_of_every_size_are_drawn_legibly(shape, severity_of):
    picture = render_overlay(np.full(shape, 0.4, np.float32), severity_of(shape))
    assert picture.dtype == np.uint8
    film = film_part(picture, shape)
    assert SHORTEST_FILM_SIDE_PX <= max(film.shape[:2]) <= LONGEST_FILM_SIDE_PX
    assert max(picture.shape) <= 2048
    # the film itself is there, between black margins
    assert np.median(film) == 102
    assert picture[:4].max() == picture[-4:].max() == 0
    # letters of the heading are at least a fiftieth of the picture high
    heading = np.flatnonzero((picture[: picture.shape[0] // 20] > 200).any(axis=(1, 2)))
    assert heading.size >= picture.shape[0] / 75


def test_colour_stays_at_the_lungs(flat, severity_of):
    result = severity_of(flat.shape)
    film = film_part(render_overlay(flat, result), flat.shape)
    near_lungs = cv2.dilate(result.lung_mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert not (coloured(film) & ~near_lungs).any()


def test_opacity_is_tinted_and_the_film_shows_through(severity_of):
    film = np.tile(np.linspace(0.2, 0.8, 800, dtype=np.float32), (900, 1))
    result = severity_of(film.shape)
    picture = film_part(render_overlay(film, result), film.shape).astype(int)
    inside = cv2.erode(result.opacity_mask.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
    assert (picture[inside][:, 0] > picture[inside][:, 1] + 40).all()
    assert np.corrcoef(picture[inside][:, 1], film[inside])[0, 1] > 0.99
    clear = (result.lung_mask & ~result.opacity_mask).astype(np.uint8)
    clear = cv2.erode(clear, np.ones((25, 25), np.uint8)) > 0
    assert (np.abs(picture[clear] - film[clear][:, None] * 255) <= 1).mean() > 0.97


def test_opacity_outside_the_lungs_is_not_shown_as_counted(flat, severity_of):
    everywhere = np.ones(flat.shape, np.bool_)
    result = severity_of(flat.shape, opacity_mask=everywhere)
    film = film_part(render_overlay(flat, result), flat.shape)
    assert not coloured(film)[:60].any()


def test_right_and_left_are_not_swapped(flat, severity_of):
    """Only the right lower and left upper zones are filled; the right lung is at image left."""
    film = film_part(render_overlay(flat, severity_of(flat.shape)), flat.shape).astype(int)
    red = film[..., 0] - film[..., 1] > 40
    rows, columns = flat.shape
    assert red[rows // 2 :, : columns // 2].sum() > 1000
    assert red[: rows // 2, columns // 2 :].sum() > 1000
    assert red[: rows // 3, : columns // 2].sum() == 0
    assert red[rows // 2 :, columns // 2 :].sum() == 0


def test_each_number_changes_the_picture(flat, severity_of):
    base = severity_of(flat.shape)
    pictures = [render_overlay(flat, base)]
    pictures.append(render_overlay(flat, severity_of(flat.shape, score=5)))
    other = AlgorithmId("two-stage", "1.0", {"lungs": "00" * 32, "opacity": "cd" * 32}, {})
    pictures.append(render_overlay(flat, severity_of(flat.shape, algorithm=other)))
    pictures.append(render_overlay(flat, base, captions=("orientation assumed",)))
    pictures.append(render_overlay(flat, severity_of(flat.shape, warnings=("lungs parted by force",))))
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)
    assert render_overlay(flat, base).tobytes() == pictures[0].tobytes()


def test_not_assessable_draws_no_zones(flat, not_assessable_of):
    picture = render_overlay(flat, not_assessable_of(flat.shape))
    film = film_part(picture, flat.shape)
    assert not coloured(film).any()
    assert np.ptp(film) == 0
    # the heading is there all the same
    assert (picture[:40] > 200).any()


def test_what_stage_one_found_is_outlined_even_without_a_score(flat, not_assessable_of, severity_of):
    blob = severity_of(flat.shape).zone_map == 2
    result = dataclasses.replace(not_assessable_of(flat.shape), lung_mask=blob)
    film = film_part(render_overlay(flat, result), flat.shape)
    drawn = coloured(film)
    assert drawn.any()
    rim = cv2.dilate(blob.astype(np.uint8), np.ones((9, 9))) - cv2.erode(
        blob.astype(np.uint8), np.ones((9, 9))
    )
    assert not (drawn & (rim == 0)).any()


def test_monochrome_has_no_colour_and_shows_the_same_things(flat, severity_of):
    picture = render_overlay(flat, severity_of(flat.shape), palette=MONOCHROME)
    assert not (np.ptp(film_part(picture, flat.shape), axis=2) > 0).any()
    assert picture.shape == render_overlay(flat, severity_of(flat.shape), palette=COLOUR).shape
    film = film_part(picture, flat.shape)
    opacity = cv2.erode(severity_of(flat.shape).opacity_mask.astype(np.uint8), np.ones((15, 15))) > 0
    assert (film[opacity] > 102 + 20).all()


def test_a_long_message_is_wrapped_not_cut(flat, not_assessable_of):
    words = "The lungs are hidden by something that covers the film. " * 4
    short = render_overlay(flat, not_assessable_of(flat.shape))
    long = render_overlay(flat, dataclasses.replace(not_assessable_of(flat.shape), message=words))
    rows_of_text = [(picture[-250:].max(axis=(1, 2)) > 100).sum() for picture in (short, long)]
    assert rows_of_text[1] > rows_of_text[0]
    assert (long[:, -8:] < 100).all()
