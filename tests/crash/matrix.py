"""The crash matrix: every fault, on every kind of installation, with images on their way.

``python tests/crash/matrix.py --images 10 --json FILE`` plays all of it and prints a table; a fault passes
when every image that was answered Success has exactly one SR and one SC of each algorithm everywhere.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster import EMBEDDED, KINDS, Cluster
from environment import END_TIMEOUT_S, SURROUNDINGS, Scene, Surrounding
from faults import CLAIM_TIMEOUT_S, FAULTS, POINTS, Arm, Fault
from films import Film, make_films
from guard import guarding
from judge import Judge, Verdict
from modality import Modality
from pacs import order
from rich.console import Console
from rich.table import Table
from servers import wait_for
from special import SPECIAL_POINTS, SPECIALS, Special

DISK_MB = 400
WHOLE = ("whole", "all images together")
"""Stage and name of the row that looks at everything once more."""

_EMBEDDED_CORE = (
    "in the middle of the PDUs",
    "committed, not known",
    "in inference",
    "before mark_reported's commit",
    "PACS answered, journal does not know",
    "all roles killed at once",
)
"""What every test run plays on an embedded installation, which takes long to come back."""

Playable = Fault | Special | Surrounding


@dataclass(frozen=True)
class Row:
    """One fault on one kind of installation."""

    stage: str
    fault: str
    database: str
    images: int
    lost: int
    doubled: int
    resent: int
    seconds: float
    passed: bool
    told: str


class Player:
    """Plays faults on one cluster, one after the other."""

    def __init__(self, cluster: Cluster, images: int) -> None:
        self.cluster = cluster
        self.judge = Judge(cluster)
        self.sent: list[Film] = []
        self._images = images

    def play(self, fault: Playable) -> Row:
        """Play one fault and judge what became of its images."""
        started = time.monotonic()
        films = make_films(self._images)
        self.sent += films
        self.judge.expect(films)
        scene = Scene(self.cluster, films, Modality(self.cluster.port))
        wrong, verdict = "", Verdict(images=len(films))
        try:
            if isinstance(fault, Surrounding):
                self._play_surrounding(fault, scene)
            elif isinstance(fault, Special):
                fault.play(scene)
                self._finish(scene)
            else:
                self._play_points(fault, scene)
        except (TimeoutError, AssertionError, OSError) as error:
            wrong = f"{type(error).__name__}: {error}"
        finally:
            self.cluster.disarm()
            order(self.cluster.recorder.folder)
        with suppress(TimeoutError):
            scene.wait_until_ended(5 if wrong else END_TIMEOUT_S)
        self.judge.collect()
        captures_only = isinstance(fault, Surrounding) and fault.captures_only
        verdict = self.judge.judge(films, captures_only=captures_only)
        told = "; ".join(filter(None, (wrong, "" if verdict.kept else verdict.words())))
        resent = scene.modality.statuses.total() - len(scene.modality.answered)
        return Row(
            stage=fault.stage,
            fault=fault.name,
            database=self.cluster.kind,
            images=len(films),
            lost=len(verdict.lost) + len(verdict.stuck),
            doubled=len(verdict.doubled),
            resent=resent,
            seconds=round(time.monotonic() - started, 1),
            passed=verdict.kept and not wrong,
            told=told,
        )

    def check_whole(self) -> Row:
        """Judge everything once more at the end, with counts, logs and leftovers."""
        started = time.monotonic()
        problems = []
        with suppress(TimeoutError):
            self._wait_for_commitments()
        self.judge.collect()
        problems += self.judge.check_whole(self.sent)
        problems += [f"no such point: {name}" for name in sorted(self.cluster.missing())]
        return Row(
            stage=WHOLE[0],
            fault=WHOLE[1],
            database=self.cluster.kind,
            images=len(self.sent),
            lost=0,
            doubled=0,
            resent=0,
            seconds=round(time.monotonic() - started, 1),
            passed=not problems,
            told="; ".join(problems),
        )

    def _play_points(self, fault: Fault, scene: Scene) -> None:
        before = len(self.cluster.fired())
        for arm in fault.arms:
            self._arm(arm)
        wanted = sum(arm.times for arm in fault.arms)
        with ThreadPoolExecutor(1) as pool:
            scene.sending = pool.submit(scene.modality.send, scene.films)
            wait_for(lambda: len(self.cluster.fired()) - before >= wanted, 90, "the fault point to be passed")
            for told in self.cluster.fired()[before:]:
                if told["action"] == "stop":
                    time.sleep(CLAIM_TIMEOUT_S + 2)
                    with suppress(ProcessLookupError):
                        os.kill(told["pid"], signal.SIGCONT)
        self._finish(scene)

    def _play_surrounding(self, fault: Surrounding, scene: Scene) -> None:
        if fault.before:
            fault.before(scene)
        with ThreadPoolExecutor(1) as pool:
            scene.sending = pool.submit(scene.modality.send, scene.films)
            scene.wait_until_under_way()
            fault.during(scene)
        self._finish(scene)
        if fault.fails is not False:
            failed = [uid for uid, (status, _) in self.cluster.states().items() if status == "FAILED"]
            assert failed or fault.fails is None, "no image failed"
            scene.requeue()
            self._finish(scene)

    def _arm(self, arm: Arm) -> None:
        self.cluster.arm(arm.point, **arm.arguments(self.cluster.kind == EMBEDDED))

    def _finish(self, scene: Scene) -> None:
        assert scene.sending is None or not scene.sending.result(), "films never got a Success"
        scene.wait_until_ended()

    def _wait_for_commitments(self) -> None:
        if "commitment" not in self.cluster.settings["CXR_DESTINATIONS"]:
            return
        reported = {film.sop_instance_uid for film in self.sent if film.reported}

        def committed() -> bool:
            states = self.cluster.states()
            return all(states[uid][0] == "COMMITTED" for uid in reported)

        wait_for(committed, 60, "commitments")


def chosen(kind: str, core: bool = False, only: str = "") -> Iterator[Playable]:
    """Return the faults to play on a kind of installation; those of the small disk last."""
    faults: list[Playable] = [*FAULTS, *SPECIALS]
    if kind == EMBEDDED:
        faults = [fault for fault in faults if getattr(fault, "embedded", True)]
    faults += [fault for fault in SURROUNDINGS if kind in fault.kinds]
    for fault in faults:
        telling = fault.name in _EMBEDDED_CORE if kind == EMBEDDED else fault.core
        if (telling or not core) and only.lower() in f"{fault.stage}: {fault.name}".lower():
            yield fault


def play_all(
    kind: str,
    folder: Path,
    images: int,
    faults: Sequence[Playable],
    tell: Callable[[Row], None],
) -> list[Row]:
    """Build a cluster, play faults on it, and take it down; ``tell`` hears of each row."""
    cluster = Cluster(kind, folder, [*POINTS, *SPECIAL_POINTS])
    small_disk = cluster.limit_disk(DISK_MB)
    rows: list[Row] = []
    try:
        cluster.start()
        player = Player(cluster, images)
        for fault in faults:
            if isinstance(fault, Surrounding) and fault.small_disk and not small_disk:
                continue
            rows.append(player.play(fault))
            tell(rows[-1])
            with suppress(TimeoutError):
                cluster.wait_until_running()
        rows.append(player.check_whole())
        tell(rows[-1])
    finally:
        cluster.stop()
    return rows


def print_rows(console: Console, rows: Sequence[Row]) -> None:
    table = Table(title="Crash matrix")
    for column in ("stage", "fault", "database", "images", "lost", "doubled", "s", ""):
        table.add_column(column, overflow="fold")
    for row in rows:
        told = "kept" if row.passed else f"BROKEN {row.told}"
        counts = (row.images, row.lost, row.doubled, row.seconds)
        table.add_row(row.stage, row.fault, row.database, *map(str, counts), told)
    console.print(table)
    played = [row for row in rows if row.stage != WHOLE[0]]
    console.print(
        f"{len({(row.stage, row.fault) for row in played})} faults, {len(played)} plays, "
        f"{sum(row.images for row in played)} images, {sum(row.lost for row in played)} lost, "
        f"{sum(row.doubled for row in played)} doubled, {sum(not row.passed for row in rows)} not passed"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10, help="for each fault")
    parser.add_argument("--databases", default=",".join(KINDS), help="kinds of installation")
    parser.add_argument("--only", default="", help="faults whose 'stage: name' contains this")
    parser.add_argument("--core", action="store_true", help="only what every test run plays")
    parser.add_argument("--json", type=Path, help="where to write the rows")
    parser.add_argument("--folder", type=Path, help="keep all files there")
    options = parser.parse_args()
    console = Console(highlight=False)
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="cxr-crash-"))).resolve()

    def tell(row: Row) -> None:
        told = "kept" if row.passed else f"BROKEN: {row.told}"
        console.print(f"{row.database}: {row.stage}: {row.fault}: {row.seconds} s, {told}", markup=False)

    def run(kind: str) -> list[Row]:
        return play_all(
            kind, folder / kind, options.images, list(chosen(kind, options.core, options.only)), tell
        )

    kinds = options.databases.split(",")
    with guarding(folder), ThreadPoolExecutor(len(kinds)) as pool:
        rows = [row for found in pool.map(run, kinds) for row in found]
    print_rows(console, rows)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    if not options.folder:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if all(row.passed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
