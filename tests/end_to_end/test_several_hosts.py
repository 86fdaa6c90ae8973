"""Listener, scorer and deliverer on hosts of their own, an object store between them, and cables pulled.

Hosts are network namespaces on one bridge. Pulling a cable drops every packet without a word to anyone,
which no killed process does.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import fsspec
import psycopg
import pytest
from pydicom import dcmread
from pynetdicom import AE, AllStoragePresentationContexts, evt

from dicom_node.errors import DicomNodeError
from dicom_node.storage_scu import RemoteAE, store
from models.checkpoint import NetworkSpec, Role, build_network, save_checkpoint
from tests.conftest import find_program, missing, running, wait_until
from worker.database import migrate, open_engine
from worker.settings import Settings

NETWORK = f"10.213.{os.getpid() % 250 + 1}"
GATEWAY = f"{NETWORK}.1"
PORTS = {"postgresql": 5432, "redis": 6379, "objects": 9000, "node": 11112}


def _ip(*arguments: str) -> None:
    subprocess.run(["/usr/sbin/ip", *arguments], check=True, capture_output=True)


class Host:
    """A network namespace with one cable to the bridge."""

    def __init__(self, number: int, bridge: str, folder: Path) -> None:
        self.address = f"{NETWORK}.{number}"
        self.name, self.plug = f"{bridge}h{number}", f"{bridge}v{number}"
        self.folder = folder / f"host{number}"
        self.folder.mkdir(mode=0o755)
        _ip("netns", "add", self.name)
        _ip("link", "add", self.plug, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        _ip("link", "set", self.plug, "master", bridge, "up")
        _ip("-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", self.name, "link", "set", device, "up")

    def pull_cable(self) -> None:
        _ip("link", "set", self.plug, "down")

    def plug_in(self) -> None:
        _ip("link", "set", self.plug, "up")

    def command(self, *command: str, user: str | None = None) -> list[str]:
        who = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"] if user else []
        return ["/usr/sbin/ip", "netns", "exec", self.name, *who, *command]

    def remove(self) -> None:
        _ip("netns", "delete", self.name)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Callable[[int], Host]]:
    """Make a host by the last part of its address; the tests themselves are at ``GATEWAY``."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    find_program("ip"), find_program("setpriv")
    bridge = f"cxr{os.getpid() % 100000}"
    made: list[Host] = []

    def make(number: int) -> Host:
        made.append(Host(number, bridge, tmp_path))
        return made[-1]

    try:
        _ip("link", "add", bridge, "type", "bridge")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no bridge can be made here: {error.stderr.decode().strip()}")
    try:
        _ip("addr", "add", f"{GATEWAY}/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        yield make
    finally:
        for host in made:
            host.remove()
        _ip("link", "delete", bridge)


def _connects(address: str, port: int) -> bool:
    with socket.create_connection((address, port), timeout=1):
        return True


def _make_database(initdb: str) -> Path:
    # PostgreSQL refuses to run as root, and pytest's folders are root's alone.
    folder = Path(tempfile.mkdtemp(prefix="cxr-postgresql-"))
    shutil.chown(folder, "postgres", "postgres")
    options = ["--auth=trust", "--username=cxr", "--encoding=UTF8", "--locale=C", "--no-sync"]
    made = [initdb, *options, str(folder / "data")]
    subprocess.run(made, check=True, capture_output=True, user="postgres", cwd=folder)
    with (folder / "data" / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all all {NETWORK}.0/24 trust\n")
    return folder


@pytest.fixture
def servers(hosts: Callable[[int], Host], tmp_path: Path) -> Iterator[dict[str, str]]:
    """PostgreSQL, Redis and an S3-compatible store on one host; the settings that name them."""
    host = hosts(2)
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    folders = [str(path) for path in reversed(versions)]
    initdb, postgres = find_program("initdb", *folders), find_program("postgres", *folders)
    database = _make_database(initdb)
    dsn = f"postgresql://cxr@{host.address}:{PORTS['postgresql']}/postgres"
    objects = {"key": "id", "secret": "sesame", "endpoint_url": f"http://{host.address}:{PORTS['objects']}"}
    broker = f"redis://:tests-only@{host.address}:{PORTS['redis']}/0"
    commands: list[tuple[str, list[str], Callable[[], object]]] = [
        (
            "postgresql",
            host.command(
                *[postgres, "-D", str(database / "data"), "-c", f"listen_addresses={host.address}"],
                *["-c", f"unix_socket_directories={database}", "-c", "fsync=off"],
                user="postgres",
            ),
            lambda: psycopg.connect(dsn, connect_timeout=2).close() is None,
        ),
        (
            "redis",
            host.command(
                find_program("redis-server"),
                "--bind",
                host.address,
                "--requirepass",
                "tests-only",
                "--save",
                "",
            ),
            lambda: _connects(host.address, PORTS["redis"]),
        ),
        (
            "objects",
            host.command(
                sys.executable, "-m", "moto.server", "-H", host.address, "-p", str(PORTS["objects"])
            ),
            lambda: _connects(host.address, PORTS["objects"]),
        ),
    ]
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, database, ignore_errors=True)
        for name, command, ready in commands:
            (tmp_path / name).mkdir(exist_ok=True)
            stack.enter_context(running(command, ready, tmp_path / name))
        fsspec.filesystem("s3", skip_instance_cache=True, **objects).mkdir("films")
        yield {
            "CXR_DATABASE_URL": dsn.replace("postgresql:", "postgresql+psycopg:"),
            "CXR_BROKER_URL": broker,
            "CXR_SPOOL_URL": "s3://films/spool",
            "CXR_SPOOL_OPTIONS": json.dumps(objects),
        }


@pytest.fixture
def start(hosts: Callable[[int], Host], tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Start a role on a host and wait until it is ready."""
    with ExitStack() as stack:

        def begin(host: Host, settings: Mapping[str, str], *role: str) -> None:
            folder = host.folder / "-".join(role)
            folder.mkdir()
            own = {**settings, "CXR_DATA_DIR": str(folder / "data")}
            command = ["/usr/bin/env", *(f"{name}={value}" for name, value in own.items())]
            command = host.command(*command, sys.executable, "-m", "worker", *role)
            log = folder / "ip.log"
            stack.enter_context(running(command, lambda: "ready" in log.read_text(), folder))

        yield begin


@pytest.fixture
def tiny_weights(tmp_path: Path) -> Path:
    """Networks with random weights, which answer at once: a film without lungs has a report too."""
    folder = tmp_path / "weights"
    for role in (Role.LUNGS, Role.OPACITY):
        spec = NetworkSpec(
            role,
            "unet",
            "resnet18",
            (64, 64),
            channel_mean=(0.0,),
            channel_std=(1.0,),
            options={"encoder_depth": 3, "decoder_channels": [16, 8, 8]},
            involvement_threshold=0.3 if role is Role.OPACITY else None,
            training="random weights of a test",
        )
        save_checkpoint(build_network(spec), spec, folder)
    return folder


class Archive:
    """A PACS beside the hosts, which remembers what it was sent, and how often in which bytes."""

    def __init__(self) -> None:
        self.contents: dict[str, set[bytes]] = defaultdict(set)
        self._ae = AE("PACS")
        for context in AllStoragePresentationContexts:
            self._ae.add_supported_context(context.abstract_syntax)
        self._server = self._ae.start_server(
            (GATEWAY, 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._keep)]
        )
        self.port = self._server.server_address[1]  # type: ignore[union-attr]

    def _keep(self, event: evt.Event) -> int:
        self.contents[str(event.request.AffectedSOPInstanceUID)].add(event.encoded_dataset())
        return 0x0000

    def of_studies(self) -> dict[str, Counter[str]]:
        """How many objects of each modality there are for each study."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for versions in list(self.contents.values()):
            dataset = dcmread(BytesIO(next(iter(versions))), stop_before_pixels=True)
            found[str(dataset.StudyInstanceUID)][str(dataset.Modality)] += 1
        return found

    def close(self) -> None:
        self._ae.shutdown()


@pytest.fixture
def archive(hosts: Callable[[int], Host]) -> Iterator[Archive]:
    archive = Archive()
    yield archive
    archive.close()


class Modality(threading.Thread):
    """Sends a film every now and then, again until each was answered with Success."""

    def __init__(self, node: RemoteAE, make_film: Callable[..., bytes]) -> None:
        super().__init__(daemon=True)
        self.node, self.make_film = node, make_film
        self.taken: list[str] = []
        self.refused = 0
        self.enough = threading.Event()

    def run(self) -> None:
        while not self.enough.is_set():
            film = self.make_film(Rows=400, Columns=400, PixelData=bytes(400 * 400 * 2))
            while not self._sent(film):
                self.refused += 1
                time.sleep(0.5)
            study = dcmread(BytesIO(film), stop_before_pixels=True).StudyInstanceUID
            self.taken.append(str(study))
            self.enough.wait(0.5)

    def _sent(self, film: bytes) -> bool:
        try:
            (outcome,) = store(self.node, "MODALITY", [film])
        except DicomNodeError:
            return False
        return outcome.status == 0x0000


def test_hosts_that_are_cut_off_lose_and_double_nothing(
    hosts: Callable[[int], Host],
    servers: dict[str, str],
    archive: Archive,
    start: Callable[..., None],
    tiny_weights: Path,
    make_film: Callable[..., bytes],
) -> None:
    listening, scoring, delivering = hosts(3), hosts(4), hosts(5)
    if not _pings(listening, GATEWAY):
        missing("hosts on a bridge do not reach each other here (a firewall?)")
    settings = {
        **servers,
        "CXR_HOST": listening.address,
        "CXR_PORT": str(PORTS["node"]),
        "CXR_ALLOWED_CALLING_AE_TITLES": "MODALITY",
        "CXR_DESTINATIONS": f"PACS@{GATEWAY}:{archive.port}",
        "CXR_WEIGHTS": str(tiny_weights),
        "CXR_DEVICE": "cpu",
        "CXR_CLAIM_TIMEOUT_S": "15",
        "CXR_RING_AGAIN_AFTER_S": "3",
        "CXR_SWEEP_INTERVAL_S": "0.5",
        "CXR_MAXIMUM_ATTEMPTS": "6",
    }
    engine = open_engine(Settings(database_url=servers["CXR_DATABASE_URL"]).database)
    migrate(engine)
    engine.dispose()
    start(listening, settings, "listen")
    start(scoring, settings, "work", "--queues", "score")
    start(delivering, settings, "work", "--queues", "deliver")
    start(delivering, settings, "sweep")
    modality = Modality(RemoteAE("CXRWORKER", listening.address, PORTS["node"], 5.0), make_film)
    modality.start()
    wait_until(lambda: len(archive.contents) >= 4, 60, "the first two reports")

    scoring.pull_cable()
    time.sleep(20)
    assert len(modality.taken) >= 5
    scoring.plug_in()
    listening.pull_cable()
    time.sleep(8)
    listening.plug_in()
    before = len(modality.taken)
    wait_until(lambda: len(modality.taken) >= before + 3, 60, "images taken after the cut")
    modality.enough.set()
    modality.join(60)
    assert modality.refused > 0

    both = {"SR": 1, "DX": 1}
    wait_until(
        lambda: all(archive.of_studies()[study] == both for study in modality.taken), 120, "every report"
    )
    assert set(archive.of_studies()) == set(modality.taken)
    assert {len(versions) for versions in archive.contents.values()} == {1}


def _pings(host: Host, address: str) -> bool:
    program = shutil.which("ping", path="/usr/bin:/bin:/usr/sbin")
    if program is None:
        return True
    told = subprocess.run(
        host.command(program, "-c", "1", "-W", "2", address), capture_output=True, check=False
    )
    return told.returncode == 0
