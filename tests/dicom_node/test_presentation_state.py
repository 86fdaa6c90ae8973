"""The presentation state hangs its film as it was scored, and says in text what was found."""

from __future__ import annotations

from datetime import datetime
from io import BytesIO

import cv2
import numpy as np
import pytest
from pydicom import dcmread, uid

from dicom_node.eligibility import require_frontal_chest
from dicom_node.errors import NotEligible, NotEligibleReason
from dicom_node.orientation import frontal_orientation
from dicom_node.pixels import read_dataset, read_radiograph
from dicom_node.presentation_state import SERIES_NUMBER, build_presentation_state, read_presentation_texts
from dicom_node.prior import PriorResult, ReportBasis, ZoneFigures
from dicom_node.report_context import ReportContext
from dicom_node.report_settings import ReportSettings
from models.result import ZONE_ORDER

DIRECTIONS = [(row, column) for row in "LRFH" for column in "LRFH" if (row in "LR") != (column in "LR")]
LAYERS = ["AI LUNGS", "AI ZONES", "AI OPACITY", "AI FIGURES", "AI NOTICE"]


@pytest.fixture
def state_of(created_at, encoded):
    def build(film, result, **basis):
        context = ReportContext(film, result, ReportSettings(), ReportBasis(created_at, **basis))
        return dcmread(BytesIO(encoded(build_presentation_state(context))))

    return build


def _prior(**replaced):
    figures = tuple(ZoneFigures(0, 0.0) for _ in ZONE_ORDER)
    values = {
        "sop_instance_uid": "2.25.9", "acquired_at": datetime(2025, 12, 24, 8, 0), "algorithm": "two-stage",
        "version": "1.0", "digest": "e" * 64, "score": 0, "score_max": 6, "percent": 1.5, "zones": figures,
    }  # fmt: skip
    return PriorResult(**(values | replaced))


def _shown(film, points):
    """Stored points as the display shows them: the way a viewer goes, by rotation and flip alone."""
    rows, columns = film.pixels.shape
    shown = np.asarray(points, np.float64).reshape(-1, 2)
    turn = film.orientation
    shown = shown[:, ::-1].copy() if turn.transposed else shown
    if turn.rows_flipped:
        shown[:, 1] = rows - shown[:, 1]
    if turn.columns_flipped:
        shown[:, 0] = columns - shown[:, 0]
    return shown


def _objects(state, keyword):
    return [one for item in state.GraphicAnnotationSequence for one in item.get(keyword, [])]


def test_it_refers_to_the_film_in_a_series_of_its_own(demo_film, severity_of, state_of):
    state, source = state_of(demo_film, severity_of(demo_film.pixels.shape)), demo_film.dataset
    assert state.SOPClassUID == uid.GrayscaleSoftcopyPresentationStateStorage
    for keyword in ("StudyInstanceUID", "PatientID", "IssuerOfPatientID", "PatientName", "AccessionNumber"):
        assert state[keyword].value == source[keyword].value
    assert state.SeriesNumber == SERIES_NUMBER
    series = state.ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == source.SeriesInstanceUID != state.SeriesInstanceUID
    assert series.ReferencedImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert state.ContentQualification == "RESEARCH"
    assert state.PresentationCreationDate == "20260304"


def test_layers_can_be_hidden_one_by_one(demo_film, severity_of, state_of):
    state = state_of(demo_film, severity_of(demo_film.pixels.shape))
    assert [layer.GraphicLayer for layer in state.GraphicLayerSequence] == LAYERS
    assert [layer.GraphicLayerOrder for layer in state.GraphicLayerSequence] == [1, 2, 3, 4, 5]
    assert all(layer.GraphicLayerRecommendedDisplayGrayscaleValue for layer in state.GraphicLayerSequence)
    assert [item.GraphicLayer for item in state.GraphicAnnotationSequence] == LAYERS


def test_texts_say_what_was_found_in_the_digits_reported(demo_film, severity_of, state_of):
    texts = read_presentation_texts(state_of(demo_film, severity_of(demo_film.pixels.shape)))
    assert texts == (
        "AI severity 2 of 6, 25.0 % of lung area",
        "right upper 0 of 1 0.0 %",
        "right middle 0 of 1 0.0 %",
        "right lower 1 of 1 100.0 %",
        "left upper 1 of 1 50.0 %",
        "left middle 0 of 1 0.0 %",
        "left lower 0 of 1 0.0 %",
        "AI result, research use, not for diagnosis",
    )


