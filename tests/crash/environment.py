"""Faults of the surroundings: what happens to a cluster while images are on their way.

Each function gets the scene, with some images answered already and more coming, and returns when the fault is
over and mended.
"""

from __future__ import annotations

import shutil
import signal
import socket
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from cluster import EMBEDDED, POSTGRESQL, Cluster
from films import Film
from modality import Modality
from pacs import order
from servers import wait_for

END_TIMEOUT_S = 150.0


@dataclass
class Scene:
    """One fault being played: its cluster, films, sender."""

    cluster: Cluster
    films: list[Film]
    modality: Modality
    sending: Future[Any] | None = None
    seconds: float = 3.0
    notes: dict[str, Any] = field(default_factory=dict)

    def wait_until_under_way(self) -> None:
        mine = {film.sop_instance_uid for film in self.films}
        wait_for(lambda: len(mine & self.modality.answered) >= min(3, len(mine)), 60, "three answers")

    def wait_until_ended(self, timeout_s: float = END_TIMEOUT_S) -> None:
        uids = [film.sop_instance_uid for film in self.films]
        wait_for(lambda: not self.cluster.open_images(uids), timeout_s, "the images' ends")

    def requeue(self) -> None:
        """What failed is started again, as an operator would."""
        done = self.cluster.command("requeue", "--failed")
        assert done.returncode == 0, done.stderr


@dataclass(frozen=True)
class Surrounding:
    """A fault of the surroundings.

    ``before`` is done before sending, ``during`` while images are on their way. ``fails`` says that images
    end FAILED until the operator says ``requeue``; None, that they may.
    """

    name: str
    during: Callable[[Scene], None]
    before: Callable[[Scene], None] | None = None
    kinds: tuple[str, ...] = ("sqlite", "postgresql", "embedded")
    core: bool = False
    fails: bool | None = False
    small_disk: bool = False
    captures_only: bool = False
    """Whether the recording PACS takes no reports: a capture alone is then what is promised."""
    stage: str = "surroundings"


def _nothing(_scene: Scene) -> None:
    pass


def _redis(scene: Scene) -> Any:
    assert scene.cluster.redis is not None
    return scene.cluster.redis


def redis_killed(scene: Scene) -> None:
    _redis(scene).kill()
    time.sleep(scene.seconds)
    _redis(scene).start()


def redis_flushed(scene: Scene) -> None:
    for _ in range(3):
        _redis(scene).flush()
        time.sleep(0.3)


def redis_stopped(scene: Scene) -> None:
    _redis(scene).signal(signal.SIGSTOP)
    time.sleep(scene.seconds)
    _redis(scene).signal(signal.SIGCONT)


def redis_restarted(scene: Scene) -> None:
    _redis(scene).stop()
    _redis(scene).start()


def database_killed(scene: Scene) -> None:
    server = scene.cluster.postgresql
    assert server is not None
    server.kill()
    time.sleep(scene.seconds)
    server.start()


def database_gone(scene: Scene) -> None:
    """PostgreSQL hangs; SQLite's file is locked by another process."""
    server = scene.cluster.postgresql
    if server is not None:
        server.signal(signal.SIGSTOP)
        time.sleep(scene.seconds)
        server.signal(signal.SIGCONT)
        return
    connection = sqlite3.connect(scene.cluster.data / "journal.sqlite3", timeout=60, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    time.sleep(scene.seconds)
    connection.execute("ROLLBACK")
    connection.close()


def connections_cut(scene: Scene) -> None:
    """The database ends every session, as behind a pooler or fail-over."""
    for _ in range(3):
        scene.cluster.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        time.sleep(0.3)


def recorder_killed(scene: Scene) -> None:
    scene.cluster.recorder.kill()
    time.sleep(scene.seconds)
    scene.cluster.recorder.start()


def orthanc_killed(scene: Scene) -> None:
    scene.cluster.orthanc.kill()
    time.sleep(scene.seconds)
    scene.cluster.orthanc.start()


def orthanc_stopped(scene: Scene) -> None:
    scene.cluster.orthanc.signal(signal.SIGSTOP)
    time.sleep(scene.seconds + 4)
    scene.cluster.orthanc.signal(signal.SIGCONT)


def power_cut(scene: Scene) -> None:
    for role in scene.cluster.roles.values():
        role.signal(signal.SIGKILL)


def power_cut_thrice(scene: Scene) -> None:
    for _ in range(3):
        power_cut(scene)
        time.sleep(1)


def everything_killed(scene: Scene) -> None:
    cluster = scene.cluster
    victims = [server for server in cluster.servers if server not in (cluster.orthanc, cluster.recorder)]
    power_cut(scene)
    for server in victims:
        server.kill()
    for server in victims:
        server.start()


def orderly_restart(scene: Scene) -> None:
    for role in scene.cluster.roles.values():
        role.signal(signal.SIGTERM, whole=False)


def bells_rung_twenty_times(scene: Scene) -> None:
    from worker.settings import Settings
    from worker.tasks import CeleryDoorbell, make_app

    bell = CeleryDoorbell(make_app(Settings(broker_url=_redis(scene).url)))
    for _ in range(20):
        for film in scene.films:
            bell.ring_score(film.sop_instance_uid)
            bell.ring_deliver(film.sop_instance_uid)


def sent_twenty_times_at_once(scene: Scene) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda film: scene.modality.send_at_once(film, 20), scene.films[:2]))


