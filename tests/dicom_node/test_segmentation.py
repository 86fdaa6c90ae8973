"""The segmentation holds the masks that were measured, in the geometry of the stored film."""

from __future__ import annotations

import dataclasses
from io import BytesIO

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread, uid

from dicom_node.eligibility import require_frontal_chest
from dicom_node.errors import NotEligible, NotEligibleReason
from dicom_node.orientation import frontal_orientation
from dicom_node.prior import ReportBasis
from dicom_node.report_context import ReportContext
from dicom_node.report_settings import ReportSettings
from dicom_node.segmentation import SERIES_NUMBER, build_segmentation

DIRECTIONS = [(row, column) for row in "LRFH" for column in "LRFH" if (row in "LR") != (column in "LR")]


@pytest.fixture
def segmentation_of(created_at, encoded):
    def build(film, result):
        context = ReportContext(film, result, ReportSettings(), ReportBasis(created_at))
        return dcmread(BytesIO(encoded(build_segmentation(context))))

    return build


def _code(sequence):
    return (sequence[0].CodeValue, sequence[0].CodingSchemeDesignator)


def test_it_refers_to_the_film_in_a_series_of_its_own(demo_film, severity_of, segmentation_of):
    segmentation, source = segmentation_of(demo_film, severity_of(demo_film.pixels.shape)), demo_film.dataset
    assert segmentation.SOPClassUID == uid.SegmentationStorage
    for keyword in ("StudyInstanceUID", "PatientID", "IssuerOfPatientID", "PatientName", "AccessionNumber"):
        assert segmentation[keyword].value == source[keyword].value
    assert segmentation.SeriesNumber == SERIES_NUMBER
    series = segmentation.ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == source.SeriesInstanceUID != segmentation.SeriesInstanceUID
    assert segmentation.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert segmentation.ContentQualification == "RESEARCH"
    assert segmentation.PatientOrientation == source.PatientOrientation
    assert (segmentation.Rows, segmentation.Columns) == (source.Rows, source.Columns)


@pytest.mark.parametrize("directions", DIRECTIONS, ids="".join)
def test_masks_lie_on_the_stored_film(
    directions, demo_pixels, new_film, film_of, severity_of, segmentation_of, encoded
):
    turn = frontal_orientation(directions)
    film = film_of(new_film(turn.to_stored(demo_pixels), PatientOrientation=list(directions)))
    result = severity_of(film.pixels.shape)
    segmentation = segmentation_of(film, result)
    right, left = (np.isin(result.zone_map, numbers) for numbers in ((1, 2, 3), (4, 5, 6)))
    stored = segmentation.pixel_array
    for frame, mask in zip(stored, (right, left, result.opacity_mask), strict=True):
        assert np.array_equal(frame > 0, turn.to_stored(mask))
    # the way a reader of segmentations takes: by source image and segment number
    read = hd.seg.segread(BytesIO(encoded(segmentation))).get_pixels_by_source_instance(
        [film.dataset.SOPInstanceUID], segment_numbers=[3]
    )
    assert np.array_equal(read[0, ..., 0] > 0, turn.to_stored(result.opacity_mask))


def test_the_detector_spacing_is_taken_over(demo_pixels, new_film, film_of, severity_of, segmentation_of):
    spaced = film_of(new_film(demo_pixels, ImagerPixelSpacing=["0.143", "0.144"]))
    result = severity_of(spaced.pixels.shape)
    shared = segmentation_of(spaced, result).SharedFunctionalGroupsSequence[0]
    assert shared.PixelMeasuresSequence[0].PixelSpacing == [0.143, 0.144]
    zero = film_of(new_film(demo_pixels, ImagerPixelSpacing=["0.000", "0.000"]))
    assert "PixelMeasuresSequence" not in segmentation_of(zero, result).SharedFunctionalGroupsSequence[0]


