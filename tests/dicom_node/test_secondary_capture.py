"""The picture as a DICOM object: valid, in the right study, recognised as ours."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread, uid

from dicom_node.eligibility import require_frontal_chest
from dicom_node.errors import NotEligible, NotEligibleReason
from dicom_node.prior import ReportBasis
from dicom_node.rendering import render_overlay
from dicom_node.report_context import ReportContext
from dicom_node.report_settings import ReportSettings
from dicom_node.secondary_capture import SERIES_NUMBER, build_secondary_capture

RGB, GREY = ReportSettings(), ReportSettings(capture="monochrome")


@pytest.fixture
def capture_of(created_at, encoded):
    def build(radiograph, result, settings=RGB):
        return dcmread(
            BytesIO(
                encoded(
                    build_secondary_capture(
                        ReportContext(radiograph, result, settings, ReportBasis(created_at))
                    )
                )
            )
        )

    return build


def test_it_holds_the_rendering_unchanged(demo_film, severity_of, capture_of):
    result = severity_of(demo_film.pixels.shape)
    capture = capture_of(demo_film, result)
    assert np.array_equal(capture.pixel_array, render_overlay(demo_film.pixels, result))
    assert capture.PhotometricInterpretation == "RGB"
    assert max(capture.Rows, capture.Columns) <= 2048


def test_monochrome_for_archives_that_refuse_colour(demo_film, severity_of, capture_of):
    capture = capture_of(demo_film, severity_of(demo_film.pixels.shape), GREY)
    assert capture.PhotometricInterpretation == "MONOCHROME2"
    assert (capture.WindowCenter, capture.WindowWidth) == (128, 256)
    assert capture.pixel_array.ndim == 2
    assert capture.pixel_array.max() == 255


def test_it_belongs_to_the_study_in_a_series_of_its_own(demo_film, severity_of, capture_of):
    source = demo_film.dataset
    capture = capture_of(demo_film, severity_of(demo_film.pixels.shape))
    assert capture.SOPClassUID == uid.SecondaryCaptureImageStorage
    for keyword in (
        "StudyInstanceUID",
        "PatientID",
        "IssuerOfPatientID",
        "PatientName",
        "AccessionNumber",
        "StudyDate",
    ):
        assert capture[keyword].value == source[keyword].value
    assert capture.SeriesInstanceUID != source.SeriesInstanceUID
    assert capture.SeriesNumber == SERIES_NUMBER
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert capture.ContentQualification == "RESEARCH"
    assert capture.BodyPartExamined == "CHEST"
    assert capture.PatientOrientation == ["L", "F"]
    assert capture.BurnedInAnnotation == "NO"
    assert capture.LossyImageCompression == "01"
    assert "not for diagnosis" in capture.DerivationDescription


def test_it_comes_back_as_our_own_result(demo_film, severity_of, capture_of):
    with pytest.raises(NotEligible) as caught:
        require_frontal_chest(capture_of(demo_film, severity_of(demo_film.pixels.shape)))
    assert caught.value.reason is NotEligibleReason.OWN_RESULT


def test_a_mirrored_film_is_drawn_as_it_hangs(demo_film, new_film, film_of, severity_of, capture_of):
    pixels = np.round(demo_film.pixels * 4095).astype(np.uint16)
    result = severity_of(pixels.shape)
    plain = film_of(new_film(pixels, BitsStored=12, HighBit=11))
    mirrored = film_of(
        new_film(pixels[:, ::-1].copy(), BitsStored=12, HighBit=11, PatientOrientation=["R", "F"])
    )
    drawn = [capture_of(film, result).pixel_array for film in (plain, mirrored)]
    assert np.array_equal(*drawn)
    assert not np.array_equal(drawn[0], drawn[0][:, ::-1])


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("settings", [RGB, GREY], ids=["rgb", "monochrome"])
def test_dciodvfy_finds_nothing(
    settings,
    demo_film,
    new_film,
    film_of,
    severity_of,
    not_assessable_of,
    created_at,
    encoded,
    tool,
    tmp_path,
):
    bare = {
        keyword: None for keyword in ("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "PatientSex")
    }
    korean = {"SpecificCharacterSet": ["", "ISO 2022 IR 149"], "PatientName": "Hong^Gildong=洪^吉洞=홍^길동"}
    films = [
        demo_film,
        film_of(new_film(**bare, PixelSpacing=["0.000", "0.000"])),
        film_of(new_film(**korean)),
    ]
    for film in films:
        for make in (severity_of, not_assessable_of):
            path = tmp_path / "capture.dcm"
            path.write_bytes(
                encoded(
                    build_secondary_capture(
                        ReportContext(film, make(film.pixels.shape), settings, ReportBasis(created_at))
                    )
                )
            )
            output = tool("dciodvfy", "-new", path)
            assert "SCImage" in output
            lines = [line for line in output.splitlines() if line.startswith(("Error", "Warning"))]
            assert [line for line in lines if "build DICOMDIR" not in line] == []
