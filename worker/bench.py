"""``make bench``: how fast, as ratios within one run; absolute figures depend on the machine and its mood.

Ingest: our node with spool and journal (synced to disk) against DCMTK's ``storescp`` (which syncs nothing),
round by round in turn, on the same synthetic 10 MB radiographs. Scoring: the whole way of one film against
its networks alone.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from rich.console import Console
from rich.table import Table

from dicom_node.report import ReportBasis, ReportSettings, build_report
from dicom_node.storage_scp import NodeSettings, StorageSCP
from worker.database import migrate, open_engine
from worker.journal import Journal
from worker.pipeline import accept, assess
from worker.sample import FILM
from worker.service import load_scorers
from worker.settings import Settings
from worker.spool import Spool

ROUNDS = 5
OBJECTS = 20
FILMS = 10


class _NoBell:
    def ring_score(self, _uid: str) -> None:
        """Nothing scores here."""

    def ring_deliver(self, _uid: str) -> None:
        """Nothing is delivered here."""


def main() -> int:
    """Run both benchmarks; return the exit code."""
    console = Console(highlight=False)
    console.print(
        f"{os.cpu_count()} cores, Python {sys.version.split()[0]}; medians of {ROUNDS} rounds, min to max"
    )
    with tempfile.TemporaryDirectory(prefix="cxr-bench-") as name:
        bench_ingest(Path(name), console)
    bench_scoring(console)
    return 0


def bench_ingest(folder: Path, console: Console) -> None:
    """Print how many objects a second our node takes, and how many DCMTK's storescp does."""
    tools = {name: shutil.which(name, path="/usr/bin:/usr/local/bin") for name in ("storescu", "storescp")}
    if not all(tools.values()):
        console.print("ingest: left out, DCMTK's storescu and storescp are not installed")
        return
    films = _synthetic_films(folder / "films")
    table = Table(title=f"ingest, {OBJECTS} objects of 10 MB a round")
    for column in ("associations", "storescp /s", "our node /s", "ratio"):
        table.add_column(column, justify="right")
    for associations in (1, 4):
        pairs = []
        for turn in range(ROUNDS):
            place = folder / f"{associations}-{turn}"
            with _storescp(str(tools["storescp"]), place / "theirs") as port:
                theirs = _send(str(tools["storescu"]), port, films, associations)
            with _our_node(place / "ours") as port:
                ours = _send(str(tools["storescu"]), port, films, associations)
            pairs.append((theirs, ours, ours / theirs))
            shutil.rmtree(place)
        table.add_row(str(associations), *(_spread([pair[k] for pair in pairs]) for k in range(3)))
    console.print(table)


def bench_scoring(console: Console) -> None:
    """Print how long one film takes from bytes to report, and which part of it the networks are."""
    (scorer,) = load_scorers(Settings(device="cpu"), threads=1)
    encoded = FILM.read_bytes()
    radiograph, result = assess(encoded, scorer)

    def whole() -> None:
        build_report(*assess(encoded, scorer), ReportSettings(), ReportBasis(datetime.now(UTC)))

    def networks() -> None:
        scorer.score(radiograph.pixels)

    def report() -> None:
        build_report(radiograph, result, ReportSettings(), ReportBasis(datetime.now(UTC)))

    table = Table(
        title=f"one film ({'x'.join(map(str, radiograph.pixels.shape))}), one thread, {FILMS} times"
    )
    for column in ("part", "seconds", "share of the whole"):
        table.add_column(column, justify="right")
    steps = (("whole", whole), ("networks and zones", networks), ("report", report))
    times = {name: [_timed(step) for _ in range(FILMS)] for name, step in steps}
    median = statistics.median(times["whole"])
    for name, seconds in times.items():
        table.add_row(name, _spread(seconds), f"{statistics.median(seconds) / median:.0%}")
    console.print(table)


def _timed(step: Callable[[], None]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _synthetic_films(folder: Path) -> list[Path]:
    folder.mkdir(parents=True)
    ds = pydicom.dcmread(FILM, stop_before_pixels=True)
    rows, columns = 2048, 2500
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit = rows, columns, 16, 12, 11
    noise = np.random.default_rng(0).integers(0, 4096, (rows, columns), np.uint16)
    ds.PixelData = noise.tobytes()
    ds["PixelData"].VR = "OW"
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    paths = []
    for number in range(OBJECTS):
        ds.SOPInstanceUID = generate_uid(prefix=None)
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        buffer = BytesIO()
        ds.save_as(buffer, enforce_file_format=True)
        paths.append(folder / f"{number}.dcm")
        paths[-1].write_bytes(buffer.getvalue())
    return paths


def _send(storescu: str, port: int, films: list[Path], associations: int) -> float:
    # Without TCP_NODELAY, DCMTK measures the kernel's delayed acknowledgements.
    environment = {**os.environ, "TCP_NODELAY": "1"}
    command = [storescu, "-q", "-R", "-aec", "CXRWORKER", "127.0.0.1", str(port)]
    started = time.perf_counter()
    senders = [
        subprocess.Popen([*command, *map(str, films[part::associations])], env=environment)  # noqa: S603
        for part in range(associations)
    ]
    failed = [sender.wait() for sender in senders]
    if any(failed):
        raise RuntimeError(f"storescu ended with {failed}")
    return len(films) / (time.perf_counter() - started)


@contextmanager
def _storescp(storescp: str, folder: Path) -> Iterator[int]:
    folder.mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    environment = {**os.environ, "TCP_NODELAY": "1"}
    command = [storescp, "-q", "+xa", "--fork", "-od", str(folder), str(port)]
    process = subprocess.Popen(command, env=environment)  # noqa: S603
    try:
        time.sleep(0.5)
        yield port
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _our_node(folder: Path) -> Iterator[int]:
    folder.mkdir(parents=True)
    engine = open_engine(Settings(data_dir=folder).database)
    migrate(engine)
    spool, journal, bell = Spool(folder / "spool"), Journal(engine), _NoBell()
    settings = NodeSettings(port=0, allowed_calling_ae_titles=("*",))
    with StorageSCP(settings, lambda instance: accept(instance, spool, journal, bell)) as node:
        yield node.port
    engine.dispose()


if __name__ == "__main__":
    sys.exit(main())
