"""The report says what the result says, in the template's form, and validators agree."""

from __future__ import annotations

import dataclasses
from io import BytesIO

import cv2
import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.eligibility import require_frontal_chest
from dicom_node.errors import NotEligible
from dicom_node.prior import ReportBasis
from dicom_node.report_context import ReportContext
from dicom_node.report_settings import ReportSettings
from dicom_node.structured_report import SERIES_NUMBER, build_structured_report
from models.result import ZONE_ORDER, AlgorithmId, NotAssessableReason, Side

SETTINGS = ReportSettings()
CLASSES = {
    "comprehensive": hd.sr.ComprehensiveSR,
    "comprehensive-3d": hd.sr.Comprehensive3DSR,
    "enhanced": hd.sr.EnhancedSR,
}


@pytest.fixture(scope="module")
def report_of(created_at, encoded):
    """Build, write and read a report."""

    def build(radiograph, result, settings=SETTINGS):
        report = build_structured_report(ReportContext(radiograph, result, settings, ReportBasis(created_at)))
        return dcmread(BytesIO(encoded(report)))

    return build


@pytest.fixture
def demo_report(demo_film, severity_of, report_of):
    return report_of(demo_film, severity_of(demo_film.pixels.shape))


def walk(item):
    yield item
    for child in item.get("ContentSequence", []):
        yield from walk(child)


def name_of(item):
    sequence = item.get("ConceptNameCodeSequence")
    return sequence[0].CodeValue if sequence else None


def found(item, code_value):
    return [one for one in walk(item) if name_of(one) == code_value]


def coded(item, code_value):
    """The code values that answer a concept."""
    return [one.ConceptCodeSequence[0].CodeValue for one in found(item, code_value)]


def measured(item, code_value):
    return [
        (
            float(one.MeasuredValueSequence[0].NumericValue),
            one.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue,
        )
        for one in found(item, code_value)
        if one.ValueType == "NUM"
    ]


def numbers(report):
    return [
        (float(one.NumericValue), one.MeasurementUnitsCodeSequence[0].CodeValue)
        for item in walk(report)
        for one in item.get("MeasuredValueSequence", [])
    ]


def groups(report):
    return found(report, "125007")


def complaints(output):
    """What dciodvfy says beyond the private scheme and empty attributes that DICOMDIR would want."""
    lines = [line for line in output.splitlines() if line.startswith(("Error", "Warning"))]
    allowed = ("99CXRSEV", "needed to build DICOMDIR", "Retired Person Name form")
    return [line for line in lines if not any(word in line for word in allowed)]


@pytest.mark.parametrize("sr_class", CLASSES)
def test_highdicom_reads_it_back(sr_class, demo_film, severity_of, report_of):
    report = report_of(demo_film, severity_of(demo_film.pixels.shape), ReportSettings(sr_class=sr_class))
    document = CLASSES[sr_class].from_dataset(report)
    read = document.content.get_planar_roi_measurement_groups()
    assert len(read) == 7
    total = read[0]
    assert total.tracking_identifier == "AI lung severity TOTAL 2 of 6"
    assert total.get_measurements()[0].value == 2
    for group, (side, level) in zip(read[1:], ZONE_ORDER, strict=True):
        (site,) = group.finding_sites
        assert level in site.value.meaning.lower()
        assert site.laterality.meaning.lower() == side
        assert f"{side} {level}" in group.tracking_identifier
        assert group.roi.value.shape[1] == 2


def test_total_and_zones_carry_score_share_and_unit(demo_film, severity_of, demo_report):
    result = severity_of(demo_film.pixels.shape)
    total, *zones = groups(demo_report)
    assert measured(total, "LUNG-SEV-0-6") == [(result.score, "{score}")]
    assert measured(total, "OPACITY-LUNG") == [(round(100 * result.involved_fraction, 1), "%")]
    assert coded(total, "121401") == ["255619001"]
    for group, zone in zip(zones, result.zones, strict=True):
        letter = "ABCDEF"[ZONE_ORDER.index((zone.side, zone.level))]
        assert measured(group, f"ZONE-SEV-{letter}") == [(zone.score, "{score}")]
        assert measured(group, f"OPACITY-{letter}") == [(round(100 * zone.involved_fraction, 1), "%")]


def test_a_zero_is_also_said_in_a_code_and_in_words(demo_report):
    assert coded(demo_report, "INVOLVED-A") == ["373067005"]
    assert coded(demo_report, "INVOLVED-C") == ["373066001"]
    assert coded(demo_report, "INVOLVED") == ["373066001"]
    assert "0 of 1, 0.0 %" in groups(demo_report)[1].ContentSequence[0].TextValue


def test_every_container_is_separate_and_every_group_has_a_region(demo_report):
    containers = [item for item in walk(demo_report) if item.get("ValueType") == "CONTAINER"]
    assert {item.ContinuityOfContent for item in containers} == {"SEPARATE"}
    for group in groups(demo_report):
        (region,) = found(group, "111030")
        points = np.reshape(region.GraphicData, (-1, 2))
        assert region.GraphicType == "POLYLINE"
        assert np.array_equal(points[0], points[-1])
        assert (points >= 0).all()
        assert (points <= 1024).all()


