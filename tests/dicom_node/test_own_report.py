"""What our report says can be read back from it, and from nothing else."""

from __future__ import annotations

import dataclasses
import time
from datetime import datetime
from io import BytesIO

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage

from dicom_node.document import MAX_CONTENT_ITEMS, MAX_STEPS, read_document
from dicom_node.errors import NotEligible, UndecodableInstance
from dicom_node.identity import MANUFACTURER, MODEL_NAME
from dicom_node.own_report import read_prior, reference_of
from dicom_node.pixels import read_dataset
from dicom_node.prior import PriorResult, ReportBasis, ZoneFigures, acquired_at
from dicom_node.report_context import ReportContext
from dicom_node.report_settings import ReportSettings
from dicom_node.secondary_capture import build_secondary_capture
from dicom_node.structured_report import build_structured_report
from models.result import ZONE_ORDER, AlgorithmId, ZoneInvolvement

SHAPE = (96, 80)
CLASSES = ("comprehensive", "comprehensive-3d", "enhanced")


@pytest.fixture(scope="module")
def small_film(new_film, film_of):
    pixels = np.arange(SHAPE[0] * SHAPE[1], dtype=np.uint16).reshape(SHAPE)
    return film_of(new_film(pixels, AcquisitionDate="20260302", AcquisitionTime="235901.5"))


@pytest.fixture(scope="module")
def read_back(created_at, encoded):
    """Build a report, write it, and read it as it comes from an archive."""

    def build(film, result, sr_class="comprehensive", basis=None):
        context = ReportContext(
            film, result, ReportSettings(sr_class=sr_class), basis or ReportBasis(created_at)
        )
        return read_dataset(encoded(build_structured_report(context)))

    return build


@pytest.fixture
def report(small_film, severity_of, read_back):
    return read_back(small_film, severity_of(SHAPE))


def walk(item):
    yield item
    for child in item.get("ContentSequence", []):
        yield from walk(child)


def name_of(item):
    return item.ConceptNameCodeSequence[0].CodeValue if "ConceptNameCodeSequence" in item else None


def groups(report):
    return [item for item in walk(report) if name_of(item) == "125007"]


def told(result):
    """The figures that a report of the result must hold, worked out from the areas."""
    percents = [
        round(100 * zone.opacity_area_px / zone.area_px, 1) if zone.area_px else None for zone in result.zones
    ]
    measured = "opacity" in result.algorithm.weights
    return tuple(
        ZoneFigures(zone.score if zone.area_px else None, percent if measured else None)
        for zone, percent in zip(result.zones, percents, strict=True)
    )


@st.composite
def results(draw, severity_of):
    most = draw(st.sampled_from([1, 3]))
    zones = []
    for side, level in ZONE_ORDER:
        area = draw(st.sampled_from([0, 1, 7, 4321, 250_000]))
        covered = draw(st.integers(0, area))
        zones.append(ZoneInvolvement(side, level, area, covered, draw(st.integers(0, most)) if area else 0))
    measured = draw(st.booleans())
    weights = {"lungs": "ab" * 32} | ({"opacity": "cd" * 32} if measured else {})
    algorithm = AlgorithmId(draw(st.sampled_from(["two-stage", "bs-net"])), "2.1", weights, {})
    result = severity_of(SHAPE)
    return dataclasses.replace(
        result,
        algorithm=algorithm,
        zones=tuple(zones),
        score=sum(zone.score for zone in zones),
        score_max=6 * most,
        opacity_mask=result.opacity_mask & measured,
    )


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), sr_class=st.sampled_from(CLASSES))
def test_what_was_put_in_is_read_back(data, sr_class, small_film, severity_of, read_back):
    result = data.draw(results(severity_of))
    dataset = read_back(small_film, result, sr_class)
    area = sum(zone.area_px for zone in result.zones)
    covered = sum(zone.opacity_area_px for zone in result.zones)
    measured = "opacity" in result.algorithm.weights
    assert read_prior(dataset) == PriorResult(
        sop_instance_uid="2.25.1001",
        acquired_at=datetime(2026, 3, 2, 23, 59, 1),
        algorithm=result.algorithm.name,
        version="2.1",
        digest=result.algorithm.digest,
        score=result.score,
        score_max=result.score_max,
        percent=(round(100 * covered / area, 1) if area else 0.0) if measured else None,
        zones=told(result),
        report=reference_of(dataset),
    )


def test_priors_in_a_report_are_not_taken_for_its_own_figures(small_film, severity_of, read_back, created_at):
    result = severity_of(SHAPE)
    first = read_prior(read_back(small_film, severity_of(SHAPE)))
    earlier = dataclasses.replace(first, score=1, zones=(ZoneFigures(1, 77.0), *first.zones[1:]))
    with_prior = read_prior(
        read_back(small_film, result, basis=ReportBasis(created_at, (earlier,), first.report))
    )
    assert dataclasses.replace(with_prior, report=None) == dataclasses.replace(first, report=None)


