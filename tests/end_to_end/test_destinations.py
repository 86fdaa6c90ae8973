"""One destination that hangs, one that works, and one embedded worker between them."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from tests.conftest import LoopbackPACS, free_port, wait_until
from worker.database import open_engine
from worker.history import History


@contextmanager
def silent_pacs(port: int) -> Iterator[list[socket.socket]]:
    """Take connections and never say a word."""
    held: list[socket.socket] = []
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen(64)
        yield held
    for connection in held:
        connection.close()


@pytest.mark.timeout(240)
def test_a_destination_that_hangs_holds_up_no_other_and_gets_everything_later(
    tmp_path: Path,
    start_role: Any,
    cxr_worker: Any,
    storescu: Any,
    sample_films: list[Path],
    loopback_pacs: Any,
) -> None:
    port, hanging = free_port(), free_port()
    settings = {
        "CXR_DATA_DIR": str(tmp_path / "data"),
        "CXR_PORT": str(port),
        "CXR_WEIGHTS": "light",
        "CXR_SWEEP_INTERVAL_S": "0.5",
        "CXR_DESTINATIONS": json.dumps(
            [
                {"ae_title": "HANGS", "host": "127.0.0.1", "port": hanging, "timeout_s": 8},
                {"ae_title": "PACS", "host": "127.0.0.1", "port": loopback_pacs.port},
            ]
        ),
    }

    history = History(open_engine(make_url(f"sqlite:///{tmp_path / 'data' / 'journal.sqlite3'}")))

    def waiting() -> dict[str, int]:
        return {health.name.split("@")[0]: count for health, count in history.destinations()}

    with silent_pacs(hanging):
        start_role("serve", settings=settings)
        assert storescu(port, *sample_films).returncode == 0
        wait_until(lambda: len(loopback_pacs.files) == 2 * len(sample_films), 90)
        wait_until(lambda: waiting() == {"HANGS": len(sample_films), "PACS": 0}, 30)
    late = LoopbackPACS("HANGS", hanging)
    late.start()
    try:
        wait_until(lambda: waiting() == {"HANGS": 0, "PACS": 0}, 90)
        assert sorted(late.files) == sorted(loopback_pacs.files)
    finally:
        late.stop()
    told = json.loads(cxr_worker("status", "--json", settings=settings).stdout)
    assert told["counts"]["STORED"] == len(sample_films)
    assert {one["name"].split("@")[0]: one["failures"] for one in told["destinations"]} == {
        "HANGS": 0,
        "PACS": 0,
    }
