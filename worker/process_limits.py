"""What a child process owes: to end with its parent, and to stay within its memory."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from pathlib import Path

from worker.errors import WorkerError

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_MB = 1024 * 1024


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, however that dies; Linux only.

    Parameters
    ----------
    parent : int
        Process id of the parent, which may have died already.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def bound_memory(megabytes: int | None) -> None:
    """Let an allocation beyond the bound fail as MemoryError, so that one image costs one attempt.

    What counts is private memory (RLIMIT_DATA), not the libraries' code. With CUDA nothing is bounded: its
    driver reserves address space far beyond what it uses.

    Parameters
    ----------
    megabytes : int, optional
        Most that this process may have, networks included; None: no bound.

    Raises
    ------
    WorkerError
        When it has more already.
    """
    if megabytes is None or not sys.platform.startswith("linux"):
        return
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        logger.warning("CXR_MAXIMUM_MEMORY_MB is not applied: it does not go together with CUDA")
        return
    import resource  # noqa: PLC0415 - not on every system

    used_mb = data_mb()
    if used_mb >= megabytes:
        raise WorkerError(
            f"CXR_MAXIMUM_MEMORY_MB is {megabytes}, but the networks alone take {used_mb}: raise it"
        )
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = megabytes * _MB
    resource.setrlimit(
        resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
    )


def data_mb() -> int:
    """Return the private memory of this process in MB, as RLIMIT_DATA counts it."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) // 1024
    return 0