@pytest.mark.parametrize(
    "stated", [["L", "F"], ["R", "F"], ["L", "H"], ["R", "H"], ["F", "L"], ["F", "R"], ["H", "L"], ["H", "R"]]
)
def test_regions_lie_where_the_zones_lie_in_the_stored_image(
    stated, new_film, film_of, severity_of, report_of
):
    radiograph = film_of(new_film(np.full((400, 300), 7, np.uint16), PatientOrientation=stated))
    result = severity_of(radiograph.pixels.shape)
    for index, group in enumerate(groups(report_of(radiograph, result))[1:]):
        points = np.reshape(found(group, "111030")[0].GraphicData, (-1, 1, 2))
        drawn = cv2.fillPoly(np.zeros((400, 300), np.uint8), [np.floor(points).astype(np.int32)], 1) > 0
        zone = radiograph.orientation.to_stored(result.zone_map == index + 1)
        assert (drawn & zone).sum() / (drawn | zone).sum() > 0.97


def test_it_refers_to_its_film_and_order(demo_film, demo_report):
    source = demo_film.dataset
    (evidence,) = demo_report.CurrentRequestedProcedureEvidenceSequence
    (series,) = evidence.ReferencedSeriesSequence
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert evidence.StudyInstanceUID == source.StudyInstanceUID == demo_report.StudyInstanceUID
    assert demo_report.ReferencedRequestSequence[0].AccessionNumber == source.AccessionNumber
    assert demo_report.IssuerOfPatientID == source.IssuerOfPatientID
    assert demo_report.PatientName == source.PatientName
    (entry,) = found(demo_report, "260753009")[:1]
    assert entry.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert coded(demo_report, "121139") == ["DX"]


