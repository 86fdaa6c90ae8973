"""A whole installation in real processes, watched over so that what dies comes back, as containers do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import psycopg
from faults import CLAIM_TIMEOUT_S
from films import write_bsnet_weights, write_weights
from launch import environment
from servers import Orthanc, PostgreSQL, RecordingPACS, Redis, Server, free_port, signal_family, wait_for

from worker.settings import Destination, Settings

ROOT = Path(__file__).resolve().parent.parent.parent
SQLITE, POSTGRESQL, EMBEDDED = "sqlite", "postgresql", "embedded"
KINDS = (SQLITE, POSTGRESQL, EMBEDDED)
ENDED = ("STORED", "COMMITTED", "REJECTED", "FAILED")
_ROLES = {
    "listen": ("listen",),
    "score": ("work", "--queues", "score", "--concurrency", "2"),
    "deliver": ("work", "--queues", "deliver", "--concurrency", "2"),
    "sweep": ("sweep",),
}
_PRELOADED = "torch highdicom cv2 models.torchvision_ops segmentation_models_pytorch dicom_node.report"


class Role:
    """One role of the worker under a supervisor: it is started again whenever it ends."""

    def __init__(self, name: str, arguments: Sequence[str], variables: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self.starts = 0
        self._log_start = 0
        self.variables = dict(variables)
        self._arguments = arguments
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._watch, name=f"supervise-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def signal(self, number: int, whole: bool = True) -> None:
        """Send a signal to its main process, or to that and all its children."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        if whole:
            signal_family(process.pid, number)
        else:
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)

    def is_ready(self) -> bool:
        """Whether the process that runs now has said so."""
        log = self.log.read_bytes()
        return self._process is not None and b"ready: " in log[self._log_start :]

    def stop(self) -> None:
        self._stopping.set()
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM, whole=False)
        self._thread.join(15)
        if self._thread.is_alive():
            self.signal(signal.SIGKILL)
            self._thread.join(15)

    def _watch(self) -> None:
        while not self._stopping.is_set():
            with self.log.open("ab") as output:
                self._log_start = output.tell()
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "worker", *self._arguments],
                    env=self.variables,
                    stdout=output,
                    stderr=output,
                    cwd=ROOT,
                    start_new_session=True,
                )
                self.starts += 1
                self._process.wait()
            # as a container's other processes die with its first
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._stopping.wait(0.2)