def all_sent_again(scene: Scene) -> None:
    assert scene.sending is not None
    scene.sending.result()
    for _ in range(2):
        scene.modality.send(scene.films)


def clock_jumps(hours: int) -> Callable[[Scene], None]:
    """Return what moves the journal's times, so that the clock seems to have jumped the other way."""

    def jump(scene: Scene) -> None:
        columns = {
            "entry": ("received_at", "updated_at", "due_at", "rung_at"),
            "delivery": ("created_at", "updated_at", "due_at", "rung_at"),
        }
        for table, names in columns.items():
            for name in names:
                new = f"{name} - interval '{hours} hours'"
                if scene.cluster.kind != POSTGRESQL:
                    new = f"strftime('%Y-%m-%d %H:%M:%f', {name}, '{-hours} hours') || '000'"
                uids = ", ".join(f"'{film.sop_instance_uid}'" for film in scene.films)
                where = f"{name} IS NOT NULL AND sop_instance_uid IN ({uids})"
                scene.cluster.rows(f"UPDATE {table} SET {name} = {new} WHERE {where}", write=True)

    return jump


def clock_of(role: str, offset_s: int) -> Callable[[Scene], None]:
    """Return what lets a role run with a wrong clock for a while."""

    def run(scene: Scene) -> None:
        watched = scene.cluster.roles["serve" if scene.cluster.kind == EMBEDDED else role]
        before = dict(watched.variables)
        for variables in (before | {"CRASH_CLOCK_S": str(offset_s)}, before):
            watched.variables = variables
            starts = watched.starts
            watched.signal(signal.SIGKILL)
            wait_for(lambda starts=starts: watched.starts > starts, 30, "a restart")
            scene.cluster.wait_until_running()
            time.sleep(scene.seconds)

    return run


def answers(status: int, times: int = 3) -> Callable[[Scene], None]:
    """Return what lets the recording PACS answer a status for a while."""
    return behaves(mode="status", status=status, times=times)


def behaves(**behaviour: Any) -> Callable[[Scene], None]:
    """Return what gives the recording PACS an order, before anything is sent."""
    return lambda scene: order(scene.cluster.recorder.folder, **behaviour)


def disk_filled(leave_bytes: int) -> Callable[[Scene], None]:
    """Return what fills the small disk up to a rest, and empties it again."""

    def fill(scene: Scene) -> None:
        filler = scene.cluster.data / "filler"
        try:
            with filler.open("wb", buffering=0) as file, suppress(OSError):
                block = bytes(1 << 16)
                while shutil.disk_usage(scene.cluster.data).free > leave_bytes:
                    file.write(block)
            time.sleep(scene.seconds + 3)
        finally:
            filler.unlink()

    return fill


def scored_on_full_disk(scene: Scene) -> None:
    """All images are in before the disk is full; scoring, reports and journal meet it."""
    assert scene.sending is not None
    held = scene.cluster.roles.get("score")
    if held is not None:
        held.signal(signal.SIGSTOP)
    scene.sending.result()
    if held is not None:
        held.signal(signal.SIGCONT)
    disk_filled(0)(scene)


def power_cut_and_clock_jumps(scene: Scene) -> None:
    """What was claimed when the power went seems to have been claimed in an hour from now."""
    power_cut(scene)
    clock_jumps(-1)(scene)


