"""The second algorithm, alone and beside the first, through real processes; its networks are set by hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from sqlalchemy.engine import make_url

from tests.conftest import free_port, wait_until
from tests.crash.films import BLANK, SCORED, Film, make_film, write_bsnet_weights, write_weights
from tests.validators.findings import dciodvfy, dicom_sr_validator
from worker.database import open_engine
from worker.entry import EntryStatus
from worker.history import History

Environment = dict[str, str]
BOTH = ("two-stage", "bs-net")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``two-stage``, ``bs-net``, and ``blind``: a BS-Net that finds no lungs on any film."""
    folder = tmp_path_factory.mktemp("weights")
    write_weights(folder / "two-stage")
    write_bsnet_weights(folder / "bs-net")
    write_bsnet_weights(folder / "blind", lungs_above=1.5)
    return folder


@pytest.fixture
def settings(tmp_path: Path, orthanc: Any, weights: Path) -> Environment:
    pacs = {"ae_title": orthanc.ae_title, "host": "127.0.0.1", "port": orthanc.dicom_port}
    return {
        "CXR_DATA_DIR": str(tmp_path / "data"),
        "CXR_PORT": str(free_port()),
        "CXR_DESTINATIONS": json.dumps([pacs | {"send": ["sr", "sc", "map"]}]),
        "CXR_SWEEP_INTERVAL_S": "0.5",
        "CXR_DEVICE": "cpu",
        "CXR_WEIGHTS": str(weights / "two-stage"),
        "CXR_BSNET_WEIGHTS": str(weights / "bs-net"),
    }


@dataclass
class Installation:
    """The embedded worker over one data folder, with a PACS."""

    settings: Environment
    folder: Path
    start_role: Any
    cxr_worker: Any
    storescu: Any
    orthanc: Any
    process: Any = None

    def restart(self, **changes: str) -> str:
        """Start it with other settings; return what it logged until it was ready."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
        self.settings |= changes
        known = set(self.folder.glob("serve-*.log"))
        self.process = self.start_role("serve", settings=self.settings)
        (log,) = set(self.folder.glob("serve-*.log")) - known
        return log.read_text()

    def send(self, film: Film) -> dict[str, Any]:
        """Send a film; return what ``status`` says once it has ended."""
        path = self.folder / f"{film.sop_instance_uid[-12:]}.dcm"
        path.write_bytes(film.encoded)
        assert self.storescu(int(self.settings["CXR_PORT"]), path).returncode == 0
        return self._ended(film)

    def reprocess(self, film: Film) -> dict[str, Any]:
        """Score it again; return what ``status`` says then."""
        lines = len(self._history().story(film.sop_instance_uid))
        done = self.cxr_worker("reprocess", film.sop_instance_uid, settings=self.settings)
        assert done.returncode == 0, done.stderr
        return self._ended(film, lines + 2)

    def _history(self) -> History:
        return History(open_engine(make_url(f"sqlite:///{self.settings['CXR_DATA_DIR']}/journal.sqlite3")))

    def _ended(self, film: Film, lines: int = 0) -> dict[str, Any]:
        uid, history = film.sop_instance_uid, self._history()

        def ended() -> bool:
            entry = history.entry(uid)
            assert entry is not None
            return entry.status is EntryStatus.STORED and len(history.story(uid)) > lines

        wait_until(ended, 120, "the film's end")
        return dict(json.loads(self.cxr_worker("status", uid, "--json", settings=self.settings).stdout))

    def objects(self, film: Film) -> dict[str, list[Dataset]]:
        """What the PACS has of a film, by algorithm, reports first."""
        study = dcmread(self.folder / f"{film.sop_instance_uid[-12:]}.dcm").StudyInstanceUID
        found: dict[str, list[Dataset]] = {}
        for dataset in self.orthanc.datasets():
            if dataset.StudyInstanceUID == study:
                found.setdefault(str(dataset.SoftwareVersions).split()[0], []).append(dataset)
        return {
            name: sorted(objects, key=lambda one: (one.SeriesNumber, one.ContentTime))
            for name, objects in found.items()
        }


@pytest.fixture
def installation(
    settings: Environment, tmp_path: Path, start_role: Any, cxr_worker: Any, storescu: Any, orthanc: Any
) -> Installation:
    return Installation(settings, tmp_path, start_role, cxr_worker, storescu, orthanc)


def outcomes(told: dict[str, Any]) -> dict[str, str]:
    return {result["algorithm"]: result["outcome"] for result in told["results"]}


def kinds(objects: list[Dataset]) -> list[int]:
    return [int(dataset.SeriesNumber) for dataset in objects]


def numbers(report: Dataset) -> dict[str, float]:
    """The numbers of a report by the value of their concept's code."""
    found = {}
    for item in _items(report):
        if item.ValueType == "NUM" and item.MeasuredValueSequence:
            name = item.ConceptNameCodeSequence[0].CodeValue
            found[name] = float(item.MeasuredValueSequence[0].NumericValue)
    return found


