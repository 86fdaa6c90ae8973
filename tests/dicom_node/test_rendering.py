"""The picture shows what was found, where it was found, and hides nothing else."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta

import cv2
import numpy as np
import pytest

from dicom_node.instance import InstanceReference
from dicom_node.prior import PriorResult, ZoneFigures, figures_of
from dicom_node.rendering import COLOUR, MONOCHROME, Circumstances, page_of, render_overlay
from dicom_node.rendering.layout import NARROWEST_PX, WIDEST_PX
from dicom_node.rendering.zones import parted
from models.result import AlgorithmId

NOW = datetime(2026, 3, 4, 5, 6)
PALETTES = pytest.mark.parametrize("palette", [COLOUR, MONOCHROME], ids=["colour", "grey"])


def film_part(picture, shape, result, circumstances=None):
    """The film inside its margins."""
    page = page_of(shape, result, circumstances)
    top, left = page.film_top, page.film_left
    return picture[top : top + page.film_rows, left : left + page.film_columns]


def film_of(pixels, result, **options):
    """The film as it is drawn."""
    return film_part(render_overlay(pixels, result, **options), pixels.shape, result)


def coloured(picture):
    return np.ptp(picture.astype(np.int16), axis=2) > 12


def around(mask, pixels):
    return cv2.dilate(mask.astype(np.uint8), np.ones((pixels, pixels), np.uint8)) > 0


def within(mask, pixels):
    return cv2.erode(mask.astype(np.uint8), np.ones((pixels, pixels), np.uint8)) > 0


def prior_of(result, days, score=2):
    """The same zones, so many days earlier, with another total."""
    algorithm = result.algorithm
    return PriorResult(
        "1.2.3", NOW - timedelta(days=days), algorithm.name, algorithm.version, algorithm.digest,
        score, result.score_max, 12.5, figures_of(result),
    )  # fmt: skip


@pytest.fixture
def flat():
    """A film of one grey, on which every drawn line shows, of a size that is drawn pixel by pixel."""
    return np.full((900, 800), 0.4, np.float32)


@pytest.mark.parametrize(
    "shape", [(256, 256), (440, 440), (1024, 900), (900, 1024), (2500, 2048), (3000, 700), (400, 1600)]
)
def test_films_of_every_size_are_drawn_legibly(shape, severity_of):
    result = severity_of(shape)
    picture = render_overlay(np.full(shape, 0.4, np.float32), result)
    page = page_of(shape, result)
    assert picture.dtype == np.uint8
    assert picture.shape == (page.height, page.width, 3)
    assert NARROWEST_PX <= page.width <= WIDEST_PX
    assert page.height <= 2200
    film = film_part(picture, shape, result)
    assert film.shape[0] / film.shape[1] == pytest.approx(shape[0] / shape[1], rel=0.01)
    # the film itself is there, between black margins
    assert np.median(film) == 102
    assert picture[:4].max() == picture[-4:].max() == picture[:, :4].max() == picture[:, -4:].max() == 0
    # the figures of the total are at least nine hundredths of the width high
    rows = np.flatnonzero((picture[: page.film_top, : page.width // 6] > 200).all(axis=2).any(axis=1))
    total = max(np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1), key=len)
    assert total.size >= 0.09 * page.width


@PALETTES
@pytest.mark.parametrize("priors", [1, 4])
def test_nothing_is_written_on_the_film(priors, palette, severity_of, flat):
    """What is drawn on the film depends on the masks alone, not on any number, name or date."""
    pixels = np.linspace(0, 1, flat.size, dtype=np.float32).reshape(flat.shape)
    result = severity_of(flat.shape)
    known = Circumstances(NOW, NOW, tuple(prior_of(result, days) for days in range(priors, 0, -1)))
    other = dataclasses.replace(result, score=1, warnings=("lungs parted by force",))
    films = [
        film_part(render_overlay(pixels, one, told, palette), flat.shape, one, told)
        for one, told in ((result, Circumstances()), (other, known))
    ]
    assert np.array_equal(*films)
    far = ~around(result.zone_map > 0, 13)
    assert np.abs(films[0][far].astype(float) - 255 * pixels[far][:, None]).max() <= 1


def test_colour_stays_at_the_lungs(flat, severity_of):
    result = severity_of(flat.shape)
    shown = coloured(film_of(flat, result))
    assert shown.any()
    assert not (shown & ~around(result.lung_mask, 13)).any()


def test_the_film_shows_through_the_opacity(severity_of):
    film = np.tile(np.linspace(0.2, 0.8, 800, dtype=np.float32), (900, 1))
    result = severity_of(film.shape)
    picture = film_of(film, result).astype(int)
    inside = within(result.opacity_mask, 25)
    tinted = inside & (np.abs(picture[..., 0] - 255 * film - 0.22 * (230 - 255 * film)) <= 2)
    # most of it lies between the lines of the hatch, and is as bright as before in proportion
    assert tinted.sum() > 0.75 * inside.sum()
    assert np.corrcoef(picture[tinted][:, 1], film[tinted])[0, 1] > 0.99
    assert (picture[tinted][:, 0] > picture[tinted][:, 2] + 20).all()
    clear = within(result.lung_mask & ~result.opacity_mask, 25)
    assert (np.abs(picture[clear] - film[clear][:, None] * 255) <= 1).mean() > 0.96


def test_opacity_outside_the_lungs_is_not_shown_as_counted(flat, severity_of):
    everywhere = np.ones(flat.shape, np.bool_)
    result = severity_of(flat.shape, opacity_mask=everywhere)
    assert not (coloured(film_of(flat, result)) & ~around(result.lung_mask, 13)).any()


def test_right_and_left_are_not_swapped(flat, severity_of):
    """Only the right lower and left upper zones are filled; the right lung is at image left."""
    film = film_of(flat, severity_of(flat.shape)).astype(int)
    opaque = film[..., 0] - film[..., 2] > 20
    rows, columns = flat.shape
    assert opaque[rows // 2 :, : columns // 2].sum() > 1000
    assert opaque[: rows // 2, columns // 2 :].sum() > 1000
    assert opaque[: rows // 3, : columns // 2].sum() == 0
    assert opaque[rows // 2 :, columns // 2 :].sum() == 0


def test_each_number_changes_the_picture(flat, severity_of):
    base = severity_of(flat.shape)
    other = AlgorithmId("two-stage", "1.0", {"lungs": "00" * 32, "opacity": "cd" * 32}, {})
    results = [base, severity_of(flat.shape, score=5), severity_of(flat.shape, algorithm=other)]
    results.append(severity_of(flat.shape, warnings=("lungs parted by force",)))
    for index, zone in enumerate(base.zones):
        for changed in ({"score": 1 - zone.score}, {"opacity_area_px": zone.opacity_area_px // 2 + 400}):
            zones = (*base.zones[:index], dataclasses.replace(zone, **changed), *base.zones[index + 1 :])
            results.append(dataclasses.replace(base, zones=zones))
    priors = tuple(prior_of(base, days) for days in (9, 5, 2))
    circumstances = [
        Circumstances(warnings=("orientation assumed",)),
        Circumstances(created_at=NOW),
        Circumstances(acquired_at=NOW),
        Circumstances(predecessor=InstanceReference(*"1234")),
        Circumstances(priors=priors[:1]),
        Circumstances(priors=priors[1:2]),
        Circumstances(priors=priors[1:]),
        Circumstances(priors=priors),
    ]
    pictures = [render_overlay(flat, result) for result in results]
    pictures += [render_overlay(flat, base, told) for told in circumstances]
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)
    assert render_overlay(flat, base).tobytes() == pictures[0].tobytes()


def test_a_zone_without_area_has_no_points(flat, severity_of):
    base = severity_of(flat.shape)
    gone = dataclasses.replace(base.zones[1], area_px=0, opacity_area_px=0, score=0)
    without = dataclasses.replace(
        base,
        zones=(base.zones[0], gone, *base.zones[2:]),
        zone_map=np.where(base.zone_map == 2, 0, base.zone_map).astype(np.uint8),
    )
    known = Circumstances(
        priors=(dataclasses.replace(prior_of(base, 3), zones=6 * (ZoneFigures(None, None),)),)
    )
    for told in (None, known):
        pictures = [render_overlay(flat, result, told) for result in (base, without)]
        assert pictures[0].shape == pictures[1].shape
        assert not np.array_equal(*pictures)


def test_three_results_make_a_trend_strip(flat, severity_of):
    result = severity_of(flat.shape)
    heights = [
        page_of(
            flat.shape, result, Circumstances(acquired_at=NOW, priors=(prior_of(result, 3),) * count)
        ).height
        for count in (1, 2, 5, 40)
    ]
    assert heights[0] < heights[1] == heights[2] == heights[3]
    steep = [Circumstances(NOW, NOW, (prior_of(result, 9, score), prior_of(result, 5))) for score in (0, 6)]
    strips = [
        render_overlay(flat, result, told)[page_of(flat.shape, result, told).film_top + 900 :]
        for told in steep
    ]
    assert not np.array_equal(*strips)


@PALETTES
def test_brixia_has_three_points_a_zone(palette, flat, severity_of):
    base = severity_of(flat.shape)
    gauges = []
    for points in range(4):
        zones = tuple(dataclasses.replace(zone, score=points) for zone in base.zones)
        result = dataclasses.replace(base, score=6 * points, score_max=18, zones=zones)
        picture = render_overlay(flat, result, palette=palette)
        page = page_of(flat.shape, result)
        column = picture[page.film_top : page.film_top + 900, page.film_left - round(1.6 * page.unit)]
        gauges.append(int((np.abs(column.astype(int) - palette.opacity).max(axis=1) < 3).sum()))
    assert gauges[0] == 0
    assert gauges[3] > 500
    assert gauges[1] == pytest.approx(gauges[3] / 3, rel=0.05)
    assert gauges[2] == pytest.approx(gauges[3] * 2 / 3, rel=0.05)


def test_not_assessable_draws_no_zones(flat, not_assessable_of):
    result = not_assessable_of(flat.shape)
    picture = render_overlay(flat, result)
    assert np.ptp(film_part(picture, flat.shape, result)) == 0
    # the statement is nearly as high as a score
    page = page_of(flat.shape, result)
    head = (picture[round(7 * page.unit) : page.film_top - 3] > 200).all(axis=2).any(axis=1)
    rows = np.flatnonzero(head)
    lines = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    assert sum(line.size >= 0.07 * page.width for line in lines) == 2


def test_what_stage_one_found_is_outlined_even_without_a_score(flat, not_assessable_of, severity_of):
    blob = severity_of(flat.shape).zone_map == 2
    result = dataclasses.replace(not_assessable_of(flat.shape), lung_mask=blob)
    shown = coloured(film_of(flat, result))
    assert shown.any()
    assert not (shown & ~(around(blob, 13) & ~within(blob, 13))).any()


def test_monochrome_has_no_colour_and_shows_the_same_things(flat, severity_of):
    result = severity_of(flat.shape)
    picture = render_overlay(flat, result, palette=MONOCHROME)
    assert (np.ptp(picture, axis=2) == 0).all()
    assert picture.shape == render_overlay(flat, result, palette=COLOUR).shape
    opacity = within(result.opacity_mask, 25)
    film = film_part(picture, flat.shape, result)
    assert np.mean(film[opacity] != 102) > 0.99
    # opacity is told by its hatch, which neither film nor lung outline shows
    hatched = film[opacity][:, 0]
    assert np.mean(hatched > 102 + 40) > 0.05
    assert np.mean(hatched < 102 - 20) > 0.05


def test_a_long_message_is_wrapped_not_cut(flat, not_assessable_of):
    words = "The lungs are hidden by something that covers the film. " * 4
    result = not_assessable_of(flat.shape)
    long = render_overlay(flat, dataclasses.replace(result, message=words))
    assert long.shape[0] > render_overlay(flat, result).shape[0]
    assert (long[:, -8:] == 0).all()


def relative_luminance(colour):
    """WCAG 2.2: sRGB to linear light, weighted."""
    share = np.asarray(colour, float) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


@PALETTES
@pytest.mark.parametrize("grey", [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
def test_contours_stand_out_on_dark_and_on_bright_film(grey, palette, severity_of):
    """Within three line widths of any point of an outline, contrast is 3 : 1 or more (WCAG 2.2, 1.4.11)."""
    film = np.full((900, 800), grey, np.float32)
    result = severity_of(film.shape)
    light = relative_luminance(film_of(film, result, palette=palette))
    brightest = cv2.dilate(light, np.ones((11, 11)))
    darkest = cv2.erode(light, np.ones((11, 11)))
    contrast = (brightest + 0.05) / (darkest + 0.05)
    for mask in (result.lung_mask, result.opacity_mask):
        rim = mask & ~within(mask, 3)
        assert contrast[rim].min() >= 3


COLOUR_BLINDNESS = {  # Machado, Oliveira and Fernandes 2009, table of severity 1.0, on linear RGB
    "none": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def seen(colour, matrix):
    """CIELAB (D65) of what an eye without one kind of cone sees."""
    share = np.asarray(colour, float) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    to_xyz = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
    xyz = np.array(to_xyz) @ np.clip(np.array(matrix) @ linear, 0, 1) / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("kind", COLOUR_BLINDNESS)
def test_classes_stay_apart_for_the_colour_blind(kind):
    """Differences in CIELAB; 2.3 is just noticeable."""
    matrix = COLOUR_BLINDNESS[kind]
    lung, opacity = seen(COLOUR.lung, matrix), seen(COLOUR.opacity, matrix)
    assert np.linalg.norm(lung - opacity) > 80
    assert np.linalg.norm(seen(COLOUR.opacity, matrix) - seen(COLOUR.text, matrix)) > 50
    for grey in range(20, 256, 20):
        tinted = grey + COLOUR.tint_weight * (np.array(COLOUR.opacity) - grey)
        assert np.linalg.norm(seen(tinted, matrix) - seen((grey,) * 3, matrix)) > 10
        for line in (lung, opacity):
            assert np.linalg.norm(line - seen((grey,) * 3, matrix)) > 12


def test_gauges_of_zones_with_sloping_borders_do_not_overlap():
    assert parted([(0.0, 10.0), (8.0, 20.0), (20.0, 30.0)]) == [(0.0, 8.8), (9.2, 20.0), (20.0, 30.0)]
    level = [(0.0, 9.8), (10.2, 20.0), (20.4, 30.0)]
    assert parted(level) == level
