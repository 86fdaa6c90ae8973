"""Byte streams that are nearly associations, sent to a live node, which must go on answering everybody else.

Run by ``make fuzz``: ``python -m tests.fuzz.associate [-runs=N] [-seed=N]``. A real association, with
A-ASSOCIATE-RQ, C-STORE-RQ, a film and A-RELEASE-RQ, is recorded once; each run changes its PDUs, items and
lengths and sends them on a connection of its own. Every 50 streams somebody else asks for a C-ECHO.
"""

from __future__ import annotations

import json
import logging
import random
import socket
import struct
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dicom_node.instance import ReceivedInstance
from dicom_node.storage_scp import NodeSettings, StorageSCP
from dicom_node.storage_scu import RemoteAE, echo, store
from tests.fuzz import seeds

ECHO_EVERY = 50
MAXIMUM_GROWTH_MB = 300
LONGEST_S = 30.0
_RUNS = 5000
_LENGTHS = (0, 1, 3, 67, 68, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)
_WORDS = (
    b"\0",
    b"\xff" * 4,
    b"\n\x1b[2J",
    b"../../etc/passwd",
    b"1.2.840.10008.1.2.1.99",
    b"%s%n",
    b"EVIL\0EVIL\0EVIL\0E",
)


class NodeFailed(AssertionError):
    """The node stopped serving, grew without end, or kept threads."""


@dataclass(frozen=True)
class Outcome:
    """What a campaign amounted to."""

    runs: int
    runs_per_s: float
    echoes: int
    taken: int
    grown_mb: float
    longest_echo_s: float


def record(film: bytes, port: int) -> list[bytes]:
    """Send a film to the node through a listening relay; return the PDUs that the sender wrote."""
    spoken = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as relay:

        def pass_on() -> None:
            sender, _ = relay.accept()
            with sender, socket.create_connection(("127.0.0.1", port)) as node:
                back = threading.Thread(target=_copy, args=(node, sender, lambda _: None))
                back.start()
                _copy(sender, node, spoken.extend)
                back.join()

        thread = threading.Thread(target=pass_on)
        thread.start()
        store(RemoteAE("CXRWORKER", "127.0.0.1", relay.getsockname()[1]), "MODALITY", (film,))
        thread.join()
    return split(bytes(spoken))


def _copy(source: socket.socket, target: socket.socket, note: Callable[[bytes], None]) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            note(data)
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def split(stream: bytes) -> list[bytes]:
    """Part a stream into PDUs (PS3.8 9.3)."""
    found = []
    while len(stream) >= 6:
        length = 6 + int.from_bytes(stream[2:6], "big")
        found.append(stream[:length])
        stream = stream[length:]
    return found


def change(pdus: list[bytes], chance: random.Random) -> bytes:
    """Return the stream with one to four things wrong."""
    changed = list(pdus)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(changed))
        changed[at] = _change_one(bytearray(changed[at]), chance)
        kind = chance.randrange(8)
        if kind == 0:
            changed.insert(at, changed[at])
        elif kind == 1 and len(changed) > 1:
            del changed[at]
        elif kind == 2:
            chance.shuffle(changed)
    stream = b"".join(changed)
    return stream[: chance.randrange(len(stream) + 1)] if chance.random() < 0.2 else stream


def _change_one(pdu: bytearray, chance: random.Random) -> bytes:
    at = chance.randrange(len(pdu)) if pdu else 0
    kind = chance.randrange(7)
    if kind == 0 and len(pdu) >= 6:
        pdu[2:6] = struct.pack(">I", chance.choice(_LENGTHS))
    elif kind == 1 and pdu:
        pdu[0] = chance.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 255))
    elif kind == 2:
        pdu[at : at + 2] = struct.pack(">H", chance.choice(_LENGTHS) & 0xFFFF)
    elif kind == 3:
        pdu[at:at] = chance.choice(_WORDS) * chance.choice((1, 1, 50))
    elif kind == 4:
        del pdu[at : at + chance.choice((1, 2, 4, 40))]
    elif kind == 5 and len(pdu) > 80:
        # calling and called AE title
        pdu[10:42] = (chance.choice(_WORDS) * 32)[:32]
    elif pdu:
        pdu[at] = chance.randrange(256)
    return bytes(pdu)


def speak(port: int, stream: bytes, patience_s: float) -> None:
    """Say it, hear whatever comes within a moment, and hang up."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.settimeout(patience_s)
        connection.sendall(stream)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass


def campaign(runs: int, seed: int, tell: Callable[[str], None] = lambda _: None) -> Outcome:
    """Send ``runs`` streams to a node of this process.

    Raises
    ------
    NodeFailed
        When it does not answer a C-ECHO any more, has grown, or keeps threads.
    """
    taken: list[str] = []

    def accept(instance: ReceivedInstance) -> None:
        taken.append(instance.sop_instance_uid)

    chance = random.Random(seed)
    settings = NodeSettings(
        port=0,
        allowed_calling_ae_titles=("*",),
        association_timeout_s=2,
        network_timeout_s=2,
        shutdown_grace_s=1,
    )
    with StorageSCP(settings, accept) as node:
        pdus = record(seeds.films()["Explicit VR Little Endian"], node.port)
        remote = RemoteAE("CXRWORKER", "127.0.0.1", node.port, LONGEST_S)
        threads, before_mb, started = threading.active_count(), _resident_mb(), time.monotonic()
        longest_s, echoes = 0.0, 0
        for run in range(1, runs + 1):
            speak(node.port, change(pdus, chance), 0.05)
            if run % ECHO_EVERY == 0 or run == runs:
                longest_s, echoes = max(longest_s, _echo(remote, run)), echoes + 1
            if run % 1000 == 0:
                tell(f"{run} streams in {time.monotonic() - started:.0f} s, {len(taken)} films taken")
        elapsed_s = time.monotonic() - started
        _wait_for_threads(threads + 2)
        grown_mb = _resident_mb() - before_mb
    if grown_mb > MAXIMUM_GROWTH_MB:
        raise NodeFailed(f"the node grew by {grown_mb:.0f} MB")
    return Outcome(
        runs, round(runs / elapsed_s, 1), echoes, len(taken), round(grown_mb, 1), round(longest_s, 3)
    )


def _echo(remote: RemoteAE, run: int) -> float:
    started = time.monotonic()
    try:
        echo(remote, "CHECK")
    except Exception as error:
        raise NodeFailed(f"after {run} streams: no answer to C-ECHO: {error}") from error
    return time.monotonic() - started


def _wait_for_threads(most: int) -> None:
    deadline = time.monotonic() + LONGEST_S
    while threading.active_count() > most:
        if time.monotonic() > deadline:
            raise NodeFailed(f"{threading.active_count()} threads are left, {most} were there before")
        time.sleep(0.1)


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / (1 << 20)


def main() -> None:
    """Run a campaign and tell what came of it."""
    options = dict(argument.lstrip("-").split("=", 1) for argument in sys.argv[1:] if "=" in argument)
    logging.getLogger("dicom_node").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    runs = min(int(options.get("runs", _RUNS)), 100_000)
    outcome = campaign(runs, int(options.get("seed", 1)), lambda line: sys.stderr.write(f"{line}\n") and None)
    sys.stdout.write(f"associate: {json.dumps(outcome.__dict__)}\n")


if __name__ == "__main__":
    main()