def test_segments_are_coded(demo_film, severity_of, segmentation_of):
    segmentation = segmentation_of(demo_film, severity_of(demo_film.pixels.shape))
    right, left, opacity = segmentation.SegmentSequence
    assert [one.SegmentLabel for one in (right, left, opacity)] == ["Right lung", "Left lung", "Lung opacity"]
    for lung, laterality in ((right, "24028007"), (left, "7771000")):
        kind = lung.SegmentedPropertyTypeCodeSequence
        assert _code(kind) == ("39607008", "SCT")
        assert _code(kind[0].SegmentedPropertyTypeModifierCodeSequence) == (laterality, "SCT")
    assert _code(opacity.SegmentedPropertyTypeCodeSequence) == ("112001", "DCM")
    assert _code(opacity.AnatomicRegionSequence) == ("39607008", "SCT")
    for one in (right, left, opacity):
        algorithm = one.SegmentationAlgorithmIdentificationSequence[0]
        assert one.SegmentAlgorithmType == "AUTOMATIC"
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("two-stage", "1.0")
        assert _code(algorithm.AlgorithmFamilyCodeSequence) == ("123110", "DCM")
        assert "involvement_threshold=0.31" in algorithm.AlgorithmParameters
    assert len({one.TrackingUID for one in (right, left, opacity)}) == 3


def test_no_opacity_found_is_an_empty_mask_and_not_measured_is_none(demo_film, severity_of, segmentation_of):
    shape = demo_film.pixels.shape
    clear = severity_of(shape, opacity_mask=np.zeros(shape, np.bool_))
    assert [frame.any() for frame in segmentation_of(demo_film, clear).pixel_array] == [True, True, False]
    lungs_only = dataclasses.replace(clear.algorithm, weights={"lungs": "ab" * 32})
    segmentation = segmentation_of(demo_film, dataclasses.replace(clear, algorithm=lungs_only))
    assert [one.SegmentLabel for one in segmentation.SegmentSequence] == ["Right lung", "Left lung"]


def test_not_assessable_shows_what_was_found_of_the_lungs(demo_film, not_assessable_of, segmentation_of):
    nothing = not_assessable_of(demo_film.pixels.shape)
    mask = np.zeros(demo_film.pixels.shape, np.bool_)
    mask[300:500, 200:300] = True
    for result in (nothing, dataclasses.replace(nothing, lung_mask=mask)):
        segmentation = segmentation_of(demo_film, result)
        assert [one.SegmentLabel for one in segmentation.SegmentSequence] == [
            "Lungs as found, not assessable"
        ]
        assert np.array_equal(segmentation.pixel_array > 0, result.lung_mask)


def test_the_same_question_has_the_same_answer(demo_film, severity_of, created_at, encoded):
    context = ReportContext(
        demo_film, severity_of(demo_film.pixels.shape), ReportSettings(), ReportBasis(created_at)
    )
    assert encoded(build_segmentation(context)) == encoded(build_segmentation(context))


def test_it_comes_back_as_our_own_result(demo_film, severity_of, segmentation_of):
    with pytest.raises(NotEligible) as caught:
        require_frontal_chest(segmentation_of(demo_film, severity_of(demo_film.pixels.shape)))
    assert caught.value.reason is NotEligibleReason.OWN_RESULT


@pytest.mark.parametrize("directions", [["L", "F"], ["F", "R"], ["LH", "FL"], ["X", "Y"], None], ids=str)
def test_dciodvfy_finds_nothing(
    directions, demo_pixels, new_film, film_of, severity_of, not_assessable_of, segmentation_of, tool,
    encoded, tmp_path,
):  # fmt: skip
    spacing = ["0.143", "0.143"]
    film = film_of(new_film(demo_pixels, PatientOrientation=directions, ImagerPixelSpacing=spacing))
    for make in (severity_of, not_assessable_of):
        path = tmp_path / "segmentation.dcm"
        path.write_bytes(encoded(segmentation_of(film, make(film.pixels.shape))))
        said = tool("dciodvfy", "-new", path)
        assert "Segmentation" in said
        assert [line for line in said.splitlines() if line.startswith(("Error", "Warning"))] == []
