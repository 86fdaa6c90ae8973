"""The queue: JSON only, late acknowledgement, and a broker that is away delays nobody."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import redis

from worker.settings import Settings
from worker.tasks import CeleryDoorbell, make_app, make_queue


def test_a_message_is_json_and_carries_one_uid(redis_url: str, tmp_path: Path) -> None:
    app = make_app(Settings(data_dir=tmp_path, broker_url=redis_url))
    CeleryDoorbell(app).ring_score("1.2.3")
    CeleryDoorbell(app).ring_deliver("1.2.4")
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        for queue, uid in (("score", "1.2.3"), ("deliver", "1.2.4")):
            (message,) = client.lrange(queue, 0, -1)
            envelope = json.loads(message)
            assert envelope["content-type"] == "application/json"
            assert envelope["headers"]["argsrepr"] == f"['{uid}']"
    app.close()


def test_what_makes_redelivery_happen_and_harmless(tmp_path: Path) -> None:
    app = make_app(Settings(data_dir=tmp_path, broker_url="redis://:pw@127.0.0.1:9/0", claim_timeout_s=77))
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_acks_late
    assert app.conf.task_reject_on_worker_lost
    assert app.conf.worker_prefetch_multiplier == 1
    assert app.conf.broker_transport_options["visibility_timeout"] == 77


def test_a_broker_that_is_away_is_logged_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(Settings(data_dir=tmp_path, broker_url="redis://:sesame@127.0.0.1:9/0"))
    started = time.monotonic()
    CeleryDoorbell(app).ring_score("1.2.3")
    assert time.monotonic() - started < 10
    assert "1.2.3: the broker is away" in caplog.text
    assert "sesame" not in caplog.text


def test_both_tasks_are_known_by_name_and_nothing_is_opened_yet(tmp_path: Path) -> None:
    queue = make_queue(Settings(data_dir=tmp_path / "data"))
    assert {"score_instance", "deliver_report"} <= set(queue.app.tasks)
    assert not (tmp_path / "data").exists()
