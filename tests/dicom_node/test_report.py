"""Both objects come from one record: the same question has the same answer, byte for byte."""

from __future__ import annotations

import dataclasses
from io import BytesIO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from dicom_node.eligibility import require_frontal_chest
from dicom_node.errors import NotEligible, UndecodableInstance
from dicom_node.pixels import read_dataset, read_radiograph
from dicom_node.report import ReportBasis, ReportSettings, build_report

FORMS = [
    ReportSettings(sr_class=sr_class, capture=capture, grade_severity=grade)
    for sr_class in ("comprehensive", "comprehensive-3d", "enhanced")
    for capture in ("rgb", "monochrome")
    for grade in (False, True)
]


@pytest.fixture(scope="module")
def small_film(new_film, film_of):
    return film_of(new_film(np.arange(90000, dtype=np.uint16).reshape(300, 300)))


@pytest.mark.parametrize("kind", ["severity", "not assessable"])
def test_the_same_question_has_the_same_answer(kind, small_film, severity_of, not_assessable_of, created_at):
    make = severity_of if kind == "severity" else not_assessable_of
    first, second = (
        build_report(small_film, make((300, 300)), ReportSettings(), ReportBasis(created_at))
        for _ in range(2)
    )
    assert first == second


def test_every_form_and_algorithm_has_uids_of_its_own(small_film, severity_of, created_at):
    result = severity_of((300, 300))
    newer = dataclasses.replace(result, algorithm=dataclasses.replace(result.algorithm, version="1.1"))
    reports = [build_report(small_film, result, form, ReportBasis(created_at)) for form in FORMS]
    reports.append(build_report(small_film, newer, ReportSettings(), ReportBasis(created_at)))
    uids = set()
    for report in reports:
        for encoded in report.instances.values():
            dataset = dcmread(BytesIO(encoded))
            uids |= {dataset.SOPInstanceUID, dataset.SeriesInstanceUID}
            assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
            assert dataset.StudyInstanceUID == small_film.dataset.StudyInstanceUID
    assert len(uids) == 4 * len(reports)


def test_settings_have_digests_of_their_own():
    assert len({form.digest for form in FORMS}) == len(FORMS)
    assert ReportSettings().digest == ReportSettings().digest


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.lists(st.tuples(st.integers(132, 1100), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_header_in_any_state_gives_a_report_or_a_reason(damage, new_film, encoded, severity_of, created_at):
    """What can be read can be reported, and the report can be read again."""
    content = bytearray(
        encoded(new_film(StudyDescription="Thorax", IssuerOfPatientID="X", PatientAge="040Y"))
    )
    for at, value in damage:
        content[at] = value
    try:
        dataset = read_dataset(bytes(content))
        require_frontal_chest(dataset)
        film = read_radiograph(dataset)
    except (UndecodableInstance, NotEligible):
        return
    report = build_report(film, severity_of(film.pixels.shape), ReportSettings(), ReportBasis(created_at))
    for one in report.instances.values():
        str(dcmread(BytesIO(one)))