@pytest.mark.parametrize(
    "dates",
    [
        {"AcquisitionDateTime": "20260301101112.123456+0100", "AcquisitionDate": "20200101"},
        {"AcquisitionDate": "20260301"},
        {"AcquisitionDate": "2026.03.01", "AcquisitionTime": "10:11:12"},
        {"ContentDate": "20260301", "ContentTime": "101112"},
        {"StudyDate": "20260301", "StudyTime": "1011"},
        {"StudyDate": "20260301", "StudyTime": None},
    ],
)
def test_the_moment_is_that_of_the_radiograph(dates, new_film, film_of, severity_of, read_back):
    film = film_of(new_film(np.zeros(SHAPE, np.uint16), **dates))
    moment = acquired_at(film.dataset)
    assert moment.year == 2026
    assert read_prior(read_back(film, severity_of(SHAPE))).acquired_at == moment


def test_a_report_of_the_first_version_is_read(report):
    """It had no dates in the image library."""
    for item in walk(report):
        if name_of(item) == "260753009" and "ContentSequence" in item:
            item.ContentSequence = [
                one for one in item.ContentSequence if one.ValueType not in ("DATE", "TIME")
            ]
    prior = read_prior(report)
    assert prior.acquired_at == datetime(2026, 3, 3, 10, 11, 12)
    assert prior.score == 2
    del report.StudyDate
    assert read_prior(report) is None


def test_what_is_not_our_report_of_a_score_is_nothing(
    report, small_film, severity_of, not_assessable_of, read_back, created_at, encoded
):
    assert read_prior(report) is not None
    assert read_prior(read_back(small_film, not_assessable_of(SHAPE))) is None
    context = ReportContext(small_film, severity_of(SHAPE), ReportSettings(), ReportBasis(created_at))
    assert read_prior(read_dataset(encoded(build_secondary_capture(context)))) is None
    assert read_prior(small_film.dataset) is None
    assert read_prior(Dataset()) is None
    report.Manufacturer = "another worker"
    assert read_prior(report) is None


def number(group, value):
    group_numbers = [item for item in group.ContentSequence if item.ValueType == "NUM"]
    group_numbers[0].MeasuredValueSequence[0].NumericValue = value


def drop(group, value_type):
    group.ContentSequence = [item for item in group.ContentSequence if item.ValueType != value_type]


def double(report):
    (container,) = [item for item in walk(report) if name_of(item) == "126010"]
    container.ContentSequence.append(groups(report)[3])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda report: drop(groups(report)[0], "NUM"),
        lambda report: number(groups(report)[0], 3),
        lambda report: number(groups(report)[0], 1.5),
        lambda report: number(groups(report)[1], 2),
        lambda report: number(groups(report)[1], -1),
        lambda report: number(groups(report)[1], ""),
        lambda report: drop(groups(report)[2], "CODE"),
        lambda report: drop(groups(report)[0], "TEXT"),
        double,
        lambda report: setattr(report, "SOPInstanceUID", "1.2.3 or so"),
        lambda report: delattr(report, "ContentSequence"),
    ],
)
def test_a_report_that_contradicts_itself_is_nothing(spoil, report):
    assert read_prior(report) is not None
    spoil(report)
    assert read_prior(report) is None


@pytest.fixture(scope="module")
def intact(small_film, severity_of, read_back, encoded):
    return encoded(read_back(small_film, severity_of(SHAPE)))


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    damage=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.floats(0.1, 1),
)
@example(damage=[(0.0, 0)], cut=1.0)
def test_damaged_bytes_give_a_result_in_range_or_nothing(damage, cut, intact):
    content = bytearray(intact[: max(int(cut * len(intact)), 400)])
    for at, value in damage:
        content[132 + int(at * (len(content) - 133))] = value
    try:
        dataset = read_dataset(bytes(content))
    except (UndecodableInstance, NotEligible):
        return
    prior = read_prior(dataset)
    assert prior is None or 0 <= prior.score == sum(zone.score or 0 for zone in prior.zones) <= 6


def nested(depth):
    item = Dataset()
    item.ValueType = "CONTAINER"
    for _ in range(depth):
        outer = Dataset()
        outer.ValueType, outer.ContentSequence = "CONTAINER", [item]
        item = outer
    return item


def our_document(content, encoded):
    report = Dataset()
    report.SOPClassUID, report.SOPInstanceUID = ComprehensiveSRStorage, "2.25.4711"
    report.Manufacturer, report.ManufacturerModelName = MANUFACTURER, MODEL_NAME
    report.ContentSequence = content
    report.file_meta = dcmread(BytesIO(encoded), stop_before_pixels=True).file_meta
    return report


def test_hostile_documents_cost_little(report, encoded):
    """Deep, wide, and both: the bounds hold, and a document beyond them is not complete."""
    template = encoded(report)
    wide = Dataset()
    wide.ContentSequence = [Dataset() for _ in range(1000)]
    for content in ([nested(60)], [Dataset() for _ in range(60_000)], [wide] * 100):
        document = read_dataset(encoded(our_document(content, template)))
        began = time.process_time()
        read = read_document(document)
        assert time.process_time() - began < 3
        assert not read.complete
        assert sum(1 for _ in read.root.walk()) <= MAX_CONTENT_ITEMS + 1
        assert read_prior(document) is None


def test_references_without_end_are_not_taken(report):
    study = report.CurrentRequestedProcedureEvidenceSequence[0]
    series = study.ReferencedSeriesSequence[0]
    assert read_document(report).evidence
    series.ReferencedSOPSequence = [series.ReferencedSOPSequence[0]] * (MAX_STEPS + 1)
    read = read_document(report)
    assert (read.evidence, read.complete) == ((), False)
