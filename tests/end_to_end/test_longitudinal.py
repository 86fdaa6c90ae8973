"""Films of one patient: storescu as the modality, the embedded worker, Orthanc as the PACS that remembers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from sqlalchemy.engine import make_url

from tests.conftest import free_port, wait_until
from worker.database import open_engine
from worker.entry import EntryStatus
from worker.history import History

Environment = dict[str, str]
PATIENT = {"PatientID": "4711", "IssuerOfPatientID": "HOSPITAL", "PatientBirthDate": "19500101"}


def settings_for(folder: Path, orthanc: Any, port: int, **destination: Any) -> Environment:
    address = {"ae_title": orthanc.ae_title, "host": "127.0.0.1", "port": orthanc.dicom_port}
    return {
        "CXR_DATA_DIR": str(folder),
        "CXR_PORT": str(port),
        "CXR_ALLOWED_CALLING_AE_TITLES": "*",
        "CXR_DESTINATIONS": json.dumps([destination if "url" in destination else address | destination]),
        "CXR_SWEEP_INTERVAL_S": "0.5",
        "CXR_DEVICE": "cpu",
        "CXR_WEIGHTS": "light",
    }


@pytest.fixture
def film_of(sample_films: list[Path], tmp_path: Path) -> Callable[..., Path]:
    """Write a shipped film as another radiograph: ``film_of(number, StudyDate=..., PatientID=...)``."""

    def write(number: int, **keywords: Any) -> Path:
        dataset = dcmread(sample_films[number])
        for keyword in ("AcquisitionDate", "ContentDate", "SeriesDate", "AcquisitionDateTime"):
            if keyword in dataset:
                delattr(dataset, keyword)
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
            setattr(dataset, keyword, generate_uid(prefix=None))
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        for keyword, value in (PATIENT | keywords).items():
            setattr(dataset, keyword, value)
        path = tmp_path / f"{dataset.SOPInstanceUID}.dcm"
        dataset.save_as(path)
        return path

    return write


@pytest.fixture
def story(cxr_worker: Any) -> Callable[[Environment, Path], dict[str, Any]]:
    """What the worker says of a film once it has ended: ``story(settings, path)``."""

    def read(settings: Environment, path: Path) -> dict[str, Any]:
        uid = str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)
        history = History(open_engine(make_url(f"sqlite:///{settings['CXR_DATA_DIR']}/journal.sqlite3")))

        def ended() -> bool:
            entry = history.entry(uid)
            return entry is not None and entry.status in (EntryStatus.STORED, EntryStatus.REJECTED)

        wait_until(ended, 120, f"the end of {uid}")
        return dict(json.loads(cxr_worker("status", uid, "--json", settings=settings).stdout))

    return read


def reports_of(orthanc: Any, path: Path, modality: str = "SR") -> list[Dataset]:
    study = dcmread(path, stop_before_pixels=True).StudyInstanceUID
    return [
        dataset
        for dataset in orthanc.datasets()
        if dataset.StudyInstanceUID == study and (dataset.Modality == "SR") == (modality == "SR")
    ]


def changes_in(report: Dataset) -> list[int]:
    """The changes of score that a report states: the total's, then the zones'."""
    return [
        int(item.MeasuredValueSequence[0].NumericValue)
        for item in walk(report)
        if item.get("ValueType") == "NUM" and item.ConceptNameCodeSequence[0].CodeValue == "SCORE-CHANGE"
    ]


def walk(item: Dataset) -> Iterator[Dataset]:
    """Content items in the order in which they are read."""
    for child in item.get("ContentSequence", []):
        yield child
        yield from walk(child)


def test_change_between_films_in_report_record_and_capture(
    orthanc: Any, storescu: Any, start_role: Any, film_of: Any, story: Any, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path / "data", orthanc, free_port())
    start_role("serve", settings=settings)
    films = [
        film_of(0, StudyDate="20260101"),
        film_of(1, StudyDate="20260104"),
        film_of(0, StudyDate="20260109"),
    ]
    for film in films:
        assert storescu(int(settings["CXR_PORT"]), film).returncode == 0
        assert story(settings, film)["status"] == "STORED"
    records = [story(settings, film)["result"] for film in films]
    assert [len(record["priors"]) for record in records] == [0, 1, 2]
    for before, record in itertools.pairwise(records):
        assert record["change"]["score"] == record["score"] - before["score"]
        for zone, then, now in zip(record["change"]["zones"], before["zones"], record["zones"], strict=True):
            assert zone["score"] == now["score"] - then["score"]
        assert record["priors"][-1]["acquired_at"] == before["acquired_at"]
    (first,), (second,), (third,) = (reports_of(orthanc, film) for film in films)
    evidence = str(third.PertinentOtherEvidenceSequence)
    assert first.SOPInstanceUID in evidence
    assert second.SOPInstanceUID in evidence
    assert "PertinentOtherEvidenceSequence" not in first
    assert f"2026-01-04: {records[1]['score']}" in third.to_json()
    change, *zones = changes_in(third)
    assert change == records[2]["change"]["score"]
    assert sorted(zones) == sorted(zone["score"] for zone in records[2]["change"]["zones"])
    (capture,) = reports_of(orthanc, films[2], "DX")
    assert capture.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"

    # The same name, and nothing else in common: somebody else.
    for other in ({"IssuerOfPatientID": "CLINIC"}, {"PatientBirthDate": "19600101"}, {"PatientID": "0815"}):
        stranger = film_of(0, StudyDate="20260201", **other)
        assert storescu(int(settings["CXR_PORT"]), stranger).returncode == 0
        assert story(settings, stranger)["result"]["priors"] == []


@pytest.mark.parametrize("by", ["c-get", "c-move", "qido"])
def test_an_empty_journal_learns_from_the_archive(
    archive: Any, storescu: Any, start_role: Any, film_of: Any, story: Any, tmp_path: Path, by: str
) -> None:
    orthanc = archive.orthanc
    first, second = film_of(0, StudyDate="20260101"), film_of(1, StudyDate="20260104")
    before = settings_for(tmp_path / "before", orthanc, free_port())
    process = start_role("serve", settings=before)
    assert storescu(int(before["CXR_PORT"]), first).returncode == 0
    known = story(before, first)["result"]
    process.terminate()
    process.wait(60)

    where = {"url": f"{orthanc.url}/dicom-web"} if by == "qido" else {}
    after = settings_for(tmp_path / "after", orthanc, archive.node_port, priors=by, **where)
    start_role("serve", settings=after)
    assert storescu(archive.node_port, second).returncode == 0
    told = story(after, second)
    assert told["status"] == "STORED"
    (prior,) = told["result"]["priors"]
    for key in ("sop_instance_uid", "acquired_at", "score", "score_max", "fraction"):
        assert prior[key] == known[key], key
    # How sure the algorithm was then is no figure to compare with.
    assert [zone | {"confidence": None} for zone in prior["zones"]] == known["zones"]
    assert told["result"]["change"]["since"] == known["acquired_at"]
    assert not [warning for warning in told["result"]["warnings"] if "earlier results" in warning]
    (report,) = reports_of(orthanc, second)
    assert reports_of(orthanc, first)[0].SOPInstanceUID in str(report.PertinentOtherEvidenceSequence)


def test_an_archive_that_is_away_holds_up_no_score(
    orthanc: Any, storescu: Any, start_role: Any, film_of: Any, cxr_worker: Any, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path / "data", orthanc, free_port())
    nobody = {"ae_title": "AWAY", "host": "127.0.0.1", "port": 9, "priors": "c-get"}
    settings["CXR_DESTINATIONS"] = json.dumps([*json.loads(settings["CXR_DESTINATIONS"]), nobody])
    start_role("serve", settings=settings)
    film = film_of(0, StudyDate="20260101")
    assert storescu(int(settings["CXR_PORT"]), film).returncode == 0
    wait_until(lambda: len(orthanc.instances()) == 2, 60, "report and capture in the PACS")
    uid = str(dcmread(film, stop_before_pixels=True).SOPInstanceUID)
    told = json.loads(cxr_worker("status", uid, "--json", settings=settings).stdout)
    assert "could not be asked for at AWAY@127.0.0.1:9" in str(told["result"]["warnings"])
    doctor = cxr_worker("doctor", settings=settings | {"COLUMNS": "200"})
    (line,) = [line for line in doctor.stdout.splitlines() if "earlier reports AWAY" in line]
    assert "FAIL" in line