def _items(container: Dataset) -> Iterator[Dataset]:
    for item in container.get("ContentSequence", []):
        yield item
        yield from _items(item)


def require_valid(objects: list[Dataset], folder: Path) -> None:
    for dataset in objects:
        path = folder / "object.dcm"
        dataset.save_as(path)
        is_report = dataset.Modality == "SR"
        found = dciodvfy("sr" if is_report else "sc", path)
        assert not found.errors, found.errors
        if is_report:
            assert not dicom_sr_validator(path).errors


def test_from_one_algorithm_to_both(installation: Installation, tmp_path: Path) -> None:
    film, blank = make_film(SCORED), make_film(BLANK)
    log = installation.restart()
    assert "licence" not in log
    assert "maps, which only bs-net makes" in log
    assert outcomes(installation.send(film)) == {"two-stage": "scored"}

    log = installation.restart(CXR_ALGORITHM="both")
    (line,) = [line for line in log.splitlines() if "scoring with bs-net" in line]
    assert "made for the tests, no licence needed; not for diagnosis" in line
    told = installation.reprocess(film)
    assert outcomes(told) == dict.fromkeys(BOTH, "scored")
    assert [result["score_max"] for result in told["results"]] == [6, 18]
    assert told["result"] == told["results"][0]
    objects = installation.objects(film)
    # The explanation, too, comes from the second algorithm alone; nothing was replaced or sent again.
    assert {name: kinds(found) for name, found in objects.items()} == {
        "two-stage": [9801, 9802],
        "bs-net": [9801, 9802, 9805],
    }
    everything = [dataset for found in objects.values() for dataset in found]
    assert len({dataset.SeriesInstanceUID for dataset in everything}) == 5
    assert not any("PredecessorDocumentsSequence" in dataset for dataset in everything)
    require_valid(objects["bs-net"], tmp_path)
    assert numbers(objects["bs-net"][0])["BRIXIA-0-18"] == told["results"][1]["score"]

    assert outcomes(installation.send(blank)) == dict.fromkeys(BOTH, "not-assessable")
    found = installation.objects(blank)
    assert {name: kinds(made) for name, made in found.items()} == {name: [9801, 9802] for name in BOTH}
    require_valid(found["bs-net"], tmp_path)

    shown = installation.cxr_worker("status", film.sop_instance_uid, settings=installation.settings).stdout
    for text in ("of 6 (two-stage)", "of 18 (bs-net)", "Brixia score", "Lung opacity"):
        assert text in shown
    wide = installation.settings | {"COLUMNS": "400"}
    examined = installation.cxr_worker("doctor", settings=wide)
    assert examined.returncode == 0, examined.stdout
    for text in ("weights two-stage", "weights bs-net", "self-test", "no licence needed", "made by bs-net"):
        assert text in examined.stdout