def port_scanned(scene: Scene) -> None:
    """Health checks, half-open connections and garbage while images come."""
    held = []
    for number in range(60):
        probe = socket.create_connection(("127.0.0.1", scene.cluster.port), 5)
        if number % 3 == 0:
            probe.close()
            continue
        if number % 3 == 1:
            probe.sendall(b"GET / HTTP/1.1\r\n\r\n")
        held.append(probe)
    time.sleep(scene.seconds)
    for probe in held:
        probe.close()


def undisturbed(scene: Scene) -> None:
    """Nothing at all is wrong: the yardstick."""
    scene.wait_until_under_way()


_ROLES = ("sqlite", "postgresql")
_REFUSED = (0xA900, 0xC000, 0x0122, 0x0124)
_AGAIN = (0xA700, 0xA701, 0x0110, 0x0213)
_TAKEN = (0xB000, 0xB006, 0xB007, 0x0111, 0x0107, 0x0116)

SURROUNDINGS = (
    Surrounding("no fault", undisturbed),
    Surrounding("Redis killed and back", redis_killed, kinds=_ROLES, core=True),
    Surrounding("Redis flushed", redis_flushed, kinds=_ROLES),
    Surrounding("Redis hangs", redis_stopped, kinds=_ROLES),
    Surrounding("Redis restarted", redis_restarted, kinds=_ROLES),
    Surrounding("database killed and back", database_killed, kinds=("postgresql",), core=True),
    Surrounding("database gone for a while", database_gone, core=True),
    Surrounding("database's sessions cut", connections_cut, kinds=("postgresql",)),
    Surrounding("PACS killed and back", recorder_killed),
    Surrounding("other PACS killed and back", orthanc_killed),
    Surrounding("other PACS hangs", orthanc_stopped),
    Surrounding("PACS refuses associations", _nothing, behaves(mode="refuse", times=4)),
    Surrounding("PACS breaks off", _nothing, behaves(mode="abort", times=3)),
    Surrounding("PACS breaks off half-way", _nothing, behaves(mode="half", times=4)),
    Surrounding("PACS keeps but does not answer", _nothing, behaves(mode="lose", times=3)),
    Surrounding("PACS hangs past the timeout", _nothing, behaves(mode="hang", seconds=6, times=2)),
    Surrounding("PACS is slow", _nothing, behaves(mode="hang", seconds=0.5, times=8)),
    *(Surrounding(f"PACS answers 0x{status:04X}", _nothing, answers(status)) for status in _AGAIN),
    *(Surrounding(f"PACS answers 0x{status:04X}", _nothing, answers(status, 1000)) for status in _TAKEN),
    *(
        Surrounding(f"PACS answers 0x{status:04X}", _nothing, answers(status), fails=True)
        for status in _REFUSED
    ),
    Surrounding(
        "PACS refuses reports alone",
        _nothing,
        behaves(mode="status", status=0x0122, modality="SR", times=1000),
        captures_only=True,
    ),
    Surrounding("all roles killed at once", power_cut, core=True),
    Surrounding("all roles killed three times", power_cut_thrice),
    Surrounding("roles, Redis and database killed", everything_killed),
    Surrounding("all roles told to end", orderly_restart),
    Surrounding("every bell rung twenty times", bells_rung_twenty_times, kinds=_ROLES),
    Surrounding("two images sent 20 times at once", sent_twenty_times_at_once, core=True),
    Surrounding("all sent again, twice", all_sent_again),
    Surrounding("clock jumps an hour ahead", clock_jumps(1)),
    Surrounding("clock jumps an hour back", clock_jumps(-1), core=True),
    Surrounding("all killed, clock back an hour", power_cut_and_clock_jumps),
    Surrounding("port scans and silent connections", port_scanned),
    Surrounding("disk almost full: refused in time", disk_filled(4 << 20), small_disk=True),
    Surrounding("disk full to the last byte", disk_filled(0), small_disk=True),
    Surrounding("images scored on a full disk", scored_on_full_disk, small_disk=True),
    Surrounding("sweeper's clock an hour ahead", clock_of("sweep", 3600), kinds=_ROLES),
    Surrounding("sweeper's clock an hour behind", clock_of("sweep", -3600), kinds=_ROLES),
    Surrounding("scorer's clock an hour ahead", clock_of("score", 3600)),
    # its claims look dead to the sweeper at once: hosts' clocks have to agree within the claim's time
    Surrounding("scorer's clock an hour behind", clock_of("score", -3600), fails=None),
    Surrounding("deliverer's clock an hour ahead", clock_of("deliver", 3600), kinds=_ROLES),
    Surrounding("deliverer's clock an hour behind", clock_of("deliver", -3600), kinds=_ROLES),
)
