"""Another model: a successor in the PACS that names its predecessor; the same model: nothing new."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from sqlalchemy.engine import make_url

from tests.conftest import free_port, wait_until
from worker.database import open_engine
from worker.entry import EntryStatus
from worker.history import History

Environment = dict[str, str]


@pytest.fixture
def settings(tmp_path: Path, orthanc: Any) -> Environment:
    return {
        "CXR_DATA_DIR": str(tmp_path / "data"),
        "CXR_PORT": str(free_port()),
        "CXR_DESTINATIONS": f"{orthanc.ae_title}@127.0.0.1:{orthanc.dicom_port}",
        "CXR_SWEEP_INTERVAL_S": "0.5",
        "CXR_DEVICE": "cpu",
        "CXR_WEIGHTS": "light",
    }


def reports(orthanc: Any) -> dict[str, Dataset]:
    return {
        str(dataset.SOPInstanceUID): dataset for dataset in orthanc.datasets() if dataset.Modality == "SR"
    }


def predecessors(report: Dataset) -> list[str]:
    return [
        str(instance.ReferencedSOPInstanceUID)
        for study in report.get("PredecessorDocumentsSequence", [])
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    ]


@dataclass
class Installation:
    """The embedded worker over one data folder, one film, and what became of it."""

    settings: Environment
    start_role: Any
    cxr_worker: Any
    uid: str
    process: Any = None

    def restart(self, **changes: str | None) -> None:
        """Start it, with settings changed or, with None, left out."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
        kept = {name: value for name, value in (self.settings | changes).items() if value is not None}
        self.settings = kept
        self.process = self.start_role("serve", settings=self.settings)

    def wait_until_stored(self, lines: int = 0) -> None:
        """Wait for the film's end, and a story of more than so many lines."""
        history = History(open_engine(make_url(f"sqlite:///{self.settings['CXR_DATA_DIR']}/journal.sqlite3")))

        def ended() -> bool:
            entry = history.entry(self.uid)
            assert entry is not None
            return entry.status is EntryStatus.STORED and len(history.story(self.uid)) > lines

        wait_until(ended, 120, "the film's end")

    def told(self) -> dict[str, Any]:
        return dict(json.loads(self.cxr_worker("status", self.uid, "--json", settings=self.settings).stdout))

    def reprocess(self, *arguments: str) -> dict[str, Any]:
        lines = len(self.told()["story"])
        done = self.cxr_worker("reprocess", *arguments, settings=self.settings)
        assert done.stdout == "1 to be reprocessed, 0 left as they are\n", done.stderr
        self.wait_until_stored(lines + 2)
        return self.told()


@pytest.fixture
def stored(
    settings: Environment, storescu: Any, start_role: Any, cxr_worker: Any, sample_films: list[Path]
) -> Installation:
    """A running worker whose film's report has been taken."""
    uid = str(dcmread(sample_films[0], stop_before_pixels=True).SOPInstanceUID)
    installation = Installation(settings, start_role, cxr_worker, uid)
    installation.restart()
    assert storescu(int(settings["CXR_PORT"]), sample_films[0]).returncode == 0
    installation.wait_until_stored()
    return installation


def test_the_same_model_makes_the_same_instance_and_nothing_is_sent(
    stored: Installation, orthanc: Any, storescu: Any, sample_films: list[Path]
) -> None:
    before, files = stored.told(), set(orthanc.instances())
    after = stored.reprocess(stored.uid)
    assert set(orthanc.instances()) == files
    assert after["result"] == before["result"]
    assert after["deliveries"] == before["deliveries"]
    # Sending the film again alone reprocesses nothing.
    assert storescu(int(stored.settings["CXR_PORT"]), sample_films[0]).returncode == 0
    assert stored.told()["story"][-1]["what"] == "sent again by MODALITY"
    assert stored.told()["status"] == "STORED"


def test_another_setting_and_another_model_make_successors(stored: Installation, orthanc: Any) -> None:
    before = stored.told()
    (first,) = reports(orthanc).values()
    assert predecessors(first) == []
    stored.restart(CXR_GRADE_SEVERITY="true")
    stored.reprocess("--all")
    (second,) = (one for one in reports(orthanc).values() if one != first)
    assert predecessors(second) == [first.SOPInstanceUID]
    stored.restart(CXR_WEIGHTS=None)
    after = stored.reprocess("--since", "2020-01-01")
    (third,) = (one for one in reports(orthanc).values() if one not in (first, second))
    assert predecessors(third) == [second.SOPInstanceUID]
    assert len(orthanc.instances()) == 6
    assert after["result"]["algorithm_digest"] != before["result"]["algorithm_digest"]
    assert after["result"]["priors"] == []
    assert len(after["reports"]) == 3


def test_what_cannot_be_reprocessed_says_why(stored: Installation) -> None:
    settings = stored.settings | {"CXR_KEEP_DELIVERED_S": "0"}
    assert stored.cxr_worker("purge", settings=settings).returncode == 0
    done = stored.cxr_worker("reprocess", stored.uid, "1.2.3", settings=settings)
    assert "send the image again" in done.stderr
    assert "1.2.3: is unknown here" in done.stderr
    assert done.stdout == "0 to be reprocessed, 2 left as they are\n"
    assert stored.cxr_worker("reprocess", settings=settings).returncode == 1
