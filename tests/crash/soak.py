"""The soak: thousands of images with faults at random from a seed, bounded in time and disk.

``python tests/crash/soak.py --images 5000 --faults 200 --seed 1 --minutes 60``. Images and faults are shared
out among the kinds of installation, which run side by side.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import environment
from cluster import EMBEDDED, POSTGRESQL, SQLITE, Cluster
from environment import Scene
from faults import FAULTS, POINTS
from films import Film, make_films
from guard import guarding
from judge import Judge
from modality import Modality
from pacs import order
from rich.console import Console
from rich.table import Table
from servers import wait_for

_DISK_MB = 600
_BATCH = 20
_UNDER_WAY = 80
"""Images that may be under way before more are sent."""


@dataclass
class Outcome:
    """What a soak of one installation came to."""

    database: str
    images: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    resent: int = 0
    requeued: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    peak_mb: float = 0.0
    minutes: float = 0.0

    @property
    def passed(self) -> bool:
        return not (self.lost or self.doubled or self.problems)


class Soak:
    """One installation under random faults.

    Parameters
    ----------
    cluster : Cluster
        Started.
    images, faults : int
        How many.
    rng : random.Random
        Decides everything that is random.
    deadline : float
        ``time.monotonic`` after which no image is sent any more.
    """

    def __init__(
        self, cluster: Cluster, images: int, faults: int, rng: random.Random, deadline: float
    ) -> None:
        self.cluster = cluster
        self.outcome = Outcome(cluster.kind)
        self.judge = Judge(cluster)
        self.films: list[Film] = []
        self._images = images
        self._rng = rng
        self._film_rng = random.Random(rng.random())
        self._deadline = deadline
        self._modality = Modality(cluster.port, associations=6)
        self._over = threading.Event()
        plays = self._plays()
        names = rng.choices(list(plays), [weight for weight, _ in plays.values()], k=faults)
        if faults >= 20:
            names[faults // 2] = "database gone for 35 s"
        self._schedule = sorted((rng.randrange(images), name) for name in names)
        self._play = {name: play for name, (_, play) in plays.items()}

    def run(self, tell: Callable[[str], None]) -> Outcome:
        """Send all images under faults, let everything heal, and judge."""
        started = time.monotonic()
        faulting = threading.Thread(target=self._fault, args=(tell,), daemon=True)
        watching = threading.Thread(target=self._watch, args=(tell,), daemon=True)
        faulting.start()
        watching.start()
        while len(self.films) < self._images and time.monotonic() < self._deadline:
            self._send_batch()
        self._over.set()
        faulting.join()
        watching.join()
        self._heal()
        self._judge()
        self.outcome.minutes = round((time.monotonic() - started) / 60, 1)
        return self.outcome

    def _send_batch(self) -> None:
        films = make_films(min(_BATCH, self._images - len(self.films)), self._film_rng.randrange(1 << 30))
        self.judge.expect(replace(film, encoded=b"") for film in films)
        left = self._modality.send(films, give_up_after_s=300)
        if left:
            self.outcome.problems.append(f"{len(left)} images got no Success within 300 s")
        self.films += [replace(film, encoded=b"") for film in films if film not in left]
        with suppress(TimeoutError):
            wait_for(lambda: len(self.cluster.backlog()) < _UNDER_WAY, 300, "the backlog", 0.5)

    def _fault(self, tell: Callable[[str], None]) -> None:
        for after, name in self._schedule:
            while len(self.films) < after and not self._over.is_set():
                time.sleep(0.2)
            scene = Scene(self.cluster, [], self._modality, seconds=self._rng.uniform(1, 6))
            try:
                time.sleep(self._rng.random())
                if not self._play[name](scene):
                    # nothing was there to be hit; a process always is
                    name = f"{self._rng.choice(list(self.cluster.roles))} killed"  # noqa: PLW2901
                    self._play[name](scene)
                self.outcome.faults[name] += 1
            except Exception as error:
                tell(f"{self.cluster.kind}: {name} could not be played: {type(error).__name__}: {error}")
        self.cluster.disarm()
        order(self.cluster.recorder.folder)

    def _watch(self, tell: Callable[[str], None]) -> None:
        while not self._over.wait(10):
            self._measure()
            with suppress(Exception):
                self.judge.collect()
                told = f"{len(self.films)} images, {len(self.cluster.backlog())} under way"
                tell(f"{self.cluster.kind}: {told}, {self.outcome.faults.total()} faults")

    def _measure(self) -> None:
        self.outcome.peak_mb = max(self.outcome.peak_mb, round(self.cluster.disk_use() / 1e6, 1))

    def _heal(self) -> None:
        """Let everything end; what failed is requeued, as an operator would."""
        for _ in range(10):
            with suppress(TimeoutError):
                wait_for(lambda: not self.cluster.backlog(), 200, "the images' ends", 1.0)
            failed = [uid for uid, (status, _) in self.cluster.states().items() if status == "FAILED"]
            if not failed:
                return
            self.outcome.requeued += len(failed)
            self.cluster.command("requeue", "--failed")

    def _judge(self) -> None:
        self._measure()
        self.judge.collect()
        verdict = self.judge.judge(self.films)
        outcome = self.outcome
        outcome.images = len(self.films)
        outcome.resent = self._modality.statuses.total() - len(self._modality.answered)
        outcome.lost, outcome.doubled = verdict.lost + verdict.stuck, verdict.doubled
        outcome.problems += verdict.wrong + verdict.foreign + self.judge.check_whole(self.films)

    def _plays(self) -> dict[str, tuple[int, Callable[[Scene], bool]]]:
        """Return each kind of fault with its weight; what they return says whether it happened."""
        roles = list(self.cluster.roles)
        plays: dict[str, tuple[int, Callable[[Scene], bool]]] = {
            f"{role} killed": (40 // len(roles), self._killing(role)) for role in roles
        }
        plays["killed at a fault point"] = (60, self._at_point)
        plays["all roles killed"] = (5, _done(environment.power_cut))
        plays["PACS killed"] = (6, _done(environment.recorder_killed))
        plays["other PACS killed"] = (4, _done(environment.orthanc_killed))
        plays["PACS misbehaves"] = (20, self._misbehave)
        plays["clock jumps"] = (4, self._jump)
        plays["disk full"] = (4, self._fill)
        plays["database gone"] = (5, _done(environment.database_gone))
        plays["database gone for 35 s"] = (0, self._database_gone_for_long)
        if self.cluster.kind != EMBEDDED:
            plays["Redis killed"] = (8, _done(environment.redis_killed))
            plays["Redis flushed"] = (8, _done(environment.redis_flushed))
            plays["Redis hangs"] = (4, _done(environment.redis_stopped))
        if self.cluster.kind == POSTGRESQL:
            plays["database killed"] = (6, _done(environment.database_killed))
            plays["database's sessions cut"] = (4, _done(environment.connections_cut))
        return plays

    def _killing(self, role: str) -> Callable[[Scene], bool]:
        def kill(_scene: Scene) -> bool:
            self.cluster.roles[role].signal(signal.SIGKILL, whole=self._rng.random() < 0.7)
            return True

        return kill

    def _at_point(self, _scene: Scene) -> bool:
        embedded = self.cluster.kind == EMBEDDED
        usable = [fault for fault in FAULTS if len(fault.arms) == 1 and (fault.embedded or not embedded)]
        arms = [arm for fault in usable for arm in fault.arms if arm.action in ("kill", "group")]
        arm = self._rng.choice(arms)
        before = len(self.cluster.fired())
        self.cluster.arm(arm.point, **arm.arguments(embedded))
        with suppress(TimeoutError):
            wait_for(lambda: len(self.cluster.fired()) > before or self._over.is_set(), 15, "the fault point")
        self.cluster.disarm()
        return len(self.cluster.fired()) > before

    def _misbehave(self, scene: Scene) -> bool:
        orders = [
            {"mode": mode, "times": self._rng.randint(1, 6)} for mode in ("refuse", "abort", "half", "lose")
        ]
        orders.append({"mode": "hang", "seconds": self._rng.choice((0.5, 6)), "times": 2})
        statuses = (0xA700, 0x0110, 0x0122, 0xA900, 0xC000, 0xB000, 0xB006, 0x0111)
        orders += [{"mode": "status", "status": status, "times": 3} for status in statuses]
        order(self.cluster.recorder.folder, **self._rng.choice(orders))
        time.sleep(scene.seconds)
        return True

    def _jump(self, scene: Scene) -> bool:
        scene.films = [Film(uid, "", b"") for uid in self.cluster.backlog()]
        if scene.films:
            environment.clock_jumps(self._rng.choice((1, -1)))(scene)
        return bool(scene.films)

    def _fill(self, scene: Scene) -> bool:
        if not self.cluster.has_small_disk:
            return False
        environment.disk_filled(self._rng.choice((0, 4 << 20)))(scene)
        return True

    def _database_gone_for_long(self, scene: Scene) -> bool:
        scene.seconds = 35
        environment.database_gone(scene)
        return True


def _done(play: Callable[[Scene], None]) -> Callable[[Scene], bool]:
    def run(scene: Scene) -> bool:
        play(scene)
        return True

    return run


def soak(kind: str, folder: Path, options: argparse.Namespace, tell: Callable[[str], None]) -> Outcome:
    """Build one installation, soak it, and take it down."""
    share = len(options.databases.split(","))
    cluster = Cluster(kind, folder, POINTS)
    cluster.limit_disk(_DISK_MB)
    try:
        cluster.start()
        rng = random.Random(f"{options.seed} {kind}")
        deadline = time.monotonic() + 60 * options.minutes
        images, faults = -(-options.images // share), -(-options.faults // share)
        return Soak(cluster, images, faults, rng, deadline).run(tell)
    finally:
        cluster.stop()


def print_outcomes(console: Console, outcomes: list[Outcome]) -> None:
    table = Table(title="Soak")
    for column in (
        "database",
        "images",
        "faults",
        "sent again",
        "requeued",
        "lost",
        "doubled",
        "peak MB",
        "min",
    ):
        table.add_column(column, justify="right")
    for one in outcomes:
        counts = (one.images, one.faults.total(), one.resent, one.requeued, len(one.lost), len(one.doubled))
        table.add_row(one.database, *map(str, (*counts, one.peak_mb, one.minutes)))
    console.print(table)
    faults: Counter[str] = sum((one.faults for one in outcomes), Counter())
    console.print(", ".join(f"{count} x {name}" for name, count in faults.most_common()))
    for one in outcomes:
        for told in one.lost + one.doubled + one.problems:
            console.print(f"{one.database}: {told}", markup=False)
    console.print("kept" if all(one.passed for one in outcomes) else "BROKEN")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60, help="no image is sent after that")
    parser.add_argument("--databases", default=f"{SQLITE},{POSTGRESQL}", help="kinds of installation")
    parser.add_argument("--json", type=Path, help="where to write the outcome")
    parser.add_argument("--folder", type=Path, help="keep all files there")
    parser.add_argument("--matrix", action="store_true", help="the crash matrix first")
    options = parser.parse_args()
    matrix = [sys.executable, str(Path(__file__).parent / "matrix.py")]
    if options.matrix and subprocess.run(matrix, check=False).returncode:
        return 1
    console = Console(highlight=False)
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="cxr-soak-"))).resolve()

    def run(kind: str) -> Outcome:
        return soak(kind, folder / kind, options, lambda line: console.print(line, markup=False))

    kinds = options.databases.split(",")
    with guarding(folder), ThreadPoolExecutor(len(kinds)) as pool:
        outcomes = list(pool.map(run, kinds))
    print_outcomes(console, outcomes)
    if options.json:
        more = {"seed": options.seed}
        told = [vars(one) | more | {"passed": one.passed, "faults": dict(one.faults)} for one in outcomes]
        options.json.write_text(json.dumps(told, indent=1))
    if not options.folder:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if all(one.passed for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
