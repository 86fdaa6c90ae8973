"""Whether the promise was kept: every Success has exactly one SR and one SC of each algorithm everywhere."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from cluster import EMBEDDED, Cluster
from films import NAME_MARK, Film
from pacs import describe
from servers import wait_for

from worker.entry import ALGORITHMS


def _of_each(*kinds: str) -> set[str]:
    return {f"{kind} by {algorithm}" for kind in kinds for algorithm in ALGORITHMS}


@dataclass
class Verdict:
    """What the judge found of some images; every list should be empty."""

    images: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        return not (self.lost or self.doubled or self.stuck or self.foreign or self.wrong)

    def words(self) -> str:
        named = {name: getattr(self, name) for name in ("lost", "doubled", "stuck", "foreign", "wrong")}
        return "; ".join(f"{name}: {', '.join(items)}" for name, items in named.items() if items) or "kept"


class Judge:
    """Reads what arrived at both destinations of a cluster, a little more each time.

    Parameters
    ----------
    cluster : Cluster
        The installation.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._read = 0
        self._known: set[str] = set()
        # by destination and source: by modality: UIDs; by UID: digests and how often
        self._arrived: dict[str, dict[str, dict[str, set[str]]]] = {"orthanc": {}, "recorder": {}}
        self._digests: dict[str, set[str]] = defaultdict(set)
        self.receipts: Counter[str] = Counter()
        self._films: dict[str, Film] = {}
        self._foreign: list[str] = []

    def expect(self, films: Iterable[Film]) -> None:
        """Say which films are sent; before anything of them is collected."""
        self._films.update({film.sop_instance_uid: film for film in films})

    def collect(self) -> None:
        """Take in what the destinations got since the last time."""
        path = self._cluster.recorder.folder / "record"
        if path.exists():
            with path.open(encoding="utf-8") as file:
                file.seek(self._read)
                for line in iter(file.readline, ""):
                    if not line.endswith("\n"):
                        break
                    self._read = file.tell()
                    self._take("recorder", json.loads(line))
        for identifier in self._cluster.orthanc.instances():
            if identifier not in self._known:
                encoded = self._cluster.orthanc.get(f"/instances/{identifier}/file")
                self._take("orthanc", describe(encoded))
                self._known.add(identifier)

    def judge(self, films: Sequence[Film], failed: bool = False, captures_only: bool = False) -> Verdict:
        """Judge images that have ended.

        ``failed`` says that they should have failed, ``captures_only`` that the recorder takes no reports.
        """
        states = self._cluster.states()
        verdict = Verdict(images=len(films), foreign=list(self._foreign))
        for film in films:
            status, reason = states.get(film.sop_instance_uid, ("unknown", None))
            self._judge_state(film, status, f"{status} ({reason})", verdict, failed)
            if not failed:
                self._judge_arrival(film, "orthanc", _of_each("SR", "capture"), verdict)
                wanted = _of_each("capture") if captures_only else _of_each("SR", "capture")
                self._judge_arrival(film, "recorder", wanted, verdict)
        return verdict

    def _judge_state(self, film: Film, status: str, told: str, verdict: Verdict, failed: bool) -> None:
        uid = film.sop_instance_uid
        expected = {"FAILED"} if failed else {"STORED", "COMMITTED"} if film.reported else {"REJECTED"}
        if status == "unknown":
            verdict.lost.append(f"{uid} unknown to the journal")
        elif status in ("RECEIVED", "SCORING", "REPORTED"):
            verdict.stuck.append(f"{uid} {told}")
        elif status not in expected:
            verdict.wrong.append(f"{uid} {told}, expected {'/'.join(sorted(expected))}")

    def _judge_arrival(self, film: Film, place: str, wanted: set[str], verdict: Verdict) -> None:
        uid = film.sop_instance_uid
        objects = self._arrived[place].get(uid, {})
        if not film.reported:
            verdict.foreign += [f"{uid} at {place} though not eligible"] if objects else []
            return
        verdict.lost += [f"{kind} of {uid} at {place}" for kind in sorted(wanted - objects.keys())]
        for kind, found in objects.items():
            if len(found) > 1:
                verdict.doubled.append(f"{len(found)} {kind} of {uid} at {place}")
            if any(len(self._digests[key]) > 1 for key in found):
                verdict.doubled.append(f"{kind} of {uid} at {place} with other bytes")

    def _take(self, place: str, told: dict[str, Any]) -> None:
        uid = told["uid"]
        self._digests[uid].add(told["sha256"])
        self.receipts[f"{place} {uid}"] += 1
        sources = [source for source in told["sources"] if source in self._films]
        if len(sources) != 1 or told["patient"] != f"{NAME_MARK}{sources[0][-10:]}":
            self._foreign.append(f"{uid} at {place}, {told['modality']} referring to {len(sources)} images")
            return
        kind = f"{'SR' if told['modality'] == 'SR' else 'capture'} by {told['algorithm']}"
        self._arrived[place].setdefault(sources[0], {}).setdefault(kind, set()).add(uid)

    def check_whole(self, answered: Sequence[Film]) -> list[str]:
        """Check the installation at the end: counts, leftovers, logs; return what is wrong."""
        wrong = []
        told = self._cluster.command("status", "--json")
        if told.returncode:
            return [f"status: {told.stderr}"]
        counts = json.loads(told.stdout)["counts"]
        states = Counter(status for status, _ in self._cluster.states().values())
        if {name: count for name, count in counts.items() if count} != dict(states):
            wrong.append(f"status says {counts}, the journal {dict(states)}")
        if sum(counts.values()) != len(answered):
            wrong.append(
                f"{sum(counts.values())} images in the journal, {len(answered)} were answered Success"
            )
        if NAME_MARK in self._cluster.log_text() or NAME_MARK in told.stdout:
            wrong.append("a log names a patient")
        for table in ("entry", "delivery"):
            named = [
                row for row in self._cluster.rows(f"SELECT message FROM {table}") if NAME_MARK in str(row)
            ]
            wrong += [f"{len(named)} messages of {table} name a patient"] if named else []
        return wrong + self._leftovers()

    def _leftovers(self) -> list[str]:
        """Nothing stays in the spool: delivered images by retention, the rest once it is old enough."""
        spool = self._cluster.data / "spool"
        with suppress(TimeoutError):
            wait_for(lambda: not self._held(), 60, "retention", 0.5)
        left = [path for path in spool.rglob("*") if path.is_file()]
        for path in left:
            with suppress(FileNotFoundError):
                os.utime(path, (0, 0))
        # the sweeper looks for such files when it starts
        self._cluster.roles["serve" if self._cluster.kind == EMBEDDED else "sweep"].signal(signal.SIGKILL)
        with suppress(TimeoutError):
            wait_for(lambda: not any(path.exists() for path in left), 60, "leftovers to go")
        stay = Counter(path.parent.name for path in left if path.exists())
        return [f"{count} files stay in the spool's {folder}" for folder, count in stay.items()]

    def _held(self) -> int:
        return int(self._cluster.rows("SELECT count(*) FROM entry WHERE purged_at IS NULL")[0][0])
