"""The worker's roles as real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

Environment = dict[str, str]
StartRole = Callable[..., "subprocess.Popen[bytes]"]
CxrWorker = Callable[..., "subprocess.CompletedProcess[str]"]


def _only(settings: Environment) -> Environment:
    return {name: value for name, value in os.environ.items() if not name.startswith("CXR_")} | settings


@pytest.fixture
def cxr_worker(tmp_path: Path) -> CxrWorker:
    """Run a command that ends: ``cxr_worker("status", settings={...})``."""

    def run(*arguments: str, settings: Environment | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "worker", *arguments],
            env=_only({"CXR_DATA_DIR": str(tmp_path / "data")} | (settings or {})),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return run


@pytest.fixture
def start_role(tmp_path: Path) -> Iterator[StartRole]:
    """Start a role and wait until it says that it is ready; all end by SIGTERM, with exit code 0."""
    with ExitStack() as running:

        def start(*arguments: str, settings: Environment, ready: str = "ready") -> subprocess.Popen[bytes]:
            log = tmp_path / f"{'-'.join(arguments)}-{time.monotonic_ns()}.log"
            return running.enter_context(_role(arguments, _only(settings), log, ready))

        yield start


@contextmanager
def _role(
    arguments: tuple[str, ...], environment: Environment, log: Path, ready: str
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", *arguments], env=environment, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 120
        while ready not in log.read_text(errors="replace"):
            assert process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < deadline, log.read_text(errors="replace")
            time.sleep(0.1)
        yield process
    finally:
        killed = process.poll() is not None
        process.terminate()
        try:
            code = process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"{arguments} did not end:\n{log.read_text(errors='replace')}") from None
        assert killed or code == 0, f"{arguments} ended with {code}:\n{log.read_text(errors='replace')}"
        # Not a line of any role's log may name the patient.
        assert "Sample^" not in log.read_text(errors="replace")
