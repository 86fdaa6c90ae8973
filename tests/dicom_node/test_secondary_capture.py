"""The picture as a DICOM object: valid, in the right study, recognised as ours."""

from __future__ import annotations

import dataclasses
import re
from datetime import datetime
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset

from dicom_node.capture_figures import PRIVATE_CREATOR, PRIVATE_GROUP, CaptureFigures, read_capture_figures
from dicom_node.eligibility import require_frontal_chest
from dicom_node.errors import NotEligible, NotEligibleReason
from dicom_node.instance import InstanceReference
from dicom_node.prior import PriorResult, ReportBasis, figures_of
from dicom_node.rendering import render_overlay
from dicom_node.report_context import ReportContext
from dicom_node.report_settings import ReportSettings
from dicom_node.secondary_capture import SERIES_NUMBER, build_secondary_capture, circumstances_of
from models.result import NotAssessableReason

RGB, GREY = ReportSettings(), ReportSettings(capture="monochrome")


@pytest.fixture
def capture_of(created_at, encoded):
    def build(radiograph, result, settings=RGB, **basis):
        context = ReportContext(radiograph, result, settings, ReportBasis(created_at, **basis))
        return dcmread(BytesIO(encoded(build_secondary_capture(context))))

    return build


def report_of(number, study):
    return InstanceReference(uid.ComprehensiveSRStorage, f"2.25.7{number}", f"2.25.8{number}", study)


def prior_of(result, day, study="2.25.990"):
    algorithm = result.algorithm
    return PriorResult(
        f"2.25.6{day}", datetime(2026, 1, day), algorithm.name, algorithm.version, algorithm.digest,
        2, result.score_max, 12.5, figures_of(result), report_of(day, study),
    )  # fmt: skip


def test_it_holds_the_rendering_unchanged(demo_film, severity_of, capture_of, created_at):
    result = severity_of(demo_film.pixels.shape)
    capture = capture_of(demo_film, result)
    context = ReportContext(demo_film, result, RGB, ReportBasis(created_at))
    expected = render_overlay(demo_film.pixels, result, circumstances_of(context))
    assert np.array_equal(capture.pixel_array, expected)
    assert capture.PhotometricInterpretation == "RGB"
    assert max(capture.Rows, capture.Columns) <= 2200


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
    assert capture.Modality == source.Modality
    assert capture.ImageType[:2] == ["DERIVED", "SECONDARY"]
    assert capture.ContentQualification == "RESEARCH"
    assert capture.BodyPartExamined == "CHEST"
    assert capture.PatientOrientation == ["L", "F"]
    assert "Laterality" not in capture
    # dates are drawn
    assert capture.BurnedInAnnotation == "YES"
    assert capture.LossyImageCompression == "01"
    assert "not for diagnosis" in capture.DerivationDescription


def test_it_names_film_predecessor_and_priors(demo_film, severity_of, capture_of):
    source, result = demo_film.dataset, severity_of(demo_film.pixels.shape)
    plain = capture_of(demo_film, result)
    (film,) = plain.SourceImageSequence
    assert (film.ReferencedSOPClassUID, film.ReferencedSOPInstanceUID) == (
        source.SOPClassUID,
        source.SOPInstanceUID,
    )
    assert film.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    (series,) = plain.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == source.SeriesInstanceUID
    assert "ReferencedInstanceSequence" not in plain
    assert "StudiesContainingOtherReferencedInstancesSequence" not in plain

    predecessor = report_of(99, source.StudyInstanceUID)
    priors = (prior_of(result, 1), prior_of(result, 2), prior_of(result, 3, "2.25.991"))
    capture = capture_of(demo_film, result, priors=priors, predecessor=predecessor)
    told = [
        (item.ReferencedSOPInstanceUID, item.PurposeOfReferenceCodeSequence[0].CodeValue)
        for item in capture.ReferencedInstanceSequence
    ]
    expected = [(prior.report.sop_instance_uid, "122075") for prior in priors]
    assert told == [(predecessor.sop_instance_uid, "121360"), *expected]
    here = {item.SeriesInstanceUID for item in capture.ReferencedSeriesSequence}
    assert here == {source.SeriesInstanceUID, predecessor.series_instance_uid}
    elsewhere = capture.StudiesContainingOtherReferencedInstancesSequence
    assert [(item.StudyInstanceUID, len(item.ReferencedSeriesSequence)) for item in elsewhere] == [
        ("2.25.990", 2),
        ("2.25.991", 1),
    ]
    assert capture.SOPInstanceUID != plain.SOPInstanceUID
    # another scheme's result is no prior of this one: neither drawn nor named
    brixia = dataclasses.replace(priors[0], score_max=18)
    assert "ReferencedInstanceSequence" not in capture_of(demo_film, result, priors=(brixia,))


