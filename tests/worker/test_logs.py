"""Logs: one line an event, and no library's quotation of patient data."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from worker.logs import one_line

_SCRIPT = """
import logging, warnings
from worker.logs import configure_logging
configure_logging("INFO", {style!r})
logging.getLogger("worker").info("1.2.3 taken")
logging.getLogger("pydicom").warning("Invalid value for VR PN: 'Doe^Jane'")
warnings.warn_explicit("value 'Doe^Jane' is odd", UserWarning, "valuerep.py", 1, module="pydicom.valuerep")
try:
    raise ValueError("bad name Doe^Jane")
except ValueError:
    logging.getLogger("worker").exception("went wrong")
"""


def run(style: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(style=style)], capture_output=True, text=True, check=True
    )
    assert "Doe" not in done.stderr + done.stdout
    return done.stderr


def test_text() -> None:
    text = run("text")
    assert "INFO    worker: 1.2.3 taken" in text
    assert len(text.splitlines()) == 2
    assert "ValueError at <string>:9" in text


def test_json_is_one_object_a_line() -> None:
    lines = [json.loads(line) for line in run("json").splitlines()]
    assert [line["message"] for line in lines] == ["1.2.3 taken", "went wrong"]
    assert lines[0]["level"] == "INFO"
    assert lines[1]["exception"] == "ValueError at <string>:9"


_STRANGE = """
import logging, sys, threading, warnings
from worker.logs import configure_logging
configure_logging("DEBUG", {style!r})
log = logging.getLogger("dicom_node.storage_scp")
log.warning("association refused: %s", "EVIL\\n2026-01-01 INFO worker: forged\\x1b[2J\\u202e\\ud800")
log.info("%d images", "Doe^Jane")
logging.getLogger("sqlalchemy.engine").info("INSERT ... 'Doe^Jane'")
logging.getLogger().setLevel("DEBUG")
logging.getLogger("botocore.auth").debug("secret Doe^Jane")
logging.getLogger("some_package").info("Doe^Jane")
logging.getLogger("pydicom").setLevel("WARNING")  # as pydicom does when it is imported
logging.getLogger("pydicom").warning("Unknown encoding 'Doe^Jane'")
warnings.warn("value 'Doe^Jane' is odd")
logging.captureWarnings(True)  # as Celery does when its worker starts
warnings.warn("another odd value 'Doe^Jane'")
log.warning("x" * 100_000)
thread = threading.Thread(target=lambda: int("Doe^Jane"))
thread.start()
thread.join()
raise ValueError("Doe^Jane")
"""


@pytest.mark.parametrize("style", ["text", "json"])
def test_no_stranger_writes_a_line_of_his_own(style: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _STRANGE.format(style=style)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Doe" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    if style == "json":
        lines = [json.loads(line)["message"] for line in lines]
    assert all(line.isprintable() and len(line) < 5000 for line in lines)
    forged = [line for line in lines if "forged" in line]
    assert len(forged) == 1
    assert "EVIL\\x0a2026-01-01 INFO worker: forged\\x1b[2J\\u202e\\ud800" in forged[0]
    assert sum("unexpected ValueError at <string>:" in line for line in lines) == 2
    assert any("UserWarning at <string>:" in line for line in lines)


def test_one_line_leaves_ordinary_text_alone() -> None:
    assert one_line("PACS@10.0.0.5:104: gespeichert, größer") == "PACS@10.0.0.5:104: gespeichert, größer"
    assert one_line("a\r\nb\tc") == "a\\x0d\\x0ab\\x09c"
