"""Listener, scorer, deliverer and sweeper as separate processes, with Redis and PostgreSQL between them."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import redis

Environment = dict[str, str]


@pytest.fixture
def settings(tmp_path: Path, orthanc: Any, redis_url: str, postgresql_url: str) -> Environment:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    secrets = {"CXR_DATABASE_URL": postgresql_url, "CXR_BROKER_URL": redis_url}
    for name, secret in secrets.items():
        (tmp_path / name).write_text(f"{secret}\n")
    return {
        "CXR_DATA_DIR": str(tmp_path / "data"),
        "CXR_PORT": str(port),
        "CXR_DESTINATIONS": json.dumps(
            [{"ae_title": orthanc.ae_title, "host": "127.0.0.1", "port": orthanc.dicom_port}]
        ),
        "CXR_SWEEP_INTERVAL_S": "0.5",
        "CXR_RING_AGAIN_AFTER_S": "3",
        "CXR_DEVICE": "cpu",
        **{f"{name}_FILE": str(tmp_path / name) for name in secrets},
    }


def counts(cxr_worker: Any, settings: Environment) -> dict[str, int]:
    return dict(json.loads(cxr_worker("status", "--json", settings=settings).stdout)["counts"])


def wait_for_stored(cxr_worker: Any, settings: Environment, images: int, timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while counts(cxr_worker, settings)["STORED"] < images:
        assert time.monotonic() < deadline, counts(cxr_worker, settings)
        time.sleep(0.5)


def test_separate_roles_and_a_broker_that_forgets(
    settings: Environment,
    orthanc: Any,
    redis_url: str,
    storescu: Any,
    start_role: Any,
    cxr_worker: Any,
    sample_films: list[Path],
) -> None:
    early = cxr_worker("work", settings=settings)
    assert early.returncode == 1
    assert "cxr-worker migrate" in early.stderr
    assert cxr_worker("migrate", settings=settings).returncode == 0
    start_role("listen", settings=settings)
    start_role("sweep", settings=settings)
    start_role("work", "--queues", "score", settings=settings)
    start_role("work", "--queues", "deliver", settings=settings)
    port = int(settings["CXR_PORT"])
    assert storescu(port, sample_films[0]).returncode == 0
    wait_for_stored(cxr_worker, settings, 1)
    for role in (["listen"], ["sweep"], ["work", "--queues", "score"], ["work", "--queues", "deliver"]):
        healthy = cxr_worker("health", *role, settings=settings)
        assert healthy.returncode == 0, healthy.stderr

    # A broker that loses everything delays, and loses nothing: the sweeper rings again.
    assert storescu(port, *sample_films[1:]).returncode == 0
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    wait_for_stored(cxr_worker, settings, len(sample_films))
    assert len(orthanc.instances()) == 2 * len(sample_films)

    doctor = cxr_worker("doctor", settings={**settings, "CXR_ALLOWED_CALLING_AE_TITLES": "MODALITY"})
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert "tests-only" not in doctor.stdout


def test_health_says_what_is_wrong(settings: Environment, cxr_worker: Any) -> None:
    for role, told in (
        ("listen", "is `listen` running"),
        ("work", "does not answer"),
        ("sweep", "round yet"),
    ):
        unhealthy = cxr_worker("health", role, settings=settings)
        assert (unhealthy.returncode, told in unhealthy.stderr) == (1, True), unhealthy.stderr
