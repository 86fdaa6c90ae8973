"""Real servers for the tests, each on a free loopback port and in a folder of its own.

A missing program skips the tests that need it; with ``CXR_REQUIRE_SERVERS=1`` (set by ``make test``) it
fails them.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import redis
from pydicom import dcmread, uid
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 30.0


def find_program(name: str, *folders: str) -> str:
    """Return a system program's path, never the virtual environment's; skip or fail without it."""
    path = os.pathsep.join([*folders, "/usr/bin", "/usr/sbin", "/usr/local/bin", "/opt/homebrew/bin"])
    found = shutil.which(name, path=path)
    if found is None:
        missing(f"{name} is not installed; `make test` installs it on Debian and Ubuntu")
    return str(found)


def missing(reason: str) -> None:
    if os.environ.get("CXR_REQUIRE_SERVERS") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], object], timeout_s: float = START_TIMEOUT_S, what: str = "") -> None:
    """Wait until a condition holds; what it raises counts as not yet."""
    deadline = time.monotonic() + timeout_s
    while True:
        with suppress(Exception):
            if condition():
                return
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s in vain for {what or condition}")
        time.sleep(0.05)


@contextmanager
def running(
    command: Sequence[str], ready: Callable[[], object], folder: Path, user: str | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; its output is quoted if it does not come up."""
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("wb") as output:
        group = pwd.getpwnam(user).pw_gid if user else None
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=folder, user=user, group=group
        )
    try:
        try:
            wait_until(lambda: process.poll() is not None or ready(), what=command[0])
        except AssertionError as error:
            raise AssertionError(f"{error}\n{log.read_text(errors='replace')[-4000:]}") from None
        if process.poll() is not None:
            raise AssertionError(f"{command[0]} ended at once:\n{log.read_text(errors='replace')[-4000:]}")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of one Redis with a password, kept for the whole session."""
    program, port = find_program("redis-server"), free_port()
    url = f"redis://:tests-only@127.0.0.1:{port}/0"
    options = f"--port {port} --bind 127.0.0.1 --requirepass tests-only --appendonly no".split()
    command = [program, *options, "--save", ""]

    def answers() -> bool:
        with redis.Redis.from_url(url) as client:
            return bool(client.ping())

    with running(command, answers, tmp_path_factory.mktemp("redis")):
        yield url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """URL of an empty Redis database."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of one PostgreSQL's maintenance database, kept for the whole session; no password."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    folders = [str(path) for path in reversed(versions)]
    initdb, postgres = find_program("initdb", *folders), find_program("postgres", *folders)
    # PostgreSQL refuses to run as root
    user = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="cxr-postgresql-") as name:
        folder = Path(name)
        if user:
            shutil.chown(folder, user)
        options = ["--auth=trust", "--username=cxr", "--encoding=UTF8", "--locale=C", "--no-sync"]
        subprocess.run(
            [initdb, *options, str(folder / "data")], check=True, capture_output=True, user=user, cwd=folder
        )
        port = free_port()
        command = [postgres, "-D", str(folder / "data"), "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
        command += ["-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
        dsn = f"postgresql://cxr@127.0.0.1:{port}/postgres"
        connects = lambda: psycopg.connect(dsn, connect_timeout=2).close() is None  # noqa: E731
        with running(command, connects, folder, user):
            yield dsn


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """SQLAlchemy URL of a fresh, empty database."""
    name = f"cxr_{time.monotonic_ns()}"
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    server = postgresql_server.removeprefix("postgresql://").removesuffix("/postgres")
    yield f"postgresql+psycopg://{server}/{name}"
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc with DICOMweb, as PACS."""

    ae_title: str
    dicom_port: int
    url: str

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:
            return bytes(answer.read())

    def instances(self) -> list[str]:
        """Orthanc's own identifiers of what it holds."""
        return list(json.loads(self.get("/instances")))

    def files(self) -> list[bytes]:
        """Every instance as PS3.10 bytes."""
        return [self.get(f"/instances/{identifier}/file") for identifier in self.instances()]

    def datasets(self) -> list[Dataset]:
        """Every instance, read."""
        return [dcmread(BytesIO(content)) for content in self.files()]

    def clear(self) -> None:
        for patient in json.loads(self.get("/patients")):
            request = urllib.request.Request(f"{self.url}/patients/{patient}", method="DELETE")
            urllib.request.urlopen(request, timeout=10).close()


@contextmanager
def running_orthanc(folder: Path, **options: Any) -> Iterator[Orthanc]:
    """Run an Orthanc with DICOMweb until the block ends; options replace parts of its configuration."""
    program = find_program("Orthanc")
    plugins = [str(path) for path in Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb.so")]
    if not plugins:
        missing("Orthanc's DICOMweb plugin (orthanc-dicomweb) is not installed")
    server = Orthanc("ORTHANC", free_port(), f"http://127.0.0.1:{free_port()}")
    configuration = {
        "Name": "test PACS",
        "DicomAet": server.ae_title,
        "DicomPort": server.dicom_port,
        "HttpPort": int(server.url.rsplit(":", 1)[1]),
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowEcho": True,
        "UnknownSopClassAccepted": True,
        "Plugins": plugins,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration | options))
    with running([program, str(folder / "orthanc.json")], lambda: server.get("/dicom-web/studies"), folder):
        yield server


@pytest.fixture(scope="session")
def orthanc_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """One Orthanc, kept for the whole session."""
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@dataclass(frozen=True)
class Archive:
    """An Orthanc that may send to one other node, as ``CXRWORKER`` on ``node_port``."""

    orthanc: Orthanc
    node_port: int


@pytest.fixture(scope="session")
def archive_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """One Orthanc that can be searched and fetched from, kept for the whole session."""
    port = free_port()
    known = {"worker": ["CXRWORKER", "127.0.0.1", port]}
    with running_orthanc(tmp_path_factory.mktemp("archive"), DicomModalities=known) as server:
        yield Archive(server, port)


@pytest.fixture
def archive(archive_server: Archive) -> Archive:
    """An empty ``Archive``."""
    archive_server.orthanc.clear()
    return archive_server


@pytest.fixture
def orthanc(orthanc_server: Orthanc) -> Orthanc:
    """An empty Orthanc."""
    orthanc_server.clear()
    return orthanc_server


@dataclass
class LoopbackPACS:
    """pynetdicom as a PACS that takes everything, unless a test says otherwise.

    ``statuses`` answers by SOP class UID; ``refused`` SOP classes are not negotiated; ``syntaxes`` are the
    transfer syntaxes taken; after ``abort_after`` instances the association is aborted; ``callers``, if
    set, are the only calling AE titles served. Changes of what is negotiated need ``restart``.
    """

    ae_title: str = "PACS"
    port: int = field(default_factory=free_port)
    statuses: dict[str, int] = field(default_factory=dict)
    refused: Iterable[str] = ()
    syntaxes: Sequence[str] = tuple(uid.AllTransferSyntaxes)
    callers: Sequence[str] = ()
    abort_after: int | None = None
    files: list[bytes] = field(default_factory=list)

    def start(self) -> None:
        ae = AE(self.ae_title)
        ae.require_calling_aet = list(self.callers)
        ae.add_supported_context(Verification)
        for context in AllStoragePresentationContexts:
            if context.abstract_syntax not in set(self.refused):
                ae.add_supported_context(context.abstract_syntax, list(self.syntaxes))
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store)]
        self._server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def stop(self) -> None:
        self._server.shutdown()
        for thread in threading.enumerate():
            if thread in self._server.active_associations:
                thread.join(5)

    def restart(self) -> None:
        self.stop()
        self.start()

    @property
    def datasets(self) -> list[Dataset]:
        """What has been stored, read."""
        return [dcmread(BytesIO(content)) for content in self.files]

    def _store(self, event: evt.Event) -> int:
        if self.abort_after is not None and len(self.files) >= self.abort_after:
            event.assoc.abort()
            return 0xC000
        status = self.statuses.get(str(event.request.AffectedSOPClassUID), 0x0000)
        if status == 0x0000 or 0xB000 <= status <= 0xBFFF:
            self.files.append(event.encoded_dataset())
        return status


