"""``make demo``: the whole worker on one real film, with nothing but this machine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import pydicom
from pynetdicom import AE, StoragePresentationContexts, evt
from rich.console import Console

from dicom_node.errors import DicomNodeError
from dicom_node.storage_scu import RemoteAE, echo, store
from worker import tables
from worker.errors import WorkerError
from worker.sample import FILM

_PACS, _WORKER, _MODALITY = "DEMOPACS", "CXRWORKER", "DEMOMODALITY"
_START_WITHIN_S = 120.0
_RESULT_WITHIN_S = 180.0


class DemoFailed(WorkerError):
    """A step of the demo did not happen."""


def main() -> int:
    """Run the demo; return the exit code."""
    console = Console(highlight=False)
    folder = Path(os.environ.get("CXR_DATA_DIR", "data")) / "demo"
    try:
        run(folder, console)
    except (WorkerError, DicomNodeError, OSError) as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1
    return 0


def run(folder: Path, console: Console) -> None:
    """Start a PACS and a worker, send the film, wait for SR and SC, show them, stop everything.

    Parameters
    ----------
    folder : pathlib.Path
        Emptied, then filled with the worker's data and the results.
    console : rich.console.Console
        Where progress goes.

    Raises
    ------
    DemoFailed
        With the step that failed and where the worker's log lies.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    console.print(f"Chest radiograph severity worker: a demonstration; {tables.RESEARCH_USE}.")
    with _pacs() as (pacs_port, received, complete):
        port = _free_port()
        environment = _environment(folder, port, pacs_port)
        log = folder / "worker.log"
        console.print("[1/4] starting the worker: SQLite journal, queue in the process, CPU …")
        with _worker(environment, log) as process:
            node = RemoteAE(_WORKER, "127.0.0.1", port, timeout_s=10.0)
            _wait_for_node(node, process, log)
            console.print(f"[2/4] sending {FILM.name} by C-STORE to {_WORKER}@127.0.0.1:{port} …")
            _send(node)
            console.print("[3/4] waiting for report and capture to come back by C-STORE …")
            if not complete.wait(_RESULT_WITHIN_S):
                raise DemoFailed(f"no result within {_RESULT_WITHIN_S:.0f} s: see {log}")
            console.print("[4/4] results:")
            _show(received, folder, _record(environment), console)


def _show(received: dict[str, bytes], folder: Path, record: dict[str, Any], console: Console) -> None:
    report, capture, picture = folder / "report.sr.dcm", folder / "overlay.sc.dcm", folder / "overlay.png"
    report.write_bytes(received["SR"])
    capture.write_bytes(received["SC"])
    pixels = pydicom.dcmread(BytesIO(received["SC"])).pixel_array
    cv2.imwrite(str(picture), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    tables.print_zones(console, record)
    console.print(
        f"Structured Report:  {report}\nSecondary Capture:  {capture}\npicture of it:      {picture}"
    )


@contextmanager
def _pacs() -> Iterator[tuple[int, dict[str, bytes], threading.Event]]:
    received: dict[str, bytes] = {}
    complete = threading.Event()

    def keep(event: evt.Event) -> int:
        encoded = event.encoded_dataset()
        kind = (
            "SR" if pydicom.dcmread(BytesIO(encoded), specific_tags=["Modality"]).Modality == "SR" else "SC"
        )
        received[kind] = encoded
        if len(received) == 2:
            complete.set()
        return 0x0000

    ae = AE(_PACS)
    ae.supported_contexts = StoragePresentationContexts
    port = _free_port()
    ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    try:
        yield port, received, complete
    finally:
        ae.shutdown()


@contextmanager
def _worker(environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "serve"], env=environment, stdout=output, stderr=output
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for_node(node: RemoteAE, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            lines = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
            raise DemoFailed(f"the worker did not start: {lines[-1]}")
        try:
            echo(node, _MODALITY)
        except DicomNodeError:
            time.sleep(0.2)
        else:
            return
    raise DemoFailed(f"the worker did not listen within {_START_WITHIN_S:.0f} s: see {log}")


def _send(node: RemoteAE) -> None:
    (outcome,) = store(node, _MODALITY, [FILM.read_bytes()])
    if not outcome.succeeded:
        raise DemoFailed(f"the worker refused the film: {outcome.comment or outcome.status}")


def _record(environment: dict[str, str]) -> dict[str, Any]:
    uid = str(pydicom.dcmread(FILM, stop_before_pixels=True).SOPInstanceUID)
    command = [sys.executable, "-m", "worker", "status", "--json", uid]
    told = subprocess.run(command, env=environment, capture_output=True, check=False)  # noqa: S603
    if told.returncode:
        raise DemoFailed(told.stderr.decode(errors="replace").strip())
    record: dict[str, Any] = json.loads(told.stdout)["result"]
    return record


def _environment(folder: Path, port: int, pacs_port: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}
    return {
        **kept,
        "CXR_DATA_DIR": str(folder / "worker"),
        "CXR_AE_TITLE": _WORKER,
        "CXR_PORT": str(port),
        "CXR_DESTINATIONS": f"{_PACS}@127.0.0.1:{pacs_port}",
        "CXR_DEVICE": "cpu",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
