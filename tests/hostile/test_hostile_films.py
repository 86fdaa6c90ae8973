"""Bombs and lies end in a coded reason, within seconds and little memory; the next film goes on.

What a film costs is measured in a process of its own, as the worker's scoring processes are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_node.errors import DicomNodeError, NotEligibleReason
from dicom_node.incoming import read_identity
from dicom_node.transfer_syntaxes import TRANSFER_SYNTAXES
from tests.fuzz.mutations import data_set_start
from tests.hostile import films

ROOT = Path(__file__).resolve().parents[2]
LONGEST_S = 20.0
"""Generous, for a busy machine; each took less than 3 s on two cores."""
MAXIMUM_MB = 700.0

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="memory is measured by way of Linux's /proc"
)
Ask = Callable[[bytes], dict[str, Any]]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Let one long-lived process judge a film."""
    folder = tmp_path_factory.mktemp("films")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.hostile.judge"],
        cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None

        def judged(content: bytes) -> dict[str, Any]:
            path = folder / "film.dcm"
            path.write_bytes(content)
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{path}\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            path.unlink()
            assert answer, "the process died of this film"
            return {**json.loads(answer), "report": folder / "film.sr.dcm", "capture": folder / "film.sc.dcm"}

        judged(films.film())
        yield judged
        process.stdin.close()
        assert process.wait(30) == 0


@pytest.mark.parametrize("name", films.REFUSED)
def test_a_hostile_film_is_refused_with_a_reason_and_the_next_goes_on(name: str, ask: Ask) -> None:
    told = ask(films.REFUSED[name]())
    assert told["outcome"] in {*map(str, NotEligibleReason), "undecodable"}, told
    assert told["message"].isprintable()
    assert 20 < len(told["message"]) < 300
    assert "Hostile" not in told["message"]
    assert told["seconds"] < LONGEST_S
    assert told["peak_mb"] < MAXIMUM_MB
    assert ask(films.film())["outcome"] == "radiograph"


@pytest.mark.parametrize("name", films.HARMLESS)
def test_an_odd_film_is_read_all_the_same(name: str, ask: Ask) -> None:
    told = ask(films.HARMLESS[name]())
    assert told["outcome"] == "radiograph", told
    assert told["seconds"] < LONGEST_S
    assert told["peak_mb"] < MAXIMUM_MB


@pytest.mark.parametrize("name", [one for one in (*films.REFUSED, *films.HARMLESS) if "MiB" not in one])
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_the_node_reads_four_uids_or_refuses(name: str) -> None:
    content = (films.REFUSED | films.HARMLESS)[name]()
    for syntax in TRANSFER_SYNTAXES[:4]:
        try:
            identity = read_identity(content[data_set_start(content) :], syntax)
        except DicomNodeError:
            continue
        assert identity.sop_instance_uid == "2.25.1001"
