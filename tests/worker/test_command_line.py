"""The command line: a user's mistake is one line on stderr, never a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


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
