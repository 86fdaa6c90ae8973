"""Celery workers in threads of one process: what `serve` scores and delivers with."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from celery import Celery
from celery.concurrency.thread import TaskPool
from celery.worker import WorkController

from worker.tasks import DELIVER_QUEUE

logger = logging.getLogger(__name__)

_DELIVERIES = 8
"""Deliveries at the same time, so that a destination that hangs holds up no other."""

_FINISH_WITHIN_S = 10.0
_DELIVERER = "deliverer"


class _DeliveryThreads(TaskPool):  # type: ignore[misc]
    """Celery's threads, in each of which tasks are looked up in the right application."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.executor = ThreadPoolExecutor(self.limit, _DELIVERER, initializer=self.app.set_current)

    def on_stop(self) -> None:
        """Take no more; what is being sent may take as long as its destination's time limits."""
        self.executor.shutdown(wait=False, cancel_futures=True)


def leave_what_hangs() -> None:
    """End the process where a destination that does not answer would hold up its end."""
    deadline = time.monotonic() + _FINISH_WITHIN_S
    sending = [thread for thread in threading.enumerate() if thread.name.startswith(_DELIVERER)]
    for thread in sending:
        thread.join(max(0.0, deadline - time.monotonic()))
    if any(thread.is_alive() for thread in sending):
        logger.warning(
            "a destination still does not answer: its deliveries are made again after the next start"
        )
        logging.shutdown()
        # Python itself would wait for them.
        os._exit(0)


@contextmanager
def embedded_worker(app: Celery, queue: str) -> Iterator[None]:
    """Run a Celery worker for one queue in a thread until the block ends.

    Parameters
    ----------
    app : celery.Celery
        The worker's own, with the tasks.
    queue : str
        What it consumes: scores one after another, deliveries several at the same time.
    """
    delivers = queue == DELIVER_QUEUE
    # Each has its own application: the queues that a worker consumes are kept there.
    controller = WorkController(
        app=app,
        hostname=f"{queue}@{socket.gethostname()}",
        queues=[queue],
        pool_cls=_DeliveryThreads if delivers else "solo",
        concurrency=_DELIVERIES if delivers else 1,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )

    def run() -> None:
        # Celery looks tasks up in the application that is current in the thread.
        app.set_current()
        controller.start()

    thread = threading.Thread(target=run, name=f"work-{queue}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        controller.stop()
        thread.join(timeout=30)
