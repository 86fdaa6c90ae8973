"""A worker that looks alive and consumes nothing ends itself, so that its supervisor starts it again.

After trouble with Redis a Celery worker may stay connected, answer pings and never fetch a message again
(Celery's issues 8030, 8091, 10302): an acknowledgement that Redis was too slow to hear is enough, for its
message counts as held for ever. Pings do not show it; what shows it is a queue that is not empty beside
a worker that has nothing to do.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from celery import Celery
from celery.signals import task_received
from celery.worker import state

logger = logging.getLogger(__name__)

STUCK = 75
"""Exit code of a worker that ends itself (EX_TEMPFAIL of sysexits.h): start it again."""

IDLE_LIMIT_S = 40.0
"""How long messages may wait beside a worker that does nothing; it may pause 30 s between two connections."""

_LOOK_EVERY_S = 5.0


@dataclass
class Watch:
    """Judges what is seen, look by look.

    Parameters
    ----------
    idle_limit_s : float
        How long messages may wait beside a worker that does nothing.
    busy_limit_s : float
        How long they may wait beside one that fetches none because it says it is busy.
    clock : Callable
        Seconds that never go back.
    """

    idle_limit_s: float
    busy_limit_s: float
    clock: Callable[[], float] = time.monotonic
    _received: int = 0
    _received_then: int = 0
    _waiting_since: float | None = field(default=None)
    _idle_since: float | None = field(default=None)

    def note_received(self, **_: object) -> None:
        """Count a message that this worker has fetched."""
        self._received += 1

    def is_stuck(self, waiting: int | None, busy: bool) -> bool:
        """Take one look.

        Parameters
        ----------
        waiting : int, optional
            Messages in this worker's queues; None when the broker is away, which is not the worker's fault.
        busy : bool
            Whether this worker holds a message.
        """
        now, received = self.clock(), self._received
        if not waiting or received != self._received_then:
            self._waiting_since = self._idle_since = None
            self._received_then = received
            return False
        self._waiting_since = now if self._waiting_since is None else self._waiting_since
        if busy:
            self._idle_since = None
            return now - self._waiting_since > self.busy_limit_s
        self._idle_since = now if self._idle_since is None else self._idle_since
        return now - self._idle_since > self.idle_limit_s


def watch(app: Celery, queues: Sequence[str], seen: Watch) -> None:
    """Watch the worker of this process, from a thread, until the process ends.

    Parameters
    ----------
    app : celery.Celery
        An application of the watch's own, whose connection shares nothing with the worker's.
    queues : Sequence of str
        What the worker consumes.
    seen : Watch
        What judges.
    """
    task_received.connect(seen.note_received, weak=False)

    def look_again_and_again() -> None:
        while True:
            time.sleep(_LOOK_EVERY_S)
            if seen.is_stuck(_waiting(app, queues), busy=bool(state.reserved_requests)):
                logger.error("messages wait and this worker fetches none: it ends, to be started again")
                # The worker's own way to stop may be what is stuck; its processes end with it.
                os._exit(STUCK)

    threading.Thread(target=look_again_and_again, name="watchdog", daemon=True).start()


def _waiting(app: Celery, queues: Sequence[str]) -> int | None:
    try:
        with app.connection_for_read() as connection:
            channel: Any = connection.default_channel
            return sum(int(channel.queue_declare(queue, passive=True).message_count) for queue in queues)
    except Exception:  # the broker is away, in whichever words
        return None
