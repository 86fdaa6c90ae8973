"""No validator finds an error in anything we send, and no warning goes unexplained."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from io import BytesIO
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom import dcmread

from dicom_node.instance import OBJECT_KINDS
from dicom_node.pixels import read_dataset, read_radiograph
from dicom_node.report import ReportBasis, build_report
from dicom_node.storage_scu import RemoteAE, store
from models.result import Explanation
from models.severity import SeverityScorer
from tests.conftest import missing
from tests.validators.explained import EXPLAINED, explanation
from tests.validators.films import Film, films, picture_film
from tests.validators.findings import dciodvfy, dicom_sr_validator, program, structure_of
from tests.validators.sweep import FORMS, Record, examine, summarise


@pytest.fixture(scope="module", autouse=True)
def _validators():
    for name in ("dciodvfy", "DicomSRValidator"):
        if program(name) is None:
            missing(f"{name} is not installed; `make test` installs it on Debian")


@pytest.fixture(scope="module")
def scorer():
    return SeverityScorer.load(Path("light"), threads=1)


@pytest.fixture(scope="module")
def pictures(sample_films, tmp_path_factory):
    """A chest and a picture without lungs, as PNG."""
    folder = tmp_path_factory.mktemp("pictures")
    film = read_radiograph(read_dataset(sample_films[0].read_bytes()))
    chest = cv2.resize(film.pixels, (500, 520), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(folder / "chest.png"), np.round(255 * chest).astype(np.uint8))
    cv2.imwrite(str(folder / "nothing.png"), np.full((400, 380), 90, np.uint8))
    return folder


def _clean(record: Record) -> None:
    assert record.errors == {}
    assert [warning for warning in record.warnings if explanation(warning) is None] == []
    # what has no score has nothing to explain
    assert set(record.objects) == set(OBJECT_KINDS) - ({"map"} if record.outcome != "scored" else set())


def test_the_shipped_films(sample_films, scorer, tmp_path):
    for path in sample_films:
        record = examine(Film(path.stem, path.read_bytes), scorer, tmp_path)
        assert record.outcome == "scored"
        _clean(record)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("number", range(12))
def test_a_chest_in_the_forms_of_many_hospitals(number, pictures, scorer, tmp_path):
    film = picture_film(pictures / "chest.png", number, {"sex": "F", "view": "AP Supine"})
    record = examine(film, scorer, tmp_path)
    assert record.outcome == "scored"
    _clean(record)


def test_a_film_without_lungs(pictures, scorer, tmp_path):
    record = examine(picture_film(pictures / "nothing.png", 0, {}), scorer, tmp_path)
    assert record.outcome == "not assessable"
    _clean(record)


def test_the_validator_of_templates_is_silent(pictures, scorer, tmp_path):
    examine(picture_film(pictures / "chest.png", 3, {}), scorer, tmp_path)
    kept = sorted(tmp_path.glob("*.dcm"))
    assert len(kept) == len(FORMS)
    with_priors = next(path for path in kept if dcmread(path).get("PredecessorDocumentsSequence"))
    assert dicom_sr_validator(with_priors).errors == {}


def test_films_of_the_data_folder(cxr_dataset, scorer, tmp_path):
    records = [examine(film, scorer, tmp_path) for film in islice(films(cxr_dataset), 18)]
    summary = summarise(records, {})
    assert summary["films"].get("scored", 0) >= 15
    assert summary["errors"] == {}
    assert summary["unexplained"] == []


def test_an_archive_takes_them_all(orthanc, pictures, scorer):
    film = read_radiograph(read_dataset(picture_film(pictures / "chest.png", 1, {}).encode()))
    result = scorer.score(film.pixels)
    maps = np.zeros((3, *film.pixels.shape), np.float32)
    explained = dataclasses.replace(result, explanation=Explanation(maps, {}))
    report = build_report(film, explained, FORMS[0], ReportBasis(datetime(2026, 1, 1, tzinfo=UTC)))
    remote = RemoteAE(orthanc.ae_title, "127.0.0.1", orthanc.dicom_port)
    outcomes = store(remote, "CXRWORKER", list(report.instances.values()))
    assert all(outcome.succeeded for outcome in outcomes), outcomes
    assert {one.Modality for one in orthanc.datasets()} >= {"SR", "PR", "SEG"}
    assert len(orthanc.instances()) == len(OBJECT_KINDS)


def test_what_is_wrong_is_found(pictures, scorer, tmp_path):
    """The validators are really asked: an object that lacks something is told as an error."""
    examine(picture_film(pictures / "chest.png", 3, {}), scorer, tmp_path)
    report = dcmread(next(tmp_path.glob("*.dcm")))
    before = structure_of(_encoded(report))
    del report.CompletionFlag
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(_encoded(report))
    assert any("CompletionFlag" in error for error in dciodvfy("sr", broken).errors)
    assert structure_of(_encoded(report)) == before
    group = report.ContentSequence[-2].ContentSequence[0]
    group.ContentSequence[0].ConceptNameCodeSequence[0].CodeValue = "121071"
    assert structure_of(_encoded(report)) != before


def test_every_explanation_is_needed():
    told = [
        "sr: CodingSchemeDesignator(0008,0102): Unrecognized defined term = <99CXRSEV>",
        'sc: (0099,100a,"99CXRSEV"): Unrecognized tag - assuming explicit value representation OK [LO]',
        "seg: StudyID(0020,0010): Missing attribute or value that would be needed to build DICOMDIR",
        "gsps: PatientName(0010,0010): Value dubious for this VR [PN] = <...> - Retired Person Name form",
    ]
    assert {explanation(one) for one in told} == set(EXPLAINED.values())
    assert explanation("seg: Rows(0028,0010): Missing attribute") is None


def _encoded(dataset):
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