def test_the_change_since_the_prior_is_told(demo_film, severity_of, state_of):
    state = state_of(demo_film, severity_of(demo_film.pixels.shape), priors=(_prior(),))
    assert "change since 2025-12-24: +2, +23.5 % points" in read_presentation_texts(state)[0]


def test_not_assessable_gives_the_reason_instead_of_figures(demo_film, not_assessable_of, state_of):
    state = state_of(demo_film, not_assessable_of(demo_film.pixels.shape))
    first, *rest = read_presentation_texts(state)
    assert first.startswith("AI severity NOT ASSESSABLE Lungs cover 0.4 %")
    assert rest == ["AI result, research use, not for diagnosis"]
    assert not _objects(state, "GraphicObjectSequence")


def test_the_same_question_has_the_same_answer(demo_film, severity_of, created_at, encoded):
    context = ReportContext(
        demo_film, severity_of(demo_film.pixels.shape), ReportSettings(), ReportBasis(created_at)
    )
    assert encoded(build_presentation_state(context)) == encoded(build_presentation_state(context))


@pytest.fixture(params=DIRECTIONS, ids="".join)
def turned(request, demo_pixels, new_film, film_of):
    stored = frontal_orientation(request.param).to_stored(demo_pixels)
    window = {"WindowCenter": "2048", "WindowWidth": "4096"}
    return film_of(new_film(stored, BitsStored=12, HighBit=11, PatientOrientation=request.param, **window))


def test_outlines_lie_on_the_anatomy_however_the_film_is_stored(turned, severity_of, state_of):
    result = severity_of(turned.pixels.shape)
    state = state_of(turned, result)
    names = {one.TrackingID for one in _objects(state, "GraphicObjectSequence")}
    assert names == {"AI right lung", "AI left lung", "AI lung opacity"} | {
        f"AI zone {zone.name}" for zone in result.zones
    }
    for one in _objects(state, "GraphicObjectSequence"):
        assert one.GraphicData[:2] == one.GraphicData[-2:]
        if one.TrackingID == "AI zone left upper":
            drawn = np.zeros(turned.pixels.shape, np.uint8)
            corners = np.floor(_shown(turned, one.GraphicData)).astype(np.int32)
            cv2.fillPoly(drawn, [corners], 1)
            assert np.array_equal(drawn > 0, result.zone_map == 4)


def test_texts_run_upright_beside_the_lungs(turned, severity_of, state_of):
    result = severity_of(turned.pixels.shape)
    for one in _objects(state_of(turned, result), "TextObjectSequence"):
        (left, top), (right, bottom) = (
            _shown(turned, one[f"BoundingBox{corner}HandCorner"].value)[0]
            for corner in ("TopLeft", "BottomRight")
        )
        assert left < right
        assert top < bottom
        assert not result.lung_mask[int(top) : int(bottom), int(left) : int(right)].any()


def test_a_viewer_of_presentation_states_shows_the_film_as_it_was_scored(
    turned, severity_of, created_at, encoded, demo_pixels, new_film, tool, tmp_path
):
    """DCMTK turns and windows the stored film by the presentation state, independently of this package."""
    context = ReportContext(
        turned, severity_of(turned.pixels.shape), ReportSettings(), ReportBasis(created_at)
    )
    film = new_film(
        turned.orientation.to_stored(demo_pixels), BitsStored=12, HighBit=11,
        PatientOrientation=list(turned.dataset.PatientOrientation),
    )  # fmt: skip
    assert np.abs(_rendered(film, context, encoded, tool, tmp_path) - turned.pixels).max() < 0.005


