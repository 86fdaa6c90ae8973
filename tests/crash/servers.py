"""Redis, PostgreSQL, Orthanc and the recording PACS as processes that can be killed and come back."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import psycopg
import redis

HERE = Path(__file__).resolve().parent
POSTGRESQL = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))


class NotInstalled(Exception):
    """A program that a cluster needs is missing."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_program(name: str) -> str:
    folders = [str(path) for path in reversed(POSTGRESQL)] + ["/usr/bin", "/usr/sbin", "/usr/local/bin"]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        raise NotInstalled(f"{name} is not installed; `make test` installs it on Debian and Ubuntu")
    return found


def wait_for(condition: Callable[[], object], timeout_s: float, what: str, interval_s: float = 0.1) -> None:
    """Wait until a condition holds; what it raises counts as not yet."""
    deadline = time.monotonic() + timeout_s
    while True:
        with suppress(Exception):
            if condition():
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s:.0f} s in vain for {what}")
        time.sleep(interval_s)


def signal_family(pid: int, number: int) -> None:
    """Send a signal to a process and all its descendants, whatever groups and sessions they made."""
    for member in (pid, *_descendants(pid)):
        with suppress(ProcessLookupError):
            os.kill(member, number)


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found, waiting = [], [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


class Server:
    """One server process of a cluster, in a process group of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    def user(self) -> str | None:
        """The system user that it runs as, if not this one."""

    def start(self, wait: bool = True) -> None:
        user = self.user()
        group = pwd.getpwnam(user).pw_gid if user else None
        self._output = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            self.command(),
            stdout=self._output,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            user=user,
            group=group,
            start_new_session=True,
        )
        if wait:
            self.wait()

    def wait(self) -> None:
        wait_for(self.answers, 60, f"{self.name}, see {self.folder / 'log'}")

    def signal(self, number: int) -> None:
        """Send a signal to all its processes."""
        if self._process is not None:
            signal_family(self._process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._reap()

    def stop(self) -> None:
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self._reap(timeout_s=10)
        except subprocess.TimeoutExpired:
            self.kill()

    def _reap(self, timeout_s: float | None = None) -> None:
        if self._process is not None:
            self._process.wait(timeout_s)
            self._process = None
        if self._output is not None:
            self._output.close()


class Redis(Server):
    """Redis without any persistence: what it knew is gone when it dies."""

    def __init__(self, folder: Path) -> None:
        super().__init__("redis", folder)
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> Sequence[str]:
        options = f"--port {self.port} --bind 127.0.0.1 --appendonly no --save".split()
        return [find_program("redis-server"), *options, ""]

    def answers(self) -> bool:
        with redis.Redis.from_url(self.url, socket_timeout=2) as client:
            return bool(client.ping())

    def flush(self) -> None:
        with redis.Redis.from_url(self.url, socket_timeout=5) as client:
            client.flushall()


class PostgreSQL(Server):
    """PostgreSQL with the durability that the journal counts on."""

    def __init__(self, folder: Path) -> None:
        super().__init__("postgresql", folder)
        self.dsn = f"postgresql://cxr@127.0.0.1:{self.port}/postgres"
        self.url = f"postgresql+psycopg://cxr@127.0.0.1:{self.port}/postgres"
        if self.user():
            shutil.chown(self.folder, self.user())
            for parent in self.folder.parents[:3]:
                parent.chmod(parent.stat().st_mode | 0o011)
        options = ["--auth=trust", "--username=cxr", "--encoding=UTF8", "--locale=C", "--no-sync"]
        subprocess.run(
            [find_program("initdb"), *options, str(self.folder / "data")],
            check=True,
            capture_output=True,
            user=self.user(),
            cwd=self.folder,
        )

    def user(self) -> str | None:
        # PostgreSQL refuses to run as root
        return "postgres" if os.geteuid() == 0 else None

    def command(self) -> Sequence[str]:
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        options = ["-p", str(self.port), "-c", "listen_addresses=127.0.0.1"]
        options += ["-c", f"unix_socket_directories={self.folder}", "-c", "max_connections=200"]
        return [find_program("postgres"), "-D", str(self.folder / "data"), *options]

    def answers(self) -> bool:
        psycopg.connect(self.dsn, connect_timeout=2).close()
        return True


class Orthanc(Server):
    """Orthanc as PACS; it knows the worker, to report storage commitments to it."""

    ae_title = "ORTHANC"

    def __init__(self, folder: Path, worker_port: int) -> None:
        super().__init__("orthanc", folder)
        self.http_port = free_port()
        settings = {
            "DicomAet": self.ae_title,
            "DicomPort": self.port,
            "HttpPort": self.http_port,
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowEcho": True,
            "UnknownSopClassAccepted": True,
            "StableAge": 3600,
            "DicomModalities": {"worker": ["CXRWORKER", "127.0.0.1", worker_port]},
        }
        (self.folder / "orthanc.json").write_text(json.dumps(settings))

    def command(self) -> Sequence[str]:
        return [find_program("Orthanc"), str(self.folder / "orthanc.json")]

    def answers(self) -> bool:
        return bool(self.get("/system"))

    def get(self, path: str) -> bytes:
        address = f"http://127.0.0.1:{self.http_port}{path}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return bytes(answer.read())

    def instances(self) -> list[str]:
        """Orthanc's own identifiers of what it holds."""
        return list(json.loads(self.get("/instances")))


class RecordingPACS(Server):
    """``pacs.py`` in a process of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__("recorder", folder)

    def command(self) -> Sequence[str]:
        return [sys.executable, str(HERE / "pacs.py"), str(self.folder), str(self.port)]

    def answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), 2):
            return True
