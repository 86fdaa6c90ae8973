"""Logs: one line an event, and no library's quotation of patient data."""

from __future__ import annotations

import json
import subprocess
import sys

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
    assert "ValueError at <string>:9" in text


def test_json_is_one_object_a_line() -> None:
    lines = [json.loads(line) for line in run("json").splitlines()]
    assert [line["message"] for line in lines] == ["1.2.3 taken", "went wrong"]
    assert lines[0]["level"] == "INFO"
    assert lines[1]["exception"] == "ValueError at <string>:9"