def test_bs_net_alone_then_weights_that_see_no_lungs(
    installation: Installation, weights: Path, tmp_path: Path
) -> None:
    film = make_film(SCORED)
    installation.restart(CXR_ALGORITHM="bs-net")
    assert outcomes(installation.send(film)) == {"bs-net": "scored"}
    first = {dataset.SeriesInstanceUID for dataset in installation.objects(film)["bs-net"]}
    installation.restart(CXR_ALGORITHM="both", CXR_BSNET_WEIGHTS=str(weights / "blind"))
    assert outcomes(installation.reprocess(film)) == {"two-stage": "scored", "bs-net": "not-assessable"}
    objects = installation.objects(film)
    assert kinds(objects["two-stage"]) == [9801, 9802]
    assert kinds(objects["bs-net"]) == [9801, 9801, 9802, 9802, 9805]
    replaced = [dataset for dataset in objects["bs-net"] if "PredecessorDocumentsSequence" in dataset]
    assert [int(dataset.SeriesNumber) for dataset in replaced] == [9801]
    unassessable = [dataset for dataset in objects["bs-net"] if dataset.SeriesInstanceUID not in first]
    assert len(unassessable) == 2
    require_valid(unassessable, tmp_path)


def test_both_through_separate_roles(
    installation: Installation, redis_url: str, postgresql_url: str, tmp_path: Path
) -> None:
    settings = installation.settings | {
        "CXR_ALGORITHM": "both",
        "CXR_BROKER_URL": redis_url,
        "CXR_DATABASE_URL": postgresql_url,
    }
    assert installation.cxr_worker("migrate", settings=settings).returncode == 0
    for role in (("listen",), ("sweep",), ("work", "--queues", "score"), ("work", "--queues", "deliver")):
        installation.start_role(*role, settings=settings)
    films = [make_film(SCORED), make_film(BLANK)]
    for film in films:
        path = tmp_path / f"{film.sop_instance_uid[-12:]}.dcm"
        path.write_bytes(film.encoded)
        assert installation.storescu(int(settings["CXR_PORT"]), path).returncode == 0

    def told(*arguments: str) -> Any:
        return json.loads(installation.cxr_worker("status", *arguments, "--json", settings=settings).stdout)

    wait_until(lambda: told()["counts"]["STORED"] == 2, 120, "both films' end")
    ended = [outcomes(told(film.sop_instance_uid)) for film in films]
    assert ended == [dict.fromkeys(BOTH, outcome) for outcome in ("scored", "not-assessable")]
    scored, blank = (installation.objects(film) for film in films)
    made = {name: kinds(found) for name, found in scored.items()}
    assert made == {"two-stage": [9801, 9802], "bs-net": [9801, 9802, 9805]}
    assert {name: kinds(found) for name, found in blank.items()} == {name: [9801, 9802] for name in BOTH}
    require_valid(scored["bs-net"], tmp_path)


def test_offline_both(cxr_worker: Any, settings: Environment, tmp_path: Path) -> None:
    folder, out = tmp_path / "films", tmp_path / "out"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(make_film(SCORED).encoded)
    (folder / "b.dcm").write_bytes(make_film(BLANK).encoded)
    told = cxr_worker(
        *("score", str(folder), "--algorithm", "both", "--json", "--csv", str(tmp_path / "scores.csv")),
        *("--out", str(out), "--objects", "sr,map"),
        settings=settings,
    )
    assert told.returncode == 3, told.stderr
    records = json.loads(told.stdout)
    assert [(Path(one["path"]).name, one["algorithm"], one["outcome"]) for one in records] == [
        ("a.dcm", "two-stage", "scored"),
        ("a.dcm", "bs-net", "scored"),
        ("b.dcm", "two-stage", "not-assessable"),
        ("b.dcm", "bs-net", "not-assessable"),
    ]
    assert {zone["confidence"] is None for zone in records[0]["zones"]} == {True}
    assert {0 < zone["confidence"] <= 1 for zone in records[1]["zones"]} == {True}
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["algorithm"] for row in rows] == [*BOTH, *BOTH]
    assert float(rows[1]["left_lower_confidence"]) > 0
    assert {path.name for path in out.iterdir()} == {
        *(f"{film}.{name}.{end}" for film in "ab" for name in BOTH for end in ("png", "sr.dcm")),
        *("a.bs-net.map.png", "a.bs-net.map.dcm"),
    }
    table = cxr_worker("score", str(folder), "--algorithm", "both", settings=settings).stdout
    assert "Brixia points" in table
    assert len([line for line in table.splitlines() if line.split()[:2] == ["a.dcm", "bs-net"]]) == 1
    assert "b.dcm: not-assessable (bs-net): no-lungs" in table
