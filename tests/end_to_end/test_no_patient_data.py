"""Nothing of a patient and nothing of a password gets out: everything a full run says and keeps is searched.

Films with a mark in every identifying attribute go through the real roles, good ones, bad ones and hostile
ones, to a PACS that quotes patients in its answers; then logs, the commands' output, the journal, Redis,
the names of files and the processes' arguments are searched for the marks.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pynetdicom import AE, AllStoragePresentationContexts, _config, evt

from tests.conftest import find_program, free_port, wait_until
from tests.hostile import films

PATIENT = {
    "PatientName": "Zqxname^Zqxgiven",
    "PatientID": "ZQX-4711",
    "PatientBirthDate": "19010203",
    "AccessionNumber": "ZQX-ACC-1",
    "ReferringPhysicianName": "Zqxdoctor^Refers",
    "StudyDescription": "Zqxstudy of the chest",
}
DATABASE_PASSWORD, BROKER_PASSWORD, WEB_PASSWORD = "zqx-database", "tests-only", "zqx-web"
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of values that are odd on purpose
MARKS = (b"zqx", b"19010203", b"tests-only")


def marked(film: Path, number: int, **changed: Any) -> bytes:
    """A real film of the marked patient."""
    dataset = dcmread(film)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid.UID(f"2.25.4000{number}")
    for keyword, value in {**PATIENT, **changed}.items():
        setattr(dataset, keyword, value)
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def instances(film: Path) -> list[bytes]:
    """Good, bad and hostile: each of the marked patient."""
    name = films.element(0x10, 0x10, b"PN", b"Zqxname^Zqxgiven\nINFO worker: ZQX")
    patient = films.element(0x10, 0x20, b"LO", b"ZQX-4711")
    broken = {
        "broken pixels": films.film(films.element(0x7FE0, 0x10, b"OW", b"ZQX-4711"), patient_name=name),
        "no character set": films.film(further=films.element(8, 5, b"CS", b"ZQX-4711"), patient_name=name),
        "too deep": films.film(grey=films.nested(3000), patient_name=name, patient_id=patient),
        "twice": films.film(further=name + patient, patient_name=name),
        "a number that is a name": films.film(
            rows=films.element(0x28, 0x10, b"PN", b"Zqxname"), patient_name=name
        ),
        "an item that is a name": films.film(
            grey=films.element(0x28, 0x3010, b"SQ", b"Zqxname^Zqxgiven" * 9)
        ),
        "no series": films.film(series=None, patient_name=name),
        "a name as UID": films.film(study=films.element(0x20, 0x0D, b"UI", b"Zqxname")),
    }
    distinct = [
        content.replace(b"2.25.1001", f"2.25.60{number:02d}".encode())
        for number, content in enumerate(broken.values())
    ]
    return [
        marked(film, 1),
        marked(film, 2, ViewPosition="LL", SeriesDescription="Zqxstudy lateral"),
        marked(film, 3, BodyPartExamined="ZQX KNEE"),
        marked(film, 4, PatientName="Zqxname^" + "Zqx" * 3000),
        *distinct,
    ]


class GossipingPACS:
    """Answers every instance with a failure or a warning whose comment quotes the patient."""

    def __init__(self) -> None:
        self.port = free_port()
        self.stored = 0
        ae = AE("PACS")
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(context.abstract_syntax)
        handlers: list[Any] = [(evt.EVT_C_STORE, self._answer)]
        self._server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def _answer(self, event: evt.Event) -> Dataset:
        dataset, answer = event.dataset, Dataset()
        self.stored += 1
        answer.Status = 0xB000 if self.stored % 3 else 0xC123
        answer.ErrorComment = f"{dataset.PatientID} {dataset.AccessionNumber} {dataset.PatientName}"[:64]
        return answer

    def stop(self) -> None:
        self._server.shutdown()


@pytest.fixture
def gossiping_pacs() -> Iterator[GossipingPACS]:
    pacs = GossipingPACS()
    yield pacs
    pacs.stop()


@pytest.fixture(autouse=True)
def _bytes_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pynetdicom send files as they are, which it would otherwise decode and write anew."""
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)