@pytest.fixture
def loopback_pacs() -> Iterator[LoopbackPACS]:
    """A started ``LoopbackPACS``."""
    pacs = LoopbackPACS()
    pacs.start()
    yield pacs
    pacs.stop()


_PROPOSALS = {
    uid.JPEGBaseline8Bit: "-xy",
    uid.JPEGExtended12Bit: "-xx",
    uid.JPEGLosslessSV1: "-xs",
    uid.JPEG2000Lossless: "-xv",
    uid.JPEG2000: "-xw",
    uid.JPEGLSLossless: "-xt",
    uid.JPEGLSNearLossless: "-xu",
    uid.RLELossless: "-xr",
    uid.DeflatedExplicitVRLittleEndian: "-xd",
    uid.ExplicitVRBigEndian: "-xb",
    uid.ImplicitVRLittleEndian: "-xi",
}


@pytest.fixture(scope="session")
def storescu() -> Callable[..., subprocess.CompletedProcess[str]]:
    """DCMTK's storescu: ``storescu(port, *paths, calling=, called=, options=)``.

    The transfer syntax of the first file is proposed; the answers' statuses are in its output.
    """
    program = find_program("storescu")

    def send(
        port: int,
        *paths: Path,
        calling: str = "MODALITY",
        called: str = "CXRWORKER",
        options: Sequence[str] = (),
    ) -> subprocess.CompletedProcess[str]:
        syntax = dcmread(paths[0], specific_tags=[], force=True).file_meta.get("TransferSyntaxUID")
        proposal = [_PROPOSALS[syntax]] if syntax in _PROPOSALS else []
        command = [program, "-v", "-R", *proposal, *options, "-aet", calling, "-aec", called]
        return subprocess.run(
            [*command, "127.0.0.1", str(port), *map(str, paths)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "TCP_NODELAY": "1"},
        )

    return send