def scored(result):
    algorithm = result.algorithm
    return CaptureFigures(
        "SCORED", algorithm.name, algorithm.version, algorithm.digest, result.score, result.score_max,
        result.percent if result.measures_opacity else None, figures_of(result),
    )  # fmt: skip


def results_of(severity_of, shape):
    base = severity_of(shape)
    gone = dataclasses.replace(base.zones[1], area_px=0, opacity_area_px=0)
    yield base
    yield dataclasses.replace(base, zones=(base.zones[0], gone, *base.zones[2:]))
    points = tuple(dataclasses.replace(zone, score=index % 4) for index, zone in enumerate(base.zones))
    yield dataclasses.replace(base, zones=points, score=7, score_max=18)
    blind = dataclasses.replace(base.algorithm, weights={"lungs": "ab" * 32})
    yield dataclasses.replace(base, algorithm=blind, opacity_mask=np.zeros(shape, np.bool_))


def test_the_header_tells_the_same_numbers(demo_film, severity_of, capture_of, encoded):
    for result in results_of(severity_of, demo_film.pixels.shape):
        capture = capture_of(demo_film, result)
        assert read_capture_figures(capture) == scored(result)
        # an archive may rewrite it without value representations
        capture.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
        assert read_capture_figures(dcmread(BytesIO(encoded(capture)))) == scored(result)
    (characteristics,) = capture.PrivateDataElementCharacteristicsSequence
    assert characteristics.PrivateCreatorReference == PRIVATE_CREATOR
    assert characteristics.BlockIdentifyingInformationStatus == "SAFE"


@pytest.mark.parametrize("reason", NotAssessableReason)
def test_the_header_tells_why_there_is_no_score(reason, demo_film, not_assessable_of, capture_of):
    result = dataclasses.replace(not_assessable_of(demo_film.pixels.shape), reason=reason)
    capture = capture_of(demo_film, result)
    figures = read_capture_figures(capture)
    assert (figures.outcome, figures.reason) == ("NOT_ASSESSABLE", reason)
    assert len(capture.private_block(0x0099, PRIVATE_CREATOR)[0x0B].value) <= 16
    assert (figures.score, figures.percent, figures.zones) == (None, None, ())
    assert figures.digest == result.algorithm.digest


def test_figures_of_others_are_not_ours(demo_film, severity_of, capture_of):
    assert read_capture_figures(demo_film.dataset) is None
    assert read_capture_figures(Dataset()) is None
    for offset, value in ((0x01, "PERHAPS"), (0x06, ["1", "2"]), (0x07, ["x"] * 6)):
        capture = capture_of(demo_film, severity_of(demo_film.pixels.shape))
        capture.private_block(PRIVATE_GROUP, PRIVATE_CREATOR)[offset].value = value
        assert read_capture_figures(capture) is None


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小東"),
        (None, "Müller^Jürgen"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_names_of_every_script_survive(character_set, name, new_film, film_of, severity_of, capture_of):
    film = film_of(new_film(SpecificCharacterSet=character_set or "ISO_IR 100", PatientName=name))
    capture = capture_of(film, severity_of(film.pixels.shape))
    assert str(capture.PatientName) == name
    assert capture.SpecificCharacterSet == film.dataset.SpecificCharacterSet


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


KNOWN = re.compile(
    # said of every data set with an empty Type 2 attribute that a DICOMDIR would want
    "build DICOMDIR"
    # said of every private element
    rf"|\(0099,10[0-9a-f]{{2}},\"{PRIVATE_CREATOR}\"\)> - Unrecognized tag"
)


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
            result = make(film.pixels.shape)
            for reported in (False, True):
                basis = ReportBasis(created_at)
                if reported and make is severity_of:
                    priors = (prior_of(result, 1), prior_of(result, 2))
                    basis = ReportBasis(created_at, priors, report_of(9, film.dataset.StudyInstanceUID))
                path = tmp_path / "capture.dcm"
                capture = build_secondary_capture(ReportContext(film, result, settings, basis))
                path.write_bytes(encoded(capture))
                output = tool("dciodvfy", "-new", path)
                assert "SCImage" in output
                lines = [line for line in output.splitlines() if line.startswith(("Error", "Warning"))]
                assert [line for line in lines if not KNOWN.search(line)] == []