@dataclass
class Heap:
    """Everything that was said and kept, by where it was found."""

    found: dict[str, bytes] = field(default_factory=dict)

    def add(self, where: str, content: bytes | str) -> None:
        self.found[where] = content.encode() if isinstance(content, str) else content

    def leaks(self) -> list[str]:
        told = []
        for where, content in self.found.items():
            lowered = content.lower()
            for mark in MARKS:
                at = lowered.find(mark)
                if at >= 0:
                    told.append(f"{where}: …{content[max(0, at - 80) : at + 40]!r}…")
        return told


def send(path: Path, port: int) -> Dataset:
    """Send a file's data set byte by byte; return the answer, error comment and all."""
    meta = read_file_meta_info(path)
    ae = AE("MODALITY")
    ae.add_requested_context(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", port, ae_title="CXRWORKER")
    assert association.is_established
    answer = association.send_c_store(path)
    association.release()
    return answer


def run_everything(heap: Heap, settings: dict[str, str], film: Path, cxr_worker: Any, tmp_path: Path) -> None:
    """Send every instance, wait for its end, and gather what commands, processes and folders say."""
    taken = []
    for number, content in enumerate(instances(film)):
        path = tmp_path / "sent"
        path.write_bytes(content)
        answer = send(path, int(settings["CXR_PORT"]))
        heap.add(f"answer {number}", str(answer))
        if answer.Status == 0x0000:
            taken.append(str(read_file_meta_info(path).MediaStorageSOPInstanceUID))
    assert len(taken) > 8

    def ended() -> bool:
        counts = json.loads(cxr_worker("status", "--json", settings=settings).stdout)["counts"]
        return counts["RECEIVED"] + counts["SCORING"] == 0 and sum(counts.values()) == len(taken)

    wait_until(ended, 200, "every instance to leave scoring")
    story = lambda: cxr_worker("status", taken[0], settings=settings).stdout  # noqa: E731
    wait_until(lambda: "report " in story(), 120, "the PACS's answer in the journal")
    heap.add(
        "ps",
        subprocess.run([find_program("ps"), "-eww", "-o", "args"], capture_output=True, check=True).stdout,
    )
    commands = [("status",), ("status", "--json"), ("doctor",), ("requeue", "--failed"), ("requeue", "1.2.3")]
    commands += [("purge",), ("migrate",), ("status", "9.9.9"), ("health", "listen"), ("health", "work")]
    commands += [("status", one, *form) for one in (taken[0], taken[-1]) for form in ((), ("--json",))]
    for command in commands:
        done = cxr_worker(*command, settings=settings)
        heap.add(f"output of {' '.join(command)}", done.stdout)
        heap.add(f"errors of {' '.join(command)}", done.stderr)
        assert "Traceback" not in done.stderr
    (tmp_path / "film.dcm").write_bytes(marked(film, 9))
    (tmp_path / "broken.dcm").write_bytes(instances(film)[6])
    for path in ("film.dcm", "broken.dcm"):
        done = cxr_worker("score", str(tmp_path / path), "--json", settings=settings)
        heap.add(f"score {path}", done.stdout + done.stderr)
    names = "\n".join(str(path) for path in Path(settings["CXR_DATA_DIR"]).rglob("*"))
    heap.add("names of files", names)


def run_in_vain(heap: Heap, settings: dict[str, str], cxr_worker: Any) -> None:
    """Run commands whose database or broker is away, refuses, or cannot be named."""
    nowhere = free_port()
    for number, (name, value) in enumerate(
        [
            ("CXR_DATABASE_URL", f"postgresql+psycopg://cxr:{DATABASE_PASSWORD}@127.0.0.1:{nowhere}/x"),
            (
                "CXR_DATABASE_URL",
                f"postgresql+psycopg://cxr:{DATABASE_PASSWORD}@127.0.0.1:{nowhere}/x?sslmode=nonsense",
            ),
            ("CXR_DATABASE_URL", f"nonsense:{DATABASE_PASSWORD}"),
            ("CXR_DATABASE_URL", f"sqlite:////proc/{DATABASE_PASSWORD[:0]}none/x"),
            ("CXR_BROKER_URL", f"redis://:{BROKER_PASSWORD}@127.0.0.1:{nowhere}/0"),
            ("CXR_BROKER_URL", f"nonsense://:{BROKER_PASSWORD}@127.0.0.1/0"),
            ("CXR_DESTINATIONS", json.dumps([{"url": "http://127.0.0.1:1", "password": WEB_PASSWORD}])),
            ("CXR_DESTINATIONS", f'[{{"url": "http://u:{WEB_PASSWORD}@127.0.0.1:1/x"}}]'),
        ]
    ):
        only = {key: one for key, one in settings.items() if key not in (name, f"{name}_FILE")}
        for command in (("status",), ("migrate",) if "DATABASE" in name else ("health", "work")):
            done = cxr_worker(*command, settings={**only, name: value})
            heap.add(f"{command} in vain {number}", done.stdout + done.stderr)
            assert "Traceback" not in done.stderr, done.stderr


def destinations(pacs: GossipingPACS, tmp_path: Path) -> str:
    (tmp_path / "web-password").write_text(f"{WEB_PASSWORD}\n")
    away = f"http://127.0.0.1:{free_port()}/dicom-web"
    web = {"url": away, "username": "worker", "password_file": str(tmp_path / "web-password")}
    return json.dumps([{"ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port}, web])


def common(pacs: GossipingPACS, tmp_path: Path) -> dict[str, str]:
    return {
        "CXR_DATA_DIR": str(tmp_path / "data"),
        "CXR_PORT": str(free_port()),
        "CXR_DESTINATIONS": destinations(pacs, tmp_path),
        "CXR_SWEEP_INTERVAL_S": "0.5",
        "CXR_DEVICE": "cpu",
        "CXR_WEIGHTS": "light",
        "CXR_LOG_LEVEL": "DEBUG",
    }


def test_everything_in_one_process(
    gossiping_pacs: GossipingPACS, start_role: Any, cxr_worker: Any, sample_films: list[Path], tmp_path: Path
) -> None:
    heap, settings = Heap(), common(gossiping_pacs, tmp_path)
    start_role("serve", settings=settings)
    run_everything(heap, settings, sample_films[0], cxr_worker, tmp_path)
    with sqlite3.connect(tmp_path / "data" / "journal.sqlite3") as journal:
        heap.add("journal", "\n".join(journal.iterdump()))
    for log in tmp_path.glob("*.log"):
        heap.add(log.name, log.read_bytes())
    assert b"2.25.40001" in heap.found["journal"]
    assert heap.leaks() == []


@pytest.mark.timeout(600)
def test_separate_roles_with_secrets(
    gossiping_pacs: GossipingPACS,
    redis_url: str,
    postgresql_url: str,
    start_role: Any,
    cxr_worker: Any,
    sample_films: list[Path],
    tmp_path: Path,
) -> None:
    heap, settings = Heap(), common(gossiping_pacs, tmp_path) | {"CXR_LOG_FORMAT": "json"}
    secrets = {
        "CXR_DATABASE_URL": postgresql_url.replace("cxr@", f"cxr:{DATABASE_PASSWORD}@"),
        "CXR_BROKER_URL": redis_url,
    }
    assert DATABASE_PASSWORD in secrets["CXR_DATABASE_URL"]
    assert BROKER_PASSWORD in redis_url
    for name, secret in secrets.items():
        (tmp_path / name).write_text(f"{secret}\n")
        settings[f"{name}_FILE"] = str(tmp_path / name)
    heap.add("migrate", cxr_worker("migrate", settings=settings).stdout)
    for role in (("listen",), ("work", "--queues", "score"), ("work", "--queues", "deliver"), ("sweep",)):
        start_role(*role, settings=settings)
    run_everything(heap, settings, sample_films[0], cxr_worker, tmp_path)
    # The test's own Redis was started with its password as an argument.
    processes = heap.found["ps"].splitlines()
    heap.add("ps", b"\n".join(line for line in processes if b"redis-server" not in line))
    run_in_vain(heap, settings, cxr_worker)
    with psycopg.connect(postgresql_url.replace("+psycopg", "")) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        assert ("entry",) in tables
        for (table,) in tables:
            rows = connection.execute(f'SELECT t::text FROM "{table}" t').fetchall()
            heap.add(f"table {table}", "\n".join(row for (row,) in rows))
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter():
            heap.add(f"Redis {key!r}", key + client.dump(key))
    for log in tmp_path.glob("*.log"):
        heap.add(log.name, log.read_bytes())
        assert all(json.loads(line) for line in log.read_text().splitlines()), log.name
    assert heap.leaks() == []


def test_a_mark_would_be_found() -> None:
    heap = Heap()
    heap.add("somewhere", f"refused: {PATIENT['PatientName']}")
    heap.add("elsewhere", "nothing")
    assert [told.split(":")[0] for told in heap.leaks()] == ["somewhere"]
