"""Redis killed, emptied, cut off or stopped, and PostgreSQL stopped: roles wait, and go on by themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from pydicom.uid import generate_uid
from sqlalchemy.engine import make_url

from dicom_node.instance import ReceivedInstance, Report
from tests.conftest import find_program, free_port, running, wait_until
from worker.database import migrate, open_engine
from worker.entry import Finding
from worker.journal import Journal
from worker.spool import Spool
from worker.watchdog import STUCK

Environment = dict[str, str]
PASSWORD = "tests-only"


class Redis:
    """A Redis of one's own, to be mistreated."""

    def __init__(self, folder: Path) -> None:
        self.program = find_program("redis-server")
        self.folder, self.port = folder, free_port()
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"
        self._stack = ExitStack()
        self.start()

    def start(self) -> None:
        options = f"--port {self.port} --bind 127.0.0.1 --requirepass {PASSWORD} --appendonly no".split()
        command = [self.program, *options, "--save", ""]
        self.process = self._stack.enter_context(running(command, self.answers, self.folder))

    def answers(self) -> bool:
        with self.client() as client:
            return bool(client.ping())

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=5)

    def kill_and_start_empty(self) -> None:
        self.process.kill()
        self.process.wait()
        self.start()

    def forget(self) -> None:
        with self.client() as client:
            client.flushall()

    def cut_connections(self) -> None:
        with self.client() as client:
            for kind in ("normal", "pubsub"):
                client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

    def stop_for_a_while(self) -> None:
        """Answer nothing for longer than any client waits for one command."""
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(12)
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self._stack.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path)
    yield server
    server.close()


@pytest.fixture
def settings(tmp_path: Path, broker: Redis, loopback_pacs: Any) -> Environment:
    (tmp_path / "data").mkdir()
    return {
        "CXR_DATA_DIR": str(tmp_path / "data"),
        "CXR_PORT": str(free_port()),
        "CXR_BROKER_URL": broker.url,
        "CXR_DESTINATIONS": f"PACS@127.0.0.1:{loopback_pacs.port}",
        "CXR_SWEEP_INTERVAL_S": "0.5",
        "CXR_RING_AGAIN_AFTER_S": "3",
    }


@pytest.fixture
def report(settings: Environment, make_film: Callable[..., bytes]) -> Iterator[Callable[[], str]]:
    """Put a finished report into spool and journal, as a scorer does, without ringing."""
    url = settings.get("CXR_DATABASE_URL", f"sqlite:///{settings['CXR_DATA_DIR']}/journal.sqlite3")
    engine = open_engine(make_url(url))
    migrate(engine)
    journal, spool = Journal(engine), Spool(Path(settings["CXR_DATA_DIR"]) / "spool")

    def make() -> str:
        instance = ReceivedInstance(
            sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
            sop_instance_uid=generate_uid(prefix=None),
            series_instance_uid=generate_uid(prefix=None),
            study_instance_uid=generate_uid(prefix=None),
            calling_ae_title="MODALITY",
            encoded=b"film",
            received_at=datetime.now(UTC),
        )
        uid = instance.sop_instance_uid
        spool.write_instance(uid, instance.encoded)
        journal.record_received(instance)
        claim = journal.claim(uid)
        assert claim is not None
        spool.write_report(uid, "v", Report({"sr": make_film(), "sc": make_film()}))
        (destination,) = [part.strip() for part in settings["CXR_DESTINATIONS"].split(",")]
        record = {"outcome": "scored", "algorithm": "two-stage", "algorithm_digest": "digest"}
        assert journal.mark_reported(claim, Finding(record, {destination: "v"}))
        return uid

    yield make
    engine.dispose()


def test_the_worker_goes_on_after_everything_redis_may_do(
    settings: Environment, broker: Redis, report: Callable[[], str], loopback_pacs: Any, start_role: Any
) -> None:
    start_role("sweep", settings=settings)
    workers = [start_role("work", "--queues", "deliver", settings=settings)]
    troubles: tuple[Callable[[], None], ...] = (
        lambda: None,
        broker.forget,
        broker.cut_connections,
        broker.kill_and_start_empty,
        broker.stop_for_a_while,
    )

    def delivered(number: int) -> bool:
        # As a supervisor does: an acknowledgement that Redis did not hear may leave Celery waiting for ever.
        if workers[-1].poll() == STUCK:
            workers.append(start_role("work", "--queues", "deliver", settings=settings))
        return len(loopback_pacs.files) == 2 * number

    for number, trouble in enumerate(troubles, 1):
        trouble()
        report()
        wait_until(lambda: delivered(number), 120, f"delivery after trouble {number}")  # noqa: B023
    assert workers[-1].poll() is None


