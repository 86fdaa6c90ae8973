"""Ends what a program leaves running when it dies: ``guarding(FOLDER)`` around its work.

``python guard.py FOLDER`` waits for the end of its input, then kills every process that works for an
installation in the folder, and unmounts what is mounted there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def guarding(folder: Path) -> Iterator[None]:
    """Have a process of its own clean up behind this one, however this one ends."""
    guard = subprocess.Popen(
        [sys.executable, __file__, str(folder)], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        yield
    finally:
        assert guard.stdin is not None
        guard.stdin.close()
        guard.wait()


def clean(folder: Path) -> None:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            belongs = f"CRASH_CONTROL={folder}/".encode() in (process / "environ").read_bytes()
            if belongs or (process / "cwd").readlink().is_relative_to(folder):
                os.kill(int(process.name), signal.SIGKILL)
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        if Path(line.split()[1]).is_relative_to(folder):
            subprocess.run(["umount", "-l", line.split()[1]], check=False)


if __name__ == "__main__":
    os.chdir("/")
    sys.stdin.read()
    clean(Path(sys.argv[1]))
