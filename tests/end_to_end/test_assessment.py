"""What a reading station says of our report reaches the worker: it is noted, shown, and exported."""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from sqlalchemy.engine import make_url

from tests.conftest import free_port, wait_until
from tests.reading_station import document, total
from worker.database import open_engine
from worker.history import History


@dataclass
class Station:
    """A reading station beside the embedded worker, whose film's report the PACS has."""

    settings: dict[str, str]
    storescu: Any
    cxr_worker: Any
    folder: Path

    def send(self, encoded: bytes) -> tuple[str, str | None]:
        """Send a document or picture; return the state that it ends in, and the reason."""
        path = self.folder / "sent.dcm"
        path.write_bytes(encoded)
        sent = self.storescu(int(self.settings["CXR_PORT"]), path)
        assert sent.returncode == 0, sent.stderr
        return self.wait_for_end(str(dcmread(path, stop_before_pixels=True).SOPInstanceUID))

    def wait_for_end(self, uid: str) -> tuple[str, str | None]:
        history = History(open_engine(make_url(f"sqlite:///{self.settings['CXR_DATA_DIR']}/journal.sqlite3")))

        def ended() -> bool:
            entry = history.entry(uid)
            return entry is not None and entry.status in ("NOTED", "REJECTED", "STORED")

        wait_until(ended, 120, f"the end of {uid}")
        entry = history.entry(uid)
        assert entry is not None
        return entry.status, entry.reason

    def told(self, *arguments: str) -> Any:
        done = self.cxr_worker(*arguments, settings=self.settings)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if "--json" in arguments else done.stdout


@pytest.fixture
def station(
    orthanc: Any, storescu: Any, start_role: Any, cxr_worker: Any, sample_films: list[Path], tmp_path: Path
) -> Station:
    settings = {
        "CXR_DATA_DIR": str(tmp_path / "data"),
        "CXR_PORT": str(free_port()),
        "CXR_DESTINATIONS": f"{orthanc.ae_title}@127.0.0.1:{orthanc.dicom_port}",
        "CXR_SWEEP_INTERVAL_S": "0.5",
        "CXR_DEVICE": "cpu",
        "CXR_WEIGHTS": "light",
    }
    start_role("serve", settings=settings)
    station = Station(settings, storescu, cxr_worker, tmp_path)
    assert station.send(sample_films[0].read_bytes()) == ("STORED", None)
    return station


def encoded(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_an_assessment_comes_back_and_nothing_else_is_mistaken_for_it(
    station: Station, orthanc: Any, sample_films: list[Path], tmp_path: Path
) -> None:
    film = dcmread(sample_films[0])
    uid = str(film.SOPInstanceUID)
    report, capture = sorted(orthanc.datasets(), key=lambda dataset: dataset.Modality != "SR")
    score = station.told("status", uid, "--json")["result"]["score"]
    other = 0 if score else 6

    corrected = document(film, total(other), judges=report)
    assert station.send(corrected) == ("NOTED", None)
    assert station.send(corrected) == ("NOTED", None)
    assert station.send(document(film, total(score), judges=report)) == ("NOTED", None)
    assert station.send(document(film, total(other))) == ("REJECTED", "not-a-radiograph")
    assert station.send(encoded(report)) == ("REJECTED", "own-result")
    assert station.send(encoded(capture)) == ("REJECTED", "own-result")
    capture.SOPInstanceUID = capture.file_meta.MediaStorageSOPInstanceUID = generate_uid(prefix=None)
    capture.Manufacturer, capture.Modality = "Somebody", "OT"
    assert station.send(encoded(capture)) == ("REJECTED", "not-a-radiograph")

    told = station.told("status", uid, "--json")
    assert told["status"] == "STORED"
    assert len(told["assessments"]) == 2
    assert "corrected" in station.told("status", uid)
    counted = station.told("status", "--json")["counts"]
    assert (counted["NOTED"], counted["STORED"], counted["REJECTED"]) == (2, 1, 4)
    listed = station.told("assessments", "--json")
    assert json.dumps(listed).count(uid) >= 2
    station.told("assessments", "--out", str(tmp_path / "labels"))
    assert (tmp_path / "labels" / "manifest.csv").exists()
    # Nothing of what came in went out to the PACS.
    assert len(orthanc.instances()) == 2