@pytest.mark.parametrize("trouble", ["gone", "hanging"])
def test_the_node_takes_images_quickly_while_redis_is_away(
    settings: Environment,
    broker: Redis,
    report: Callable[[], str],
    start_role: Any,
    storescu: Any,
    make_film: Callable[..., bytes],
    tmp_path: Path,
    trouble: str,
) -> None:
    start_role("listen", settings=settings)
    if trouble == "gone":
        broker.process.kill()
        broker.process.wait()
    else:
        broker.process.send_signal(signal.SIGSTOP)
    films = []
    for number in range(20):
        films.append(tmp_path / f"{number}.dcm")
        films[-1].write_bytes(make_film())
    started = time.monotonic()
    sent = storescu(int(settings["CXR_PORT"]), *films)
    elapsed_s = time.monotonic() - started
    assert (sent.stdout + sent.stderr).count("Received Store Response (Success)") == len(films)
    # One bell waits for Redis, not twenty.
    assert elapsed_s < 15


def test_a_worker_that_fetches_nothing_ends_itself(
    settings: Environment, broker: Redis, report: Callable[[], str], tmp_path: Path
) -> None:
    # The broken state that Celery was seen in: connected, answering pings, fetching nothing.
    program = """
        import sys
        from kombu.transport import redis
        from worker import watchdog
        from worker.__main__ import main

        watchdog.IDLE_LIMIT_S, watchdog._LOOK_EVERY_S = 2.0, 0.2
        redis.Channel._brpop_start = lambda self, timeout=None: None
        sys.argv = ["cxr-worker", "work", "--queues", "deliver"]
        main()
    """
    report()
    with broker.client() as client:
        client.lpush("deliver", "{}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}
    with (tmp_path / "stuck.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program)],
            env=environment | settings,
            stdout=log,
            stderr=log,
        )
        try:
            code = process.wait(60)
        finally:
            process.kill()
            process.wait()
    told = (tmp_path / "stuck.log").read_text()
    assert code == 75, told
    assert "fetches none" in told
    assert PASSWORD not in told


def test_a_database_that_hangs_is_answered_with_try_again_and_used_again_afterwards(
    settings: Environment,
    postgresql_url: str,
    start_role: Any,
    cxr_worker: Any,
    storescu: Any,
    make_film: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    settings = {**settings, "CXR_DATABASE_URL": postgresql_url}
    assert cxr_worker("migrate", settings=settings).returncode == 0
    start_role("listen", settings=settings)
    sweeper = start_role("sweep", settings=settings)
    port = int(settings["CXR_PORT"])
    films = [tmp_path / f"{number}.dcm" for number in range(3)]
    for film in films:
        film.write_bytes(make_film())
    assert "(Success)" in storescu(port, films[0]).stderr + storescu(port, films[0]).stdout
    server = _all_of_postgresql(postgresql_url)
    _signal(server, signal.SIGSTOP)
    try:
        refused = storescu(port, films[1])
    finally:
        _signal(server, signal.SIGCONT)
    assert "Refused: OutOfResources" in refused.stdout + refused.stderr  # 0xA7xx: send it again

    def taken() -> bool:
        sent = storescu(port, films[1])
        return "(Success)" in sent.stdout + sent.stderr

    wait_until(taken, 60)
    assert sweeper.poll() is None
    log = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert "Traceback" not in log
    wait_until(lambda: cxr_worker("health", "sweep", settings=settings).returncode == 0, 60)


def _signal(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        # The backend that was asked for the list, say, may have been at its end.
        with suppress(ProcessLookupError):
            os.kill(process, number)


def _all_of_postgresql(url: str) -> list[int]:
    """Process ids of the server and of everything that it has forked."""
    parents = {}
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        (backend,) = connection.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        for status in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                parent = status.read_text().rsplit(")", 1)[1].split()[1]
                parents[int(status.parent.name)] = int(parent)
    assert backend in parents, "PostgreSQL's processes are not to be seen from here"
    server = parents[backend]
    return [server, *(process for process, parent in parents.items() if parent == server)]