def test_the_header_says_what_kind_of_document_it_is(demo_report, created_at):
    assert demo_report.Modality == "SR"
    assert demo_report.SeriesNumber == SERIES_NUMBER
    assert demo_report.ContentQualification == "RESEARCH"
    assert (demo_report.CompletionFlag, demo_report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert demo_report.PreliminaryFlag == "PRELIMINARY"
    assert demo_report.SeriesDescription.startswith("Research")
    assert demo_report.ContentDate == created_at.astimezone().strftime("%Y%m%d")
    assert coded(demo_report, "121049") == ["en-US"]
    assert coded(demo_report, "121058")[0] == "363679005"
    assert any("not for diagnosis" in item.TextValue for item in found(demo_report, "121106"))
    with pytest.raises(NotEligible, match="result of this worker"):
        require_frontal_chest(demo_report)


def test_dates_follow_the_studys_time_zone(new_film, film_of, severity_of, report_of):
    radiograph = film_of(new_film(TimezoneOffsetFromUTC="+1100"))
    report = report_of(radiograph, severity_of(radiograph.pixels.shape))
    assert report.TimezoneOffsetFromUTC == "+1100"
    assert report.ContentTime == "160607"


def test_every_private_code_is_declared(demo_report):
    (scheme,) = demo_report.CodingSchemeIdentificationSequence
    used = {
        element.value
        for item in walk(demo_report)
        for element in item.iterall()
        if element.keyword == "CodingSchemeDesignator"
    }
    assert {one for one in used if one.startswith("99")} == {scheme.CodingSchemeDesignator}


def test_the_algorithm_is_named_and_once_with_every_digest(demo_film, severity_of, demo_report):
    algorithm = severity_of(demo_film.pixels.shape).algorithm
    total, *zones = groups(demo_report)
    said = {item.TextValue for item in found(total, "111002")}
    assert f"algorithm sha256={algorithm.digest}" in said
    assert {f"weights {role} sha256={digest}" for role, digest in algorithm.weights.items()} <= said
    assert {f"{name}={value}" for name, value in algorithm.parameters.items()} <= said
    for group in (total, *zones):
        assert found(group, "111001")[0].TextValue == algorithm.name
        assert found(group, "111003")[0].TextValue == algorithm.version
    assert not any(found(group, "111002") for group in zones)


@pytest.mark.parametrize("score", range(7))
def test_the_grade_is_given_only_where_asked_for(score, demo_film, severity_of, report_of):
    result = severity_of(demo_film.pixels.shape, score=score)
    assert coded(report_of(demo_film, result), "246112005") == []
    grades = coded(report_of(demo_film, result, ReportSettings(grade_severity=True)), "246112005")
    expected = [None, "255604002", "255604002", "6736007", "6736007", "24484000", "24484000"][score]
    assert grades == ([expected] if expected else [])


def test_warnings_are_said_and_limit_the_quality(demo_film, severity_of, report_of):
    shape = demo_film.pixels.shape
    plain = report_of(demo_film, severity_of(shape))
    warned = report_of(demo_film, severity_of(shape, warnings=("the lungs touch and were parted",)))
    assert coded(plain, "111050") == ["111237"]
    assert coded(warned, "111050") == ["111236"]
    assert "Note: the lungs touch and were parted" in [item.TextValue for item in found(warned, "121106")]


def test_a_zone_without_area_has_no_number(demo_film, severity_of, report_of):
    result = severity_of(demo_film.pixels.shape)
    empty = dataclasses.replace(result.zones[4], area_px=0, opacity_area_px=0, score=0)
    zones = (*result.zones[:4], empty, result.zones[5])
    report = report_of(demo_film, dataclasses.replace(result, zones=zones))
    assert report.CompletionFlag == "PARTIAL"
    assert [item for item in walk(groups(report)[5]) if item.get("ValueType") == "NUM"] == []
    assert coded(report, "INVOLVED-E") == ["114007"]
    assert "not assessable" in groups(report)[5].ContentSequence[0].TextValue


@pytest.mark.parametrize("reason", NotAssessableReason)
def test_not_assessable_has_a_coded_reason_and_no_score(reason, demo_film, not_assessable_of, report_of):
    result = dataclasses.replace(not_assessable_of(demo_film.pixels.shape), reason=reason)
    report = report_of(demo_film, result)
    (group,) = groups(report)
    assert [item for item in walk(group) if item.get("ValueType") == "NUM"] == []
    assert coded(report, "LUNG-SEV-0-6") == ["114011"]
    assert len(coded(report, "NO-SCORE-REASON")) == 1
    assert coded(report, "111050") == ["111235"]
    assert any(result.message in item.TextValue for item in found(report, "121106"))
    assert np.reshape(found(group, "111030")[0].GraphicData, (-1, 2)).max() == 1024


def test_a_score_without_opacity_areas(demo_film, severity_of, report_of):
    """The Brixia scheme: 0 to 3 a zone, nothing measured in percent."""
    shape = demo_film.pixels.shape
    algorithm = AlgorithmId("bs-net", "1.0", {"network": "ef" * 32}, {})
    zones = tuple(dataclasses.replace(z, opacity_area_px=0, score=2) for z in severity_of(shape).zones)
    nothing = np.zeros(shape, np.bool_)
    result = severity_of(
        shape, algorithm=algorithm, zones=zones, score=12, score_max=18, opacity_mask=nothing
    )
    report = report_of(demo_film, result)
    assert measured(report, "BRIXIA-0-18") == [(12, "{score}")]
    for letter in "ABCDEF":
        assert measured(report, f"BRIXIA-{letter}") == [(2, "{score}")]
    assert "%" not in {unit for _, unit in numbers(report)}


def spoil(dataset):
    """The header of a film that has seen three archives."""
    for keyword in ("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "PatientBirthDate", "PatientSex"):
        del dataset[keyword]
    dataset.ImagerPixelSpacing = ["0.000", "0.000"]
    dataset.PixelSpacing = ["0.000", "0.000"]
    dataset.PatientAge = "42"
    dataset.SeriesNumber = None
    dataset.ProcedureCodeSequence = [Dataset()]
    dataset.RequestAttributesSequence = []
    return dataset


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("sr_class", CLASSES)
def test_dciodvfy_finds_nothing(
    sr_class,
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
    settings = ReportSettings(sr_class=sr_class, grade_severity=True)
    japanese = {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎"}
    films = [demo_film, film_of(spoil(new_film())), film_of(new_film(**japanese))]
    for number, film in enumerate(films):
        for make in (severity_of, not_assessable_of):
            path = tmp_path / f"{number}.dcm"
            report = build_structured_report(
                ReportContext(film, make(film.pixels.shape), settings, ReportBasis(created_at))
            )
            path.write_bytes(encoded(report))
            output = tool("dciodvfy", "-new", path)
            assert "SR" in output
            assert complaints(output) == []


@pytest.mark.parametrize("kind", ["severity", "not assessable"])
def test_the_template_validator_finds_nothing(
    kind, demo_film, severity_of, not_assessable_of, created_at, encoded, tool, tmp_path
):
    make = severity_of if kind == "severity" else not_assessable_of
    report = build_structured_report(
        ReportContext(demo_film, make(demo_film.pixels.shape), SETTINGS, ReportBasis(created_at))
    )
    (tmp_path / "report.dcm").write_bytes(encoded(report))
    output = tool("DicomSRValidator", tmp_path / "report.dcm")
    assert "Found Root Template TID_1500" in output
    assert "IOD validation complete" in output
    assert [line for line in output.splitlines() if "Warning" in line or "Error" in line] == []


def test_dsrdump_prints_what_a_reader_needs(demo_film, severity_of, created_at, encoded, tool, tmp_path):
    report = build_structured_report(
        ReportContext(demo_film, severity_of(demo_film.pixels.shape), SETTINGS, ReportBasis(created_at))
    )
    (tmp_path / "report.dcm").write_bytes(encoded(report))
    output = tool("dsrdump", "+Pl", tmp_path / "report.dcm")
    assert "AI lung severity TOTAL 2 of 6" in output
    for side, level in ZONE_ORDER:
        assert f"{side} {level}" in output
    for words in (
        '({score},UCUM,"score")',
        '(%,UCUM,"Percent")',
        '"Upper zone of lung"',
        f'"{Side.LEFT.title()}"',
    ):
        assert words in output