@pytest.mark.parametrize(
    "kind",
    ["MONOCHROME1", "no window", "8 bit", "window that shows nothing", "VOI LUT", "rescaled", "sigmoid"],
)
def test_greys_are_those_that_were_scored(
    kind, demo_pixels, new_film, film_of, severity_of, created_at, encoded, tool, tmp_path
):
    lut = _lut_item(12, np.round(4095 * (np.arange(4096) / 4095) ** 0.5).astype(np.uint16))
    change = {
        "MONOCHROME1": {"PhotometricInterpretation": "MONOCHROME1"},
        "window that shows nothing": {"WindowCenter": "90000", "WindowWidth": "10"},
        "VOI LUT": {"VOILUTSequence": [lut]},
        "rescaled": {"RescaleSlope": "2", "RescaleIntercept": "-100", "WindowCenter": "4000",
                     "WindowWidth": "7000"},
        "sigmoid": {"WindowCenter": "2000", "WindowWidth": "3000", "VOILUTFunction": "SIGMOID"},
    }.get(kind, {})  # fmt: skip
    pixels = (demo_pixels // 16).astype(np.uint8) if kind == "8 bit" else demo_pixels
    bits = {} if kind == "8 bit" else {"BitsStored": 12, "HighBit": 11}
    source = new_film(pixels, **bits, **change)
    film = film_of(source)
    context = ReportContext(film, severity_of(film.pixels.shape), ReportSettings(), ReportBasis(created_at))
    if kind == "sigmoid":
        # DCMTK 3.6.7 knows linear windows only
        state = build_presentation_state(context)
        assert state.SoftcopyVOILUTSequence[0].VOILUTFunction == "SIGMOID"
        return
    assert np.abs(_rendered(source, context, encoded, tool, tmp_path) - film.pixels).max() < 0.006


def test_a_range_of_small_values_is_exact(demo_pixels, new_film, film_of, severity_of, state_of):
    film = film_of(new_film(demo_pixels, RescaleSlope="1e-6", RescaleIntercept="0"))
    window = state_of(film, severity_of(film.pixels.shape)).SoftcopyVOILUTSequence[0]
    low, high = film.chosen_range
    assert window.VOILUTFunction == "LINEAR_EXACT"
    assert float(window.WindowWidth) == pytest.approx(high - low)
    assert float(window.WindowCenter) == pytest.approx((low + high) / 2)


def test_an_even_film_has_a_window_all_the_same(new_film, film_of, severity_of, state_of):
    film = film_of(new_film())
    assert state_of(film, severity_of(film.pixels.shape)).SoftcopyVOILUTSequence[0].WindowWidth == 1


def _lut_item(bits, entries):
    from pydicom.dataset import Dataset

    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), 0, bits])
    item.add_new("LUTData", "OW", entries.tobytes())
    return item


def _rendered(film, context, encoded, tool, folder):
    image, state, picture = folder / "film.dcm", folder / "state.dcm", folder / "shown.pgm"
    image.write_bytes(film if isinstance(film, bytes) else encoded(film))
    state.write_bytes(encoded(build_presentation_state(context)))
    said = tool("dcmp2pgm", "-p", state, image, picture)
    assert picture.exists(), said
    return cv2.imread(str(picture), cv2.IMREAD_UNCHANGED).astype(np.float32) / 255


@pytest.mark.parametrize(
    "name",
    ["mono1_10bit_explicit", "mono1_10bit_implicit", "mono2_12bit_deflated", "mono2_16bit_big_endian"],
)
def test_real_films_are_shown_as_they_were_scored(
    name, cxr_dataset, severity_of, created_at, encoded, tool, tmp_path
):
    path = cxr_dataset / "dicom" / f"cr_chest_{name}.dcm"
    film = read_radiograph(read_dataset(path.read_bytes()))
    context = ReportContext(film, severity_of(film.pixels.shape), ReportSettings(), ReportBasis(created_at))
    shown = _rendered(path.read_bytes(), context, encoded, tool, tmp_path)
    assert np.abs(shown - film.pixels).max() < 0.005


def test_a_film_stored_in_colour_gets_a_color_presentation_state(
    demo_pixels, new_film, film_of, severity_of, state_of, tool, encoded, tmp_path
):
    grey = (demo_pixels // 16).astype(np.uint8)
    film = film_of(new_film(np.stack([grey] * 3, axis=-1)))
    state = state_of(film, severity_of(film.pixels.shape))
    assert state.SOPClassUID == uid.ColorSoftcopyPresentationStateStorage
    assert len(read_presentation_texts(state)) == 8
    assert _complaints(state, tool, encoded, tmp_path) == []


def test_it_comes_back_as_our_own_result(demo_film, severity_of, state_of):
    with pytest.raises(NotEligible) as caught:
        require_frontal_chest(state_of(demo_film, severity_of(demo_film.pixels.shape)))
    assert caught.value.reason is NotEligibleReason.OWN_RESULT


def _complaints(state, tool, encoded, folder):
    path = folder / "state.dcm"
    path.write_bytes(encoded(state))
    said = tool("dciodvfy", "-new", path)
    assert "SoftcopyPresentationState" in said
    return [line for line in said.splitlines() if line.startswith(("Error", "Warning"))]


def test_validators_find_nothing(turned, severity_of, not_assessable_of, state_of, tool, encoded, tmp_path):
    for make in (severity_of, not_assessable_of):
        state = state_of(turned, make(turned.pixels.shape), priors=(_prior(),))
        assert _complaints(state, tool, encoded, tmp_path) == []
        assert "Test passed" in tool("dcmpschk", tmp_path / "state.dcm")
