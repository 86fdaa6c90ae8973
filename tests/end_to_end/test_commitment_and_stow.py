"""Delivery with proof, and over the web: the embedded worker with Orthanc, and with PACSs that forget."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

Environment = dict[str, str]
NODE = "CXRWORKER"
NO_SUCH_INSTANCE = 0x0112


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], object], what: Callable[[], object], timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)


def settings_for(folder: Path, *destinations: dict[str, object]) -> Environment:
    return {
        "CXR_DATA_DIR": str(folder / "data"),
        "CXR_PORT": str(free_port()),
        "CXR_DESTINATIONS": json.dumps(destinations),
        "CXR_SWEEP_INTERVAL_S": "0.5",
        "CXR_RING_AGAIN_AFTER_S": "1",
        "CXR_DEVICE": "cpu",
        "CXR_WEIGHTS": "light",
    }


@pytest.fixture
def film(sample_films: list[Path]) -> Path:
    return sample_films[0]


@pytest.fixture
def story(cxr_worker: Any, film: Path) -> Callable[[Environment], dict[str, Any]]:
    """What the worker says of the film: ``story(settings)``, with ``deliveries`` by destination."""

    def read(settings: Environment) -> dict[str, Any]:
        asked = cxr_worker("status", str(dcmread(film).SOPInstanceUID), "--json", settings=settings)
        assert asked.returncode == 0, asked.stderr
        told = dict(json.loads(asked.stdout))
        told["deliveries"] = {delivery["destination"]: delivery for delivery in told["deliveries"]}
        return told

    return read


def data_set_of(encoded: bytes) -> bytes:
    return encoded[144 + dcmread(BytesIO(encoded)).file_meta.FileMetaInformationGroupLength :]


def data_sets_of(files: Sequence[bytes]) -> dict[str, bytes]:
    return {str(dcmread(BytesIO(encoded)).SOPInstanceUID): data_set_of(encoded) for encoded in files}


# --- storage commitment ---------------------------------------------------------------------------


@contextmanager
def known_to(orthanc: Any, port: int) -> Iterator[None]:
    """Make the worker known to Orthanc, so that it can answer."""
    address = f"{orthanc.url}/modalities/cxrworker"
    body = json.dumps({"AET": NODE, "Host": "127.0.0.1", "Port": port}).encode()
    urllib.request.urlopen(urllib.request.Request(address, body, method="PUT"), timeout=10).close()
    try:
        yield
    finally:
        urllib.request.urlopen(urllib.request.Request(address, method="DELETE"), timeout=10).close()


def test_orthanc_commits_itself_to_report_and_capture(
    orthanc: Any, storescu: Any, start_role: Any, cxr_worker: Any, story: Any, film: Path, tmp_path: Path
) -> None:
    destination = {
        "ae_title": orthanc.ae_title,
        "host": "127.0.0.1",
        "port": orthanc.dicom_port,
        "commitment": True,
    }
    settings = settings_for(tmp_path, destination)
    port = int(settings["CXR_PORT"])
    start_role("serve", settings=settings)
    with known_to(orthanc, port):
        assert storescu(port, film).returncode == 0
        wait_for(lambda: story(settings)["status"] == "COMMITTED", lambda: story(settings))
    counted = json.loads(cxr_worker("status", "--json", settings=settings).stdout)["counts"]
    assert counted["COMMITTED"] == 1
    (delivery,) = story(settings)["deliveries"].values()
    assert delivery["status"] == "COMMITTED"
    held = {str(dataset.SOPInstanceUID) for dataset in orthanc.datasets()}
    assert {instance for _, instance in delivery["stored"]} == held
    assert len(held) == 2


@dataclass
class CommittingPACS:
    """A PACS that stores everything and answers a request for commitment as ``verdict`` says.

    ``verdict(number of the request, SOP Instance UIDs)`` returns those that it denies to have; None: it
    never answers. The answer comes on an association of its own to ``node_port``.
    """

    verdict: Callable[[int, Sequence[str]], Sequence[str] | None]
    node_port: int = 0
    files: list[bytes] = field(default_factory=list)
    transactions: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    def start(self) -> dict[str, object]:
        ae = AE("PACS")
        ae.add_supported_context(StorageCommitmentPushModel)
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(context.abstract_syntax, uid.AllTransferSyntaxes)
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._take)]
        self._server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self._threads: list[threading.Thread] = []
        return {
            "ae_title": "PACS",
            "host": "127.0.0.1",
            "port": self._server.server_address[1],
            "commitment": True,
            "commitment_wait_s": 0,
            "commitment_timeout_s": 1,
        }

    def stop(self) -> None:
        self._server.shutdown()
        for thread in self._threads:
            thread.join(10)

    def _store(self, event: evt.Event) -> int:
        self.files.append(event.encoded_dataset())
        return 0x0000

    def _take(self, event: evt.Event) -> tuple[int, None]:
        asked = event.action_information
        self.transactions.append(str(asked.TransactionUID))
        instances = [str(item.ReferencedSOPInstanceUID) for item in asked.ReferencedSOPSequence]
        denied = self.verdict(len(self.transactions), instances)
        if denied is not None:
            thread = threading.Thread(target=self._answer, args=(asked, set(denied)))
            self._threads.append(thread)
            thread.start()
        return 0x0000, None

    def _answer(self, asked: Dataset, denied: set[str]) -> None:
        told = Dataset()
        told.TransactionUID = asked.TransactionUID
        items = list(asked.ReferencedSOPSequence)
        told.ReferencedSOPSequence = [item for item in items if item.ReferencedSOPInstanceUID not in denied]
        told.FailedSOPSequence = [item for item in items if item.ReferencedSOPInstanceUID in denied]
        for item in told.FailedSOPSequence:
            item.FailureReason = NO_SUCH_INSTANCE
        ae = AE("PACS")
        ae.add_requested_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        association = ae.associate("127.0.0.1", self.node_port, ae_title=NODE, ext_neg=[role])
        answer, _ = association.send_n_event_report(
            told, 2 if denied else 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        self.statuses.append(answer.get("Status", -1))
        association.release()


@pytest.fixture
def start_pacs() -> Iterator[Callable[..., tuple[CommittingPACS, dict[str, object]]]]:
    started: list[CommittingPACS] = []

    def start(
        verdict: Callable[[int, Sequence[str]], Sequence[str] | None],
    ) -> tuple[CommittingPACS, dict[str, object]]:
        pacs = CommittingPACS(verdict)
        started.append(pacs)
        return pacs, pacs.start()

    yield start
    for pacs in started:
        with suppress(OSError):
            pacs.stop()


def test_what_a_pacs_has_lost_is_sent_again_and_silence_is_asked_again(
    start_pacs: Any, storescu: Any, start_role: Any, story: Any, film: Path, tmp_path: Path
) -> None:
    silent, to_silent = start_pacs(lambda _number, _instances: None)
    forgetful, to_forgetful = start_pacs(lambda number, instances: instances[:1] if number == 1 else [])
    settings = settings_for(tmp_path, to_silent, to_forgetful)
    forgetful.node_port = int(settings["CXR_PORT"])
    start_role("serve", settings=settings)
    assert storescu(int(settings["CXR_PORT"]), film).returncode == 0

    def states() -> dict[str, str]:
        deliveries = story(settings)["deliveries"]
        return {port.rsplit(":", 1)[1]: delivery["status"] for port, delivery in deliveries.items()}

    wait_for(
        lambda: states().get(str(to_forgetful["port"])) == "COMMITTED" and len(silent.transactions) >= 3,
        lambda: (story(settings), silent.transactions, forgetful.transactions),
    )
    assert story(settings)["status"] == "STORED"
    assert states()[str(to_silent["port"])] == "STORED"
    # every request is a transaction of its own
    assert len(set(silent.transactions)) == len(silent.transactions)
    assert len(silent.files) == 2
    # what was lost came again, the same bytes
    assert len(forgetful.files) > 2
    assert len({data_set_of(encoded) for encoded in forgetful.files}) == 2
    assert forgetful.statuses == [0x0000, 0x0000]


# --- STOW-RS --------------------------------------------------------------------------------------


def test_a_web_destination_gets_the_same_bytes(
    orthanc: Any,
    loopback_pacs: Any,
    storescu: Any,
    start_role: Any,
    cxr_worker: Any,
    story: Any,
    film: Path,
    tmp_path: Path,
) -> None:
    dimse = {"ae_title": loopback_pacs.ae_title, "host": "127.0.0.1", "port": loopback_pacs.port}
    settings = settings_for(tmp_path, {"url": f"{orthanc.url}/dicom-web"}, dimse)
    start_role("serve", settings=settings)
    assert storescu(int(settings["CXR_PORT"]), film).returncode == 0
    wait_for(lambda: story(settings)["status"] == "STORED", lambda: story(settings))
    assert {delivery["status"] for delivery in story(settings)["deliveries"].values()} == {"STORED"}
    by_web = data_sets_of(orthanc.files())
    assert len(by_web) == 2
    assert by_web == data_sets_of(loopback_pacs.files)
    doctor = cxr_worker("doctor", settings=settings)
    assert f"{orthanc.url}/dicom-web" in doctor.stdout.replace("\n", "")