class Cluster:
    """Servers and roles around one data folder.

    Parameters
    ----------
    kind : str
        ``sqlite`` or ``postgresql``: separate roles over Redis; ``embedded``: ``serve`` with SQLite.
    folder : pathlib.Path
        For everything that it writes.
    points : iterable of str
        Fault points that may be armed.
    settings : mapping, optional
        More environment variables of the worker.
    """

    def __init__(
        self, kind: str, folder: Path, points: Sequence[str], settings: Mapping[str, str] | None = None
    ) -> None:
        self.kind = kind
        self.folder = folder
        self.control = folder / "control"
        self.data = folder / "data"
        self.logs = folder / "logs"
        for path in (self.control / "armed", self.data, self.logs):
            path.mkdir(parents=True)
        (self.control / "points").write_text("\n".join(sorted(set(points))))
        self.port = free_port()
        self.orthanc = Orthanc(folder, self.port)
        self.recorder = RecordingPACS(folder)
        self.redis = None if kind == EMBEDDED else Redis(folder)
        self.postgresql = PostgreSQL(folder) if kind == POSTGRESQL else None
        self.settings = self._settings() | dict(settings or {})
        self.roles: dict[str, Role] = {}
        self.has_small_disk = False
        self._mounted = ExitStack()

    @property
    def servers(self) -> list[Server]:
        found = (self.orthanc, self.recorder, self.redis, self.postgresql)
        return [server for server in found if server is not None]

    @property
    def destinations(self) -> tuple[str, str]:
        """Names under which the journal keeps deliveries: Orthanc's and the recorder's."""
        return (
            f"{Orthanc.ae_title}@127.0.0.1:{self.orthanc.port}",
            f"RECORDER@127.0.0.1:{self.recorder.port}",
        )

    def start(self) -> None:
        for server in self.servers:
            server.start(wait=False)
        if not (self.folder / "weights").exists():
            write_weights(self.folder / "weights")
            write_bsnet_weights(self.folder / "weights" / "bs-net")
        for server in self.servers:
            server.wait()
        done = self.command("migrate")
        assert done.returncode == 0, done.stderr
        roles = {"serve": ("serve",)} if self.kind == EMBEDDED else _ROLES
        for name, arguments in roles.items():
            variables = self._environment(name)
            if name in ("score", "serve"):
                variables["CRASH_PRELOAD"] = _PRELOADED
            self.roles[name] = Role(name, arguments, variables, self.logs / f"{name}.log")
            self.roles[name].start()
        for name, role in self.roles.items():
            wait_for(lambda role=role: role.is_ready(), 120, f"{name}, see {role.log}")

    def stop(self) -> None:
        stopping = [threading.Thread(target=role.stop) for role in self.roles.values()]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()
        for server in self.servers:
            server.stop()
        if self.has_small_disk and self.postgresql is None:
            shutil.copy(self.data / "journal.sqlite3", self.folder)
        self._mounted.close()

    def limit_disk(self, megabytes: int) -> bool:
        """Put the data folder on a small file system, before ``start``; False without the right to mount."""
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(self.data)],
            capture_output=True,
            check=False,
        )
        if done.returncode == 0:
            self._mounted.callback(subprocess.run, ["umount", "-l", str(self.data)], check=False)
            self.has_small_disk = True
        return self.has_small_disk

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of the worker's commands that end."""
        return subprocess.run(
            [sys.executable, "-m", "worker", *arguments],
            env=self._environment("command"),
            capture_output=True,
            text=True,
            timeout=120,
            cwd=ROOT,
            check=False,
        )

    def arm(self, point: str, times: int = 1, skip: int = 0, **arm: Any) -> None:
        """Let a process that passes a point meet a fault (``launch``): the first ``skip`` times nothing."""
        place = self.control / "armed" / point
        place.mkdir(exist_ok=True)
        for number in range(times + skip):
            content = arm if number < times else arm | {"action": "pass"}
            aside = place / f".new-{number}"
            aside.write_text(json.dumps(content))
            aside.rename(place / str(number))

    def disarm(self) -> None:
        for place in (self.control / "armed").iterdir():
            for arm in place.iterdir():
                with suppress(FileNotFoundError):
                    arm.unlink()

    def fired(self) -> list[dict[str, Any]]:
        """Return what happened at fault points, in order; passes left out."""
        with suppress(FileNotFoundError):
            lines = (self.control / "fired").read_text().splitlines()
            return [told for told in map(json.loads, lines) if told["action"] != "pass"]
        return []

    def missing(self) -> set[str]:
        """Return points whose function does not exist."""
        with suppress(FileNotFoundError):
            return set((self.control / "missing").read_text().split())
        return set()

    def rows(self, query: str, write: bool = False) -> list[tuple[Any, ...]]:
        """Run SQL on the journal's database, past the worker."""
        if self.postgresql is not None:
            with psycopg.connect(self.postgresql.dsn, autocommit=True, connect_timeout=5) as connection:
                cursor = connection.execute(query.encode())
                return list(cursor.fetchall()) if cursor.description else []
        mode = "rw" if write else "ro"
        address = f"file:{self.data / 'journal.sqlite3'}?mode={mode}"
        with closing(sqlite3.connect(address, uri=True, timeout=60)) as connection, connection:
            return connection.execute(query).fetchall()

    def states(self) -> dict[str, tuple[str, str | None]]:
        """Return status and reason of every image."""
        found = self.rows("SELECT sop_instance_uid, status, reason FROM entry")
        return {uid: (status, reason) for uid, status, reason in found}

    def open_images(self, uids: Sequence[str]) -> list[str]:
        """Return those of the images that have no final state yet."""
        named = ", ".join(f"'{uid}'" for uid in uids)
        found = self.rows(f"SELECT sop_instance_uid, status FROM entry WHERE sop_instance_uid IN ({named})")
        ended = {uid for uid, status in found if status in ENDED}
        return [uid for uid in uids if uid not in ended]

    def backlog(self) -> list[str]:
        """Return all images in the journal that have no final state yet."""
        ended = ", ".join(f"'{status}'" for status in ENDED)
        found = self.rows(f"SELECT sop_instance_uid FROM entry WHERE status NOT IN ({ended})")
        return [uid for (uid,) in found]

    def wait_until_running(self, timeout_s: float = 90) -> None:
        """Wait until every role that was started again has said that it is ready."""
        for role in self.roles.values():
            wait_for(lambda role=role: role.is_ready(), timeout_s, f"{role.name} to be back")

    def log_text(self) -> str:
        """Return all logs of the roles."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.logs.iterdir()))

    def disk_use(self) -> int:
        """Return the bytes in the data folder."""
        total = 0
        for path in self.data.rglob("*"):
            with suppress(OSError):
                total += path.stat().st_size
        return total

    def _environment(self, role: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}
        return kept | {"OMP_NUM_THREADS": "1"} | self.settings | environment(self.control, role)

    def _settings(self) -> dict[str, str]:
        common: dict[str, Any] = {"capture": "monochrome", "timeout_s": 4}
        orthanc = common | {"ae_title": Orthanc.ae_title, "host": "127.0.0.1", "port": self.orthanc.port}
        recorder = common | {"ae_title": "RECORDER", "host": "127.0.0.1", "port": self.recorder.port}
        if "commitment" in Destination.model_fields:
            orthanc |= {"commitment": True, "commitment_timeout_s": 6}
        values = {
            "DATA_DIR": str(self.data),
            "PORT": str(self.port),
            "DESTINATIONS": json.dumps([orthanc, recorder]),
            "ALGORITHM": "both",
            "WEIGHTS": str(self.folder / "weights"),
            "BSNET_WEIGHTS": str(self.folder / "weights" / "bs-net"),
            "DEVICE": "cpu",
            "CLAIM_TIMEOUT_S": str(CLAIM_TIMEOUT_S),
            "SWEEP_INTERVAL_S": "0.5",
            "RING_AGAIN_AFTER_S": "2",
            "KEEP_DELIVERED_S": "8",
            "MAXIMUM_ATTEMPTS": "4",
        }
        if self.redis is not None:
            values["BROKER_URL"] = self.redis.url
        if self.postgresql is not None:
            values["DATABASE_URL"] = self.postgresql.url
        known = Settings.model_fields
        return {f"CXR_{name}": value for name, value in values.items() if name.lower() in known}
