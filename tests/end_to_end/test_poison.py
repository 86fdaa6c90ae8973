"""The embedded worker beside images that kill, starve or outwait its scorer, and destinations that hang."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from sqlalchemy.engine import make_url

from tests.conftest import free_port, wait_until
from worker.database import open_engine
from worker.entry import JournalEntry
from worker.history import History

Environment = dict[str, str]
Look = Callable[[str], JournalEntry]

# Read by every Python process that has its folder in PYTHONPATH: only the scorer meets such patients.
_SABOTEUR = """
import os, signal, sys, time

if {"worker.scoring_process", "work"} & set(sys.orig_argv):
    from dicom_node import eligibility

    judge = eligibility.require_frontal_chest

    def sabotaged(dataset):
        if dataset.PatientID == "KILLS":
            os.kill(os.getpid(), signal.SIGSEGV)
        if dataset.PatientID == "HANGS":
            time.sleep(600)
        if dataset.PatientID == "STARVES":
            bytearray(4 << 30)
        judge(dataset)

    eligibility.require_frontal_chest = sabotaged
"""


@pytest.fixture
def settings(tmp_path: Path, loopback_pacs: Any) -> Environment:
    (tmp_path / "sitecustomize.py").write_text(_SABOTEUR)
    return {
        "PYTHONPATH": str(tmp_path),
        "CXR_DATA_DIR": str(tmp_path / "data"),
        "CXR_PORT": str(free_port()),
        "CXR_DESTINATIONS": f"PACS@127.0.0.1:{loopback_pacs.port}",
        "CXR_SWEEP_INTERVAL_S": "0.5",
        "CXR_RING_AGAIN_AFTER_S": "2",
        "CXR_MAXIMUM_ATTEMPTS": "2",
        "CXR_CLAIM_TIMEOUT_S": "12",
        "CXR_MAXIMUM_MEMORY_MB": "2000",
        "CXR_WEIGHTS": "light",
        "CXR_DEVICE": "cpu",
    }


@pytest.fixture
def send(
    settings: Environment, storescu: Any, make_film: Callable[..., bytes], tmp_path: Path
) -> Callable[[str], str]:
    """Send a film of a patient; return its SOP Instance UID."""

    def one(patient: str) -> str:
        film = make_film(Rows=400, Columns=400, PixelData=bytes(400 * 400 * 2), PatientID=patient)
        path = tmp_path / f"{patient}.dcm"
        path.write_bytes(film)
        sent = storescu(int(settings["CXR_PORT"]), path)
        assert "(Success)" in sent.stdout + sent.stderr
        return str(dcmread(BytesIO(film), stop_before_pixels=True).SOPInstanceUID)

    return one


@pytest.fixture
def journal(settings: Environment) -> Iterator[Look]:
    """Look an image up in the journal."""
    engine = open_engine(make_url(f"sqlite:///{settings['CXR_DATA_DIR']}/journal.sqlite3"))

    def look(uid: str) -> JournalEntry:
        entry = History(engine).entry(uid)
        assert entry is not None
        return entry

    yield look
    engine.dispose()


def test_images_that_kill_starve_or_hang_the_scorer_end_failed_and_the_node_stays(
    settings: Environment, send: Callable[[str], str], start_role: Any, journal: Look
) -> None:
    node = start_role("serve", settings=settings)
    poison = {patient: send(patient) for patient in ("KILLS", "STARVES", "HANGS")}
    good = send("GOOD")

    wait_until(lambda: journal(good).status == "STORED", 120, "the next image's report")
    for patient, reason in (("KILLS", "worker-lost"), ("STARVES", "scoring-error"), ("HANGS", "worker-lost")):
        wait_until(lambda: journal(poison[patient]).status == "FAILED", 120, patient)  # noqa: B023
        told = journal(poison[patient])
        assert (told.reason, told.attempts) == (reason, 2)
    assert node.poll() is None
    send("GOOD")


def test_a_process_pool_survives_them_too_and_ends_with_its_parent(
    settings: Environment,
    redis_url: str,
    send: Callable[[str], str],
    start_role: Any,
    cxr_worker: Any,
    journal: Look,
) -> None:
    settings |= {"CXR_BROKER_URL": redis_url, "CXR_CLAIM_TIMEOUT_S": "8", "CXR_MAXIMUM_ATTEMPTS": "1"}
    assert cxr_worker("migrate", settings=settings).returncode == 0
    start_role("listen", settings=settings)
    start_role("sweep", settings=settings)
    work = start_role("work", settings=settings)
    poison = {patient: send(patient) for patient in ("KILLS", "HANGS")}
    good = send("GOOD")

    wait_until(lambda: journal(good).status == "STORED", 120, "the next image's report")
    for patient, uid in poison.items():
        wait_until(lambda: journal(uid).status == "FAILED", 120, patient)  # noqa: B023
        assert journal(uid).reason == "worker-lost"
    assert work.poll() is None
    children = _children(work.pid)
    assert children
    work.kill()
    work.wait()
    wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), 10, "their end")


def _children(parent: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(status.read_text().rsplit(")", 1)[1].split()[1]) == parent:
                found.append(int(status.parent.name))
    return found


@pytest.fixture
def mute_port() -> Iterator[int]:
    """A destination that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        held: list[socket.socket] = []

        def hold() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=hold, daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in held:
            connection.close()


def test_a_destination_that_hangs_does_not_hold_up_the_others(
    settings: Environment,
    send: Callable[[str], str],
    loopback_pacs: Any,
    mute_port: int,
    start_role: Any,
) -> None:
    settings["CXR_DESTINATIONS"] = json.dumps(
        [
            {"ae_title": "MUTE", "host": "127.0.0.1", "port": mute_port, "timeout_s": 150},
            {"ae_title": "PACS", "host": "127.0.0.1", "port": loopback_pacs.port},
        ]
    )
    start_role("serve", settings=settings)
    for number in range(4):
        send(f"FILM{number}")
    # Two objects a film, long before the hanging destination is given up. Nor does it hold up the end of the
    # node, which start_role waits for.
    wait_until(lambda: len(loopback_pacs.files) == 8, 60, "all results at the destination that answers")
