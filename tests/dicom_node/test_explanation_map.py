"""The map of what a score rests on: painted where its scorer says so, sent only where there is one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO

import cv2
import numpy as np
import pytest
from pydicom import dcmread, uid

from dicom_node.capture_figures import read_capture_figures
from dicom_node.identity import SERIES_NUMBERS, is_own_result
from dicom_node.instance import OBJECT_KINDS
from dicom_node.prior import ReportBasis
from dicom_node.rendering import COLOUR, MONOCHROME, Circumstances, render_explanation
from dicom_node.rendering.explanation import CLASS_COLOURS, WIDTH_PX, Panels
from dicom_node.report import build_report
from dicom_node.report_context import ReportContext
from dicom_node.report_settings import ReportSettings
from dicom_node.secondary_capture import build_explanation_map
from models.result import Explanation

SHAPE = (450, 400)
EVERYTHING = ReportSettings(objects=OBJECT_KINDS)
FILM = np.full(SHAPE, 0.4, np.float32)


def panel(picture, number, shape=SHAPE):
    return picture[Panels.of(shape).place(number)].astype(int)


def middle(result, zone):
    """A spot inside a zone, in the geometry of a panel: row and column."""
    panels = Panels.of(result.zone_map.shape)
    inside = cv2.resize(
        (result.zone_map == zone + 1).astype(np.uint8), (panels.columns, panels.rows), interpolation=0
    )
    rows, columns = np.nonzero(inside)
    return int(rows.mean()), int(columns.mean())


@pytest.fixture
def result(explained_of):
    return explained_of(SHAPE)


# --- the picture ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(256, 256), (1024, 900), (2500, 2048), (3000, 700), (400, 1600)])
def test_films_of_every_size_are_drawn_side_by_side(shape, explained_of):
    picture = render_explanation(np.full(shape, 0.4, np.float32), explained_of(shape))
    panels = Panels.of(shape)
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (WIDTH_PX, 3)
    assert picture.shape[0] <= 1800
    assert panels.rows / panels.columns == pytest.approx(shape[0] / shape[1], rel=0.02)
    for number in range(4):
        assert np.median(panel(picture, number, shape)[:2]) == 102
    apart = np.diff(panels.lefts)
    assert (apart > panels.columns).all()
    assert panels.lefts[-1] + panels.columns < WIDTH_PX


@pytest.mark.parametrize(("palette", "full"), [(COLOUR, CLASS_COLOURS), (MONOCHROME, ((0, 0, 0),) * 3)])
def test_each_class_has_its_colour_where_the_map_says(result, palette, full):
    picture = render_explanation(FILM, result, palette=palette)
    most, some, none = (middle(result, zone) for zone in (1, 3, 5))
    white = panel(picture, 2)[none]
    assert white.min() > 230
    # full colour at the most, part of the way from white elsewhere, each only in its own panel
    assert np.abs(panel(picture, 2)[most] - 0.94 * np.array(full[1])).max() <= 3
    assert np.abs(panel(picture, 1)[some] - (white + 0.4 * 0.94 * (np.array(full[0]) - 255))).max() <= 3
    for number, place in ((1, most), (2, some), (3, most), (3, some)):
        assert np.array_equal(panel(picture, number)[place], white)
    assert np.array_equal(panel(picture, 0)[most], [102] * 3)


def test_only_the_lungs_are_painted(result):
    maps = np.ones((3, *SHAPE), np.float32)
    picture = render_explanation(FILM, replace(result, explanation=Explanation(maps, {})))
    size = panel(picture, 1).shape[1::-1]
    lungs = cv2.resize(result.lung_mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    outside = cv2.dilate(lungs, np.ones((15, 15), np.uint8)) == 0
    for number in range(1, 4):
        assert (panel(picture, number)[outside] == 102).all()


def test_what_adds_much_is_framed_and_little_is_not(result):
    """Hue is not needed: where a map is at least half of the most, a frame is drawn around it."""
    maps = np.zeros((3, *SHAPE), np.float32)
    square = np.zeros(SHAPE, bool)
    square[result.zone_map == 2] = True
    square = cv2.erode(square.astype(np.uint8), np.ones((25, 25), np.uint8)) > 0
    for number, share in enumerate((0.4, 0.6)):
        maps[number][square] = share
    picture = render_explanation(FILM, replace(result, explanation=Explanation(maps, {})), palette=MONOCHROME)
    zone = cv2.resize((result.zone_map == 2).astype(np.uint8), panel(picture, 1).shape[1::-1]) > 0
    inner = cv2.erode(zone.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
    darkest = [panel(picture, number)[inner].min() for number in (1, 2)]
    assert darkest[0] > 120
    assert darkest[1] < 20


def test_broad_shadows_of_the_film_do_not_pass_for_colour(result):
    shaded = np.tile(np.linspace(0.1, 0.9, SHAPE[1], dtype=np.float32), (SHAPE[0], 1))
    picture = render_explanation(shaded, result)
    inside = panel(picture, 3)[middle(result, 0)], panel(picture, 3)[middle(result, 3)]
    assert np.abs(inside[0] - inside[1]).max() < 8


def test_a_map_of_nothing_is_white_and_says_so(result):
    empty = replace(result, explanation=Explanation(np.zeros((3, *SHAPE), np.float32), {"occlusions": "80"}))
    picture = render_explanation(FILM, empty)
    for number in range(1, 4):
        assert panel(picture, number)[middle(empty, 1)].min() > 230


def test_it_says_what_every_picture_says(result, monkeypatch):
    told = []
    monkeypatch.setattr("dicom_node.rendering.pen.Pen.write", lambda *args: told.append(args[3]) or 0.0)
    warned = replace(result, warnings=("lungs were separated by force",))
    known = Circumstances(datetime(2026, 3, 4, 5, 6), datetime(2026, 3, 3, 1, 2))
    render_explanation(FILM, warned, known)
    text = " ".join(told)
    for words in (
        "RESEARCH USE - NOT FOR DIAGNOSIS",
        f"bs-net 1.0, digest {result.algorithm.digest[:12]}; weights: network efefefef",
        "Film of 2026-03-03 01:02; result of 2026-03-04 05:06",
        "Note: lungs were separated by force",
        "97 pieces of the lungs",
        "falls by 0.4321",
        "A 0, B 2, C 3, D 1, E 0, F 2",
        "given to zones B, F",
    ):
        assert words in text
    assert told.count("RIGHT") == told.count("LEFT") == 4
    assert [word for word in told if "POINT" in word] == ["1 POINT", "2 POINTS", "3 POINTS"]


def test_without_an_explanation_there_is_nothing_to_draw(severity_of):
    with pytest.raises(ValueError, match="no explanation"):
        render_explanation(FILM, severity_of(SHAPE))


# --- the object -----------------------------------------------------------------------------------


@pytest.fixture
def report_of(demo_film, created_at):
    def build(result, settings=EVERYTHING):
        return build_report(demo_film, result, settings, ReportBasis(created_at)).instances

    return build


def test_it_is_a_capture_in_a_series_of_its_own(demo_film, explained_of, report_of):
    result = explained_of(demo_film.pixels.shape)
    instances = report_of(result)
    made = {kind: dcmread(BytesIO(encoded)) for kind, encoded in instances.items()}
    assert list(made) == list(OBJECT_KINDS)
    overlay, explanation = made["sc"], made["map"]
    assert explanation.SOPClassUID == uid.SecondaryCaptureImageStorage
    assert len({one.SOPInstanceUID for one in made.values()}) == len(made)
    assert len({one.SeriesInstanceUID for one in made.values()}) == len(made)
    assert explanation.SeriesNumber == SERIES_NUMBERS["map"]
    assert explanation.SeriesDescription == "Research: AI Brixia explanation map"
    assert "not for diagnosis" in explanation.DerivationDescription
    assert explanation.DerivationDescription != overlay.DerivationDescription
    assert is_own_result(explanation)
    assert read_capture_figures(instances["map"]) == read_capture_figures(instances["sc"])
    for keyword in ("StudyInstanceUID", "Modality", "BurnedInAnnotation", "SourceImageSequence", "PatientID"):
        assert explanation[keyword].value == overlay[keyword].value


@pytest.mark.parametrize("capture", ["rgb", "monochrome"])
def test_it_holds_the_rendering_unchanged(demo_film, explained_of, created_at, capture):
    result = explained_of(demo_film.pixels.shape)
    settings = ReportSettings(capture=capture, objects=("map",))
    context = ReportContext(demo_film, result, settings, ReportBasis(created_at))
    made = build_explanation_map(context)
    known = Circumstances(context.moment, datetime(2000, 1, 1))
    drawn = render_explanation(demo_film.pixels, result, known, COLOUR if capture == "rgb" else MONOCHROME)
    assert made.Rows == drawn.shape[0]
    assert made.PhotometricInterpretation == ("RGB" if capture == "rgb" else "MONOCHROME2")
    place = Panels.of(demo_film.pixels.shape).place(2)
    pixels = dcmread_pixels(made)
    expected = drawn if capture == "rgb" else cv2.cvtColor(drawn, cv2.COLOR_RGB2GRAY)
    assert np.array_equal(pixels[place], expected[place])


def dcmread_pixels(dataset):
    encoded = BytesIO()
    dataset.save_as(encoded, enforce_file_format=True)
    return dcmread(BytesIO(encoded.getvalue())).pixel_array


def test_the_same_question_has_the_same_answer(demo_film, explained_of, report_of):
    result = explained_of(demo_film.pixels.shape)
    two = ReportSettings(objects=("sc", "map"))
    first = report_of(result, two)
    assert report_of(result, two) == first
    # asking for it does not change the others
    assert report_of(replace(result, explanation=None), two) == {"sc": first["sc"]}


def test_where_there_is_none_none_is_made(demo_film, severity_of, not_assessable_of, report_of):
    shape = demo_film.pixels.shape
    for result in (severity_of(shape), not_assessable_of(shape)):
        assert list(report_of(result)) == ["sr", "sc", "gsps", "seg"]
        assert EVERYTHING.for_result(result).objects == ("sr", "sc", "gsps", "seg")
        # so that a report's name does not hang on it
        assert EVERYTHING.for_result(result).digest == EVERYTHING.digest
    assert report_of(severity_of(shape), ReportSettings(objects=("map",))) == {}


def test_where_there_is_one_it_is_made_only_if_wanted(demo_film, explained_of, report_of):
    result = explained_of(demo_film.pixels.shape)
    assert EVERYTHING.for_result(result) == EVERYTHING
    assert list(report_of(result, ReportSettings())) == ["sr", "sc"]


def test_a_film_without_a_score_has_no_map(demo_film, not_assessable_of):
    basis = ReportBasis(datetime(2026, 1, 1, tzinfo=UTC))
    context = ReportContext(demo_film, not_assessable_of(demo_film.pixels.shape), EVERYTHING, basis)
    with pytest.raises(ValueError, match="no explanation"):
        build_explanation_map(context)
