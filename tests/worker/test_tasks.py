"""The queue: JSON only, late acknowledgement, and a broker that is away delays nobody."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest
import redis

from worker.settings import Settings
from worker.tasks import CeleryDoorbell, make_app, make_queue, score_limit_s
from worker.watchdog import Watch


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


def test_one_bell_waits_for_a_broker_that_hangs_and_the_next_ones_do_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # The kernel takes connections and nobody answers.
    with socket.create_server(("127.0.0.1", 0)) as mute:
        broker = f"redis://127.0.0.1:{mute.getsockname()[1]}/0"
        bell = CeleryDoorbell(make_app(Settings(data_dir=tmp_path, broker_url=broker), impatient=True))
        started = time.monotonic()
        for number in range(50):
            bell.ring_score(f"1.2.{number}")
        assert time.monotonic() - started < 10
    assert caplog.text.count("the broker is away") == 1


def test_a_bell_rings_again_after_its_silence(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bell = CeleryDoorbell(make_app(Settings(data_dir=tmp_path, broker_url=redis_url), impatient=True))
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory", 1)
        bell.ring_score("1.2.3")
        client.config_set("maxmemory", 0)
        bell.ring_score("1.2.4")
        assert client.llen("score") == 0
        later = time.monotonic() + 60
        monkeypatch.setattr("worker.tasks.time.monotonic", lambda: later)
        bell.ring_score("1.2.5")
        assert client.llen("score") == 1


def test_scoring_is_cut_short_before_its_claim_is_given_to_another(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, broker_url="redis://127.0.0.1:9/0", claim_timeout_s=100)
    queue = make_queue(settings)
    assert queue.app.tasks["score_instance"].time_limit == score_limit_s(settings) == 80
    assert queue.app.tasks["deliver_report"].time_limit is None


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("looks", "stuck"),
    [
        # seconds, messages waiting, busy, fetched since the last look
        ([(0, 1, False, 0), (11, 1, False, 0)], True),
        ([(0, 1, False, 0), (9, 1, False, 0)], False),
        ([(0, 1, False, 0), (9, 0, False, 0), (11, 1, False, 0)], False),
        ([(0, 1, False, 0), (9, 1, False, 1), (15, 1, False, 0)], False),
        ([(0, 1, False, 0), (9, None, False, 0), (15, 1, False, 0)], False),
        ([(0, 1, True, 0), (50, 1, True, 0), (55, 1, False, 0)], False),
        ([(0, 1, True, 0), (101, 1, True, 0)], True),
        ([(0, 1, True, 0), (90, 1, True, 1), (150, 1, True, 0)], False),
    ],
)
def test_a_worker_is_stuck_when_messages_wait_and_it_fetches_none(
    looks: list[tuple[float, int | None, bool, int]], stuck: bool
) -> None:
    clock = Clock()
    watch = Watch(idle_limit_s=10, busy_limit_s=100, clock=clock)
    for seconds, waiting, busy, fetched in looks:
        clock.now = seconds
        for _ in range(fetched):
            watch.note_received()
        verdict = watch.is_stuck(waiting, busy)
    assert verdict is stuck
