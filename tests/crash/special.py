"""Faults that need a plot of their own."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

from environment import Scene
from servers import wait_for

_READ = "worker.spool:Spool.read_instance:after"
_LINK = "os:link:after"
_COMMIT = "sqlalchemy.engine.default:DefaultDialect.do_commit:before"
_ASIDE_BEFORE, _ASIDE_AFTER = "os:rename:before", "os:rename:after"
SPECIAL_POINTS = (_READ, _LINK, _COMMIT, _ASIDE_BEFORE, _ASIDE_AFTER)


@dataclass(frozen=True)
class Special:
    """A fault that sends its films itself."""

    name: str
    stage: str
    play: Callable[[Scene], None]
    core: bool = False
    embedded: bool = True


def poison(scene: Scene) -> None:
    """The first image kills whoever scores it until its attempts are used up; the others go on."""
    cluster, uid = scene.cluster, scene.films[0].sop_instance_uid
    attempts = int(cluster.settings["CXR_MAXIMUM_ATTEMPTS"])
    cluster.arm(_READ, times=attempts + 5, match=uid)
    assert not scene.modality.send(scene.films), "films were not taken"
    scene.wait_until_ended()
    assert cluster.states()[uid][0] == "FAILED", f"the poison image ended {cluster.states()[uid]}"
    left = len(list((cluster.control / "armed" / _READ).glob("[0-9]*")))
    assert left == 5, f"it was tried {attempts + 5 - left} times instead of {attempts}"
    cluster.disarm()
    scene.requeue()


def orphan_set_aside(scene: Scene) -> None:
    """A file without a row, a day old, is sent again just when the sweeper takes it away, and that dies."""
    cluster, film = scene.cluster, scene.films[0]
    cluster.arm(_LINK, role="listen", within="write_instance")
    scene.modality.send([film], give_up_after_s=1)
    cluster.wait_until_running()
    name = f"{hashlib.sha256(film.sop_instance_uid.encode()).hexdigest()}.dcm"
    os.utime(cluster.data / "spool" / "instances" / name, (0, 0))
    cluster.roles["score"].signal(signal.SIGSTOP)
    before = len(cluster.fired())
    cluster.arm(_ASIDE_BEFORE, role="sweep", within="remove_orphans", action="hang", seconds=4)
    cluster.arm(_ASIDE_AFTER, role="sweep", within="remove_orphans")
    cluster.roles["sweep"].signal(signal.SIGKILL)
    wait_for(lambda: len(cluster.fired()) > before, 60, "the sweeper to find the file")
    assert not scene.modality.send(scene.films), "films were not taken"
    wait_for(lambda: len(cluster.fired()) > before + 1, 60, "the sweeper's end")
    cluster.roles["score"].signal(signal.SIGCONT)


def reprocessed(scene: Scene) -> None:
    """Films that have their reports are scored again by the same algorithm; command and scorer die of it."""
    cluster = scene.cluster
    uids = [film.sop_instance_uid for film in scene.films if film.reported]
    assert not scene.modality.send(scene.films), "films were not taken"
    scene.wait_until_ended()
    before = len(cluster.fired())
    cluster.arm(_COMMIT, role="command", within="start", skip=1)
    assert cluster.command("reprocess", *uids).returncode < 0, "the command was not killed"
    cluster.arm(_COMMIT, role="" if "serve" in cluster.roles else "score", within="mark_reported")
    # Sent again: retention may have taken their files.
    assert not scene.modality.send(scene.films), "films were not taken again"
    done = cluster.command("reprocess", *uids)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: len(cluster.fired()) > before + 1, 60, f"the scorer's end; {done.stdout} {done.stderr}")
    scene.wait_until_ended()
    taken = cluster.rows("SELECT DISTINCT sop_instance_uid FROM event WHERE what LIKE 'to be reprocessed%'")
    assert {uid for (uid,) in taken} & set(uids), f"none was reprocessed: {done.stderr}"


SPECIALS = (
    Special("poison image kills its worker each time", "scoring", poison),
    Special("scored again, command and scorer killed", "scoring", reprocessed, core=True),
    Special("orphan set aside, sweeper killed", "sweeper", orphan_set_aside, embedded=False),
)
