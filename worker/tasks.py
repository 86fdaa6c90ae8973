"""The queue: two Celery tasks that call the story, and the bells that start them.

A message carries one SOP Instance UID and nothing else; whatever a broker loses, doubles or delays, the
journal decides what is done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from celery import Celery
from kombu.exceptions import OperationalError

from worker.errors import StorageError
from worker.pipeline import deliver, describe, score
from worker.service import Service, open_service
from worker.settings import Settings

logger = logging.getLogger(__name__)

SCORE_QUEUE = "score"
DELIVER_QUEUE = "deliver"
QUEUES = (SCORE_QUEUE, DELIVER_QUEUE)
_QUEUE_OF = {"score_instance": SCORE_QUEUE, "deliver_report": DELIVER_QUEUE}


class CeleryDoorbell:
    """Rings by sending a task; a broker that is away is logged, and the sweeper rings later."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def ring_score(self, sop_instance_uid: str) -> None:
        """Start ``score_instance``."""
        self._ring("score_instance", sop_instance_uid)

    def ring_deliver(self, sop_instance_uid: str) -> None:
        """Start ``deliver_report``."""
        self._ring("deliver_report", sop_instance_uid)

    def _ring(self, task: str, sop_instance_uid: str) -> None:
        try:
            self._app.send_task(task, args=[sop_instance_uid], queue=_QUEUE_OF[task], retry=False)
        except (OperationalError, OSError) as error:
            logger.warning("%s: the broker is away (%s); rings later", sop_instance_uid, type(error).__name__)


@dataclass(frozen=True)
class TaskQueue:
    """The Celery application, and the service that its tasks use in this process, opened when first asked."""

    app: Celery
    service: Callable[[], Service]


def make_queue(settings: Settings) -> TaskQueue:
    """Return the queue with its tasks registered; nothing is opened yet."""
    app = make_app(settings)
    # One per process, opened by its first task: database connections and networks do not survive a fork.
    service = cache(lambda: open_service(settings, CeleryDoorbell(app)))
    register(app, service)
    return TaskQueue(app, service)


def make_app(settings: Settings) -> Celery:
    """Return a Celery application without tasks."""
    app = Celery("cxr-severity-worker", broker=settings.broker_url, set_as_current=False)
    options: dict[str, object] = {}
    if settings.broker_url.startswith(("redis:", "rediss:")):
        options = {
            # Longer than any task; kombu looks every 5 s instead of every 100 s.
            "visibility_timeout": settings.claim_timeout_s,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
        }
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=options,
        task_default_queue=SCORE_QUEUE,
        task_create_missing_queues=True,
    )
    return app


def register(app: Celery, service: Callable[[], Service]) -> None:
    """Give the application its two tasks; ``service`` is called when the first one runs."""

    def score_instance(sop_instance_uid: str) -> None:
        with_service(lambda ready: score(sop_instance_uid, ready.scoring), sop_instance_uid)

    def deliver_report(sop_instance_uid: str) -> None:
        with_service(lambda ready: deliver(sop_instance_uid, ready.delivering), sop_instance_uid)

    def with_service(step: Callable[[Service], None], sop_instance_uid: str) -> None:
        try:
            step(service())
        except StorageError as error:
            logger.warning("%s: %s; rings later", sop_instance_uid, error)
        except Exception as error:
            # Celery would log the error's text, which may quote a patient's name.
            logger.error("%s: unexpected %s", sop_instance_uid, describe(error))  # noqa: TRY400

    app.task(score_instance, name="score_instance", shared=False)
    app.task(deliver_report, name="deliver_report", shared=False)
