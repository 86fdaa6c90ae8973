"""Every container's command, run on this machine with the settings that image and compose file give it.

Only what a container brings is replaced: its paths, its published port and the addresses of its databases.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from dicom_node.storage_scu import RemoteAE, echo, store

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
SERVICES = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
ROLES = [name for name, service in SERVICES.items() if "build" in service and name != "migrate"]
HEALTHY_WITHIN_S = 120.0
STOPPED_WITHIN_S = 30.0


def image_environment(target):
    """Return the variables that an image sets, its ancestors' first."""
    text = re.sub(r"\\\n", " ", DOCKERFILE)
    stages = {
        name: (base, body)
        for base, name, body in re.findall(r"FROM (\S+) AS (\S+)\n(.*?)(?=\nFROM |\Z)", text, re.DOTALL)
    }
    lineage = []
    while target in stages:
        base, body = stages[target]
        lineage.insert(0, body)
        target = base
    return dict(
        assignment.split("=", 1)
        for body in lineage
        for line in re.findall(r"^ENV (.*)$", body, re.MULTILINE)
        for assignment in shlex.split(line)
        if assignment.startswith("CXR_")
    )


@pytest.fixture
def host(tmp_path, redis_url, postgresql_url, free_port):
    """What the containers mount, as paths of this machine, and how their settings point there."""
    (tmp_path / "data").mkdir()
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "database_url").write_text(postgresql_url)
    (secrets / "broker_url").write_text(redis_url)
    paths = {
        "/data": str(tmp_path / "data"),
        "/run/secrets": str(secrets),
        "/etc/cxr/worker.toml": str(ROOT / "docker" / "worker.toml"),
    }

    def environment(name):
        service = SERVICES[name]
        values = image_environment(service["build"]["target"]) | service["environment"]
        for variable, value in values.items():
            for inside, outside in paths.items():
                if value == inside or value.startswith(f"{inside}/"):
                    values[variable] = value.replace(inside, outside, 1)
        values["CXR_PORT"] = str(free_port)
        kept = {key: value for key, value in os.environ.items() if not key.startswith("CXR_")}
        return kept | values

    return environment


@pytest.fixture
def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def entry(arguments):
    """Return the image's entry point with a service's command."""
    (point,) = re.findall(r'^ENTRYPOINT \["(.+)"\]$', DOCKERFILE, re.MULTILINE)
    return [str(Path(sys.executable).parent / point), *arguments]


def migrate(host):
    command = entry(SERVICES["migrate"]["command"])
    return subprocess.run(command, env=host("migrate"), capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ROLES)
def test_the_role_becomes_healthy_and_ends_when_told(name, host, tmp_path):
    if name == "scorer-gpu":
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("no GPU here")
    assert migrate(host).returncode == 0
    environment = host(name)
    probe, *check = SERVICES[name]["healthcheck"]["test"]
    assert (probe, check[0]) == ("CMD", "cxr-worker")
    log = tmp_path / "role.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            entry(SERVICES[name]["command"]), env=environment, cwd=tmp_path, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + HEALTHY_WITHIN_S
        while True:
            health = subprocess.run(
                entry(check[1:]), env=environment, capture_output=True, text=True, check=False
            )
            if health.returncode == 0:
                break
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"{health.stderr}\n{log.read_text()}"
            time.sleep(0.5)
        if name == "listener":
            # the sample's allow-list names MODALITY1, not us
            echo(RemoteAE("CXRWORKER", "127.0.0.1", int(environment["CXR_PORT"])), "MODALITY1")
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOPPED_WITHIN_S) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()
    after = subprocess.run(entry(check[1:]), env=environment, capture_output=True, text=True, check=False)
    if name != "sweeper":  # its sign of life is a file, which ages
        assert after.returncode == 1
        assert after.stderr.startswith("cxr-worker: ")


def test_migrating_twice_changes_nothing(host):
    assert [migrate(host).returncode, migrate(host).returncode] == [0, 0]


@pytest.mark.parametrize("name", ROLES)
def test_without_the_schema_no_role_starts(name, host, tmp_path):
    if name == "scorer-gpu":
        pytest.skip("the same program as scorer")
    result = subprocess.run(
        entry(SERVICES[name]["command"]),
        env=host(name),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert "migrate" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_what_the_listener_takes_is_in_the_shared_data_folder(host, tmp_path, make_film):
    assert migrate(host).returncode == 0
    environment = host("listener")
    process = subprocess.Popen(
        entry(SERVICES["listener"]["command"]), env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    remote = RemoteAE("CXRWORKER", "127.0.0.1", int(environment["CXR_PORT"]))
    try:
        deadline = time.monotonic() + HEALTHY_WITHIN_S
        while True:
            try:
                (outcome,) = store(remote, "MODALITY1", [make_film()])
                break
            except Exception:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        assert outcome.status == 0x0000
    finally:
        process.terminate()
        process.wait(STOPPED_WITHIN_S)
    assert [path for path in (tmp_path / "data").rglob("*.dcm") if path.stat().st_size > 5000]
    # nothing is written outside the data folder: the container's own file system is read-only
    assert {path.name for path in tmp_path.iterdir()} == {"data", "secrets"}