@pytest.fixture(scope="session")
def make_film() -> Callable[..., bytes]:
    """Build a synthetic DX as PS3.10 bytes: ``make_film(transfer_syntax=, Keyword=value, ...)``.

    ``Keyword=None`` leaves an attribute out; a keyword that DICOM does not know is an error.
    """
    return _make_film


def _make_film(transfer_syntax: str = uid.ExplicitVRLittleEndian, **keywords: Any) -> bytes:
    attributes: dict[str, Any] = {
        "SOPClassUID": uid.DigitalXRayImageStorageForPresentation,
        "SOPInstanceUID": uid.generate_uid(prefix=None),
        "StudyDate": "20260101",
        "StudyTime": "120000",
        "Modality": "DX",
        "PresentationIntentType": "FOR PRESENTATION",
        "PatientName": "Synthetic^Film",
        "PatientID": "SYNTHETIC",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "StudyInstanceUID": uid.generate_uid(prefix=None),
        "SeriesInstanceUID": uid.generate_uid(prefix=None),
        "PatientOrientation": ["L", "F"],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": 64,
        "Columns": 48,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "PixelData": np.random.default_rng(0).integers(0, 4096, 64 * 48, np.uint16).tobytes(),
    }
    dataset = Dataset()
    for keyword, value in (attributes | keywords).items():
        assert tag_for_keyword(keyword) is not None, f"{keyword} is no DICOM keyword"
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.UID(transfer_syntax)
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OW"
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def sample_films() -> list[Path]:
    """The real films that the worker ships."""
    films = sorted((ROOT / "worker" / "sample").glob("*.dcm"))
    if not films:
        missing("worker/sample holds no film")
    return films


@pytest.fixture(scope="session")
def cxr_dataset() -> Path:
    """The folder that ``CXR_DATASET`` names, with ``manifest.csv`` and ``dicom/``."""
    folder = os.environ.get("CXR_DATASET", "")
    if not folder:
        pytest.skip("CXR_DATASET names no data folder")
    return Path(folder)
