"""The queue: two Celery tasks that call the story, and the bells that start them.

A message carries one SOP Instance UID and nothing else; whatever a broker loses, doubles or delays, the
journal decides what is done.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from celery import Celery

from worker.pipeline import deliver, score
from worker.service import Service, open_service
from worker.settings import Settings
from worker.step import Step, run_step

logger = logging.getLogger(__name__)

SCORE_QUEUE = "score"
DELIVER_QUEUE = "deliver"
QUEUES = (SCORE_QUEUE, DELIVER_QUEUE)
_SILENT_S = 10.0
_QUEUE_OF = {"score_instance": SCORE_QUEUE, "deliver_report": DELIVER_QUEUE}


class CeleryDoorbell:
    """Rings by sending a task; never raises, and never holds its caller up for long.

    A broker that is away or hangs costs one caller about two seconds; after that nobody rings for
    ``_SILENT_S``, and the sweeper rings later for what waits.

    Parameters
    ----------
    app : celery.Celery
        From ``make_app``; impatient, and the bell's own.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._silent_until = 0.0

    def ring_score(self, sop_instance_uid: str) -> None:
        """Start ``score_instance``."""
        self._ring("score_instance", sop_instance_uid)

    def ring_deliver(self, sop_instance_uid: str) -> None:
        """Start ``deliver_report``."""
        self._ring("deliver_report", sop_instance_uid)

    def _ring(self, task: str, sop_instance_uid: str) -> None:
        if time.monotonic() < self._silent_until:
            return
        try:
            self._app.send_task(task, args=[sop_instance_uid], queue=_QUEUE_OF[task], retry=False)
        except Exception as error:
            # Whatever a broker says no with: being full, loading its data, or a replica only.
            self._silent_until = time.monotonic() + _SILENT_S
            logger.warning(
                "%s: the broker is away (%s); rings later, as for all in the next %g s",
                sop_instance_uid,
                type(error).__name__,
                _SILENT_S,
            )


@dataclass(frozen=True)
class TaskQueue:
    """The Celery application, and the service that its tasks use in this process, opened when first asked."""

    app: Celery
    service: Callable[[], Service]


def make_queue(settings: Settings) -> TaskQueue:
    """Return the queue with its tasks registered; nothing is opened yet."""
    app = make_app(settings)
    bell = CeleryDoorbell(make_app(settings, impatient=True))
    # One per process, opened by its first task: database connections and networks do not survive a fork.
    service = cache(lambda: open_service(settings, bell))
    register(app, service, time_limit_s=score_limit_s(settings))
    return TaskQueue(app, service)


def make_app(settings: Settings, impatient: bool = False) -> Celery:
    """Return a Celery application without tasks.

    Parameters
    ----------
    settings : Settings
        Broker and limits.
    impatient : bool
        Whether a broker that does not answer within a second is given up.
    """
    app = Celery("cxr-severity-worker", broker=settings.broker_url, set_as_current=False)
    answer_within_s, connect_within_s = (1.0, 1.0) if impatient else (10.0, 5.0)
    options: dict[str, object] = {}
    if settings.broker_url.startswith(("redis:", "rediss:")):
        options = {
            # Longer than any task; kombu looks every 5 s instead of every 100 s.
            "visibility_timeout": settings.claim_timeout_s,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": answer_within_s,
            "socket_connect_timeout": connect_within_s,
            "socket_keepalive": True,
            # How soon kombu doubts a connection on which nothing comes any more.
            "health_check_interval": 5,
            **({"max_retries": 0} if impatient else {}),
        }
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        # The journal says what is done: a task that outlives its connection ends as it would have.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # Loading networks takes longer than Celery's 4 s on a slow machine.
        worker_proc_alive_timeout=120.0,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=connect_within_s,
        broker_transport_options=options,
        task_default_queue=SCORE_QUEUE,
        task_create_missing_queues=True,
    )
    if settings.maximum_memory_mb is not None:
        app.conf.worker_max_memory_per_child = settings.maximum_memory_mb * 1024
    return app


def score_limit_s(settings: Settings) -> float:
    """Return how long one image may occupy a scoring process; its claim is still its own then."""
    return 0.8 * settings.claim_timeout_s


def register(
    app: Celery,
    service: Callable[[], Service],
    score_step: Step | None = None,
    time_limit_s: float | None = None,
) -> None:
    """Give the application its two tasks.

    Parameters
    ----------
    app : celery.Celery
        From ``make_app``.
    service : Callable
        Called when the first task runs.
    score_step : Step, optional
        What scores an instance; the story's own step otherwise.
    time_limit_s : float, optional
        After which a process pool kills the process that scores.
    """

    def score_instance(sop_instance_uid: str) -> None:
        if score_step is not None:
            score_step(sop_instance_uid)
        else:
            run_step(lambda: score(sop_instance_uid, service().scoring), sop_instance_uid)

    def deliver_report(sop_instance_uid: str) -> None:
        run_step(lambda: deliver(sop_instance_uid, service().delivering), sop_instance_uid)

    app.task(score_instance, name="score_instance", shared=False, time_limit=time_limit_s)
    app.task(deliver_report, name="deliver_report", shared=False)
