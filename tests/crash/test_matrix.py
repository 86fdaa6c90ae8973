"""The crash matrix's core: real processes killed at the most telling points, on every kind of installation.

All of it is ``python tests/crash/matrix.py``; ``make soak`` runs it with thousands of images.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cluster import KINDS
from matrix import WHOLE, chosen
from servers import NotInstalled, find_program

IMAGES = 4
PLAYS = [(kind, fault.stage, fault.name) for kind in KINDS for fault in chosen(kind, core=True)]

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, str], Any]:
    """All of the core's rows, played side by side in a process of its own."""
    try:
        for program in ("redis-server", "postgres", "initdb", "Orthanc"):
            find_program(program)
    except NotInstalled as error:
        if os.environ.get("CXR_REQUIRE_SERVERS") == "1":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    file = tmp_path_factory.mktemp("crash") / "rows.json"
    program = Path(__file__).parent / "matrix.py"
    played = subprocess.run(
        [sys.executable, program, "--core", "--images", str(IMAGES), "--json", file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert file.exists(), played.stdout + played.stderr
    return {(row["database"], row["stage"], row["fault"]): row for row in json.loads(file.read_text())}


@pytest.mark.parametrize(("database", "stage", "fault"), PLAYS)
def test_nothing_is_lost_or_doubled(database: str, stage: str, fault: str, rows: dict[Any, Any]) -> None:
    row = rows[database, stage, fault]
    assert row["passed"], row["told"]
    assert row["images"] == IMAGES


@pytest.mark.parametrize("database", KINDS)
def test_counts_logs_and_spool_are_clean(database: str, rows: dict[Any, Any]) -> None:
    row = rows[(database, *WHOLE)]
    assert row["passed"], row["told"]
