"""The command line: a user's mistake is one line on stderr, never a traceback."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from dicom_node.instance import ReceivedInstance
from worker.database import open_engine
from worker.journal import Journal


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker", *arguments],
        env={"PATH": "/usr/bin:/bin", **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "settings", "told"),
    [
        (["nonsense"], {}, "No such command"),
        (["score"], {}, "Missing argument"),
        (["score", "/does/not/exist"], {}, "does not exist"),
        (["score", "/", "--objects", "sr,pdf"], {}, "name one or more of sr, sc, gsps, seg"),
        (["status", "--config", "/does/not/exist"], {}, "cannot be read"),
        (["status"], {"CXR_PRT": "1"}, "CXR_PRT"),
        (["work", "--queues", "everything"], {}, "only score and deliver"),
        (["work"], {}, "CXR_BROKER_URL"),
        (["requeue"], {}, "--failed"),
        (["health", "listen"], {"CXR_PORT": "9"}, "no DICOM node answers"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, arguments: list[str], settings: dict[str, str], told: str
) -> None:
    done = run(*arguments, CXR_DATA_DIR=str(tmp_path), **settings)
    assert done.returncode == 1
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_help_names_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name in (
        "serve",
        "listen",
        "work",
        "sweep",
        "score",
        "status",
        "requeue",
        "purge",
        "doctor",
        "assessments",
        "migrate",
    ):
        assert f"  {name} " in done.stdout


def test_status_requeue_and_purge_on_an_empty_journal(tmp_path: Path) -> None:
    settings = {"CXR_DATA_DIR": str(tmp_path / "data")}
    assert run("migrate", **settings).returncode == 0
    status = run("status", **settings)
    assert status.returncode == 0
    assert "RECEIVED" in status.stdout
    unknown = run("status", "1.2.3", **settings)
    assert (unknown.returncode, "unknown here" in unknown.stderr) == (1, True)
    assert "0 requeued" in run("requeue", "--failed", **settings).stdout
    assert "files of 0 images" in run("purge", **settings).stdout


def test_doctor_names_the_next_step_of_each_failure(tmp_path: Path) -> None:
    done = run("doctor", CXR_DATA_DIR=str(tmp_path), CXR_DESTINATIONS="PACS@127.0.0.1:9", COLUMNS="200")
    assert done.returncode == 1
    assert "cxr-worker migrate" in done.stdout
    assert "C-ECHO PACS@127.0.0.1:9" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_what_strangers_wrote_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    settings = {"CXR_DATA_DIR": str(tmp_path), "COLUMNS": "200"}
    assert run("migrate", **settings).returncode == 0
    journal = Journal(open_engine(make_url(f"sqlite:///{tmp_path / 'journal.sqlite3'}")))
    journal.record_received(
        ReceivedInstance("1.2", "1.2.3", "1.2.4", "1.2.5", "[/b]\x1b[2J\n", b"", datetime.now(UTC))
    )
    told = run("status", "1.2.3", **settings)
    assert told.returncode == 0, told.stderr
    assert "received from [/b]" in told.stdout
    assert "\x1b[2J" not in told.stdout
