"""The long-running roles: listen, work, sweep, and serve, which is all of them together."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from celery.apps.worker import Worker
from celery.exceptions import CPendingDeprecationWarning
from celery.signals import worker_process_init, worker_ready

from dicom_node.storage_scp import StorageSCP
from worker import watchdog
from worker.database import migrate, open_engine, require_current
from worker.embedded import embedded_worker, leave_what_hangs
from worker.errors import StorageError, WorkerError
from worker.pipeline import sweep, tidy
from worker.process_limits import bound_memory, end_with_parent
from worker.scoring_process import ScoringProcess
from worker.service import Service, node_settings, route
from worker.settings import Settings
from worker.tasks import (
    DELIVER_QUEUE,
    QUEUES,
    SCORE_QUEUE,
    TaskQueue,
    make_app,
    make_queue,
    register,
    score_limit_s,
)

logger = logging.getLogger(__name__)

_TIDY_EVERY_S = 3600.0


def serve(settings: Settings) -> None:
    """Run every role until SIGINT or SIGTERM, with the database brought up to date.

    One process listens, delivers and sweeps; scoring has a process of its own.

    Raises
    ------
    WorkerError, dicom_node.errors.DicomNodeError
        When a part cannot start.
    """
    stop = _stop_on_signals()
    if settings.web_port is not None:
        logger.warning("web_port is set, but this version has no web page: use `cxr-worker status`")
    with ExitStack() as running:
        scorer = running.enter_context(ScoringProcess(settings, score_limit_s(settings)))
        prepare_database(settings)
        service = make_queue(settings).service()
        node = _node(settings, service)
        # Fails here, before anyone is told that the node listens, if weights are missing or altered.
        scorer.wait_until_ready()
        _tell_algorithms(settings, scorer)
        if settings.embedded:
            # This is the only installation there is: whatever was claimed or rung, it died with the last one.
            now = datetime.now(UTC)
            service.upkeep.restore_stale(now, settings.maximum_attempts)
            service.upkeep.forget_bells()
        for queue in QUEUES:
            app = make_app(settings)
            register(app, lambda: service, lambda uid: scorer.score(uid, service))
            running.enter_context(embedded_worker(app, queue))
        running.enter_context(_sweeper_thread(service))
        running.enter_context(node)
        logger.info("ready: %s", _where(settings))
        stop.wait()
        logger.info("stopping")
    leave_what_hangs()


def listen(settings: Settings) -> None:
    """Run the storage node until SIGINT or SIGTERM."""
    stop = _stop_on_signals()
    service = make_queue(settings).service()
    with _node(settings, service):
        logger.info("ready: %s", _where(settings))
        stop.wait()


def work(settings: Settings, queues: Sequence[str], concurrency: int) -> None:
    """Run a Celery worker on ``queues`` with ``concurrency`` processes until SIGINT or SIGTERM.

    A worker that consumes nothing although messages wait ends with exit code ``watchdog.STUCK``, so that
    its supervisor starts it again.

    Raises
    ------
    WorkerError, dicom_node.errors.DicomNodeError
        When the database has another schema, the networks do not load, or a certificate cannot be used.
    """
    if settings.embedded:
        raise WorkerError("`work` needs a broker that other processes reach: set CXR_BROKER_URL to redis://…")
    queue = make_queue(settings)
    engine = open_engine(settings.database)
    require_current(engine)
    # No connection may be shared with the processes that are forked from this one.
    engine.dispose()
    if SCORE_QUEUE in queues:
        with ScoringProcess(settings, score_limit_s(settings)) as trial:
            trial.wait_until_ready()
            _tell_algorithms(settings, trial)
    if DELIVER_QUEUE in queues:
        for destination in settings.destinations:
            route(settings, destination)
    _prepare_children(settings, queue, SCORE_QUEUE in queues)
    # Told at every lost connection, of what make_app chose; and of pickle, which it refuses.
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")
    worker_ready.connect(lambda **_: logger.info("ready: working on %s", ", ".join(queues)), weak=False)
    worker = Worker(
        app=queue.app,
        hostname=worker_name(queues),
        queues=list(queues),
        concurrency=concurrency,
        pool="prefork",
        loglevel=settings.log_level,
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    )
    judge = watchdog.Watch(watchdog.IDLE_LIMIT_S, busy_limit_s=4 * settings.claim_timeout_s)
    watchdog.watch(make_app(settings, impatient=True), queues, judge)
    worker.start()
    if worker.exitcode:
        raise WorkerError(f"the Celery worker ended with exit code {worker.exitcode}: see its log above")


def _tell_algorithms(settings: Settings, scorer: ScoringProcess) -> None:
    for told in scorer.algorithms:
        logger.info("scoring with %s", told)
    if settings.explains and "bs-net" not in settings.algorithms:
        logger.warning(
            "a destination wants maps, which only bs-net makes: set CXR_ALGORITHM or leave them out"
        )


def _node(settings: Settings, service: Service) -> StorageSCP:
    return StorageSCP(node_settings(settings), service.accept, confirm=service.confirm, refuse=service.refuse)


def _prepare_children(settings: Settings, queue: TaskQueue, scores: bool) -> None:
    parent = os.getpid()

    def prepare(**_: object) -> None:
        end_with_parent(parent)
        if scores:
            # Networks are loaded after the fork: neither CUDA nor torch's threads survive one.
            queue.service().scoring  # noqa: B018 - loads them
            bound_memory(settings.maximum_memory_mb)

    worker_process_init.connect(prepare, weak=False)


def sweep_until_stopped(settings: Settings) -> None:
    """Run the sweeper until SIGINT or SIGTERM; exactly one is needed, several do no harm."""
    stop = _stop_on_signals()
    service = make_queue(settings).service()
    logger.info("ready: sweeping every %g s", settings.sweep_interval_s)
    _sweep_loop(service, stop)


def prepare_database(settings: Settings) -> None:
    """Bring the journal's schema up to date; makes the data folder for an embedded database."""
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"the data folder {settings.data_dir} cannot be made ({error.strerror}): check CXR_DATA_DIR"
        ) from error
    engine = open_engine(settings.database, answer_within_s=None)
    migrate(engine)
    engine.dispose()


def worker_name(queues: Sequence[str]) -> str:
    """Return the Celery node name of a worker on this host."""
    return f"{'-'.join(queues)}@{socket.gethostname()}"


def heartbeat(settings: Settings) -> Path:
    """Return the file that the sweeper touches each round."""
    return settings.data_dir / f"sweeper-{socket.gethostname()}.alive"


def _where(settings: Settings) -> str:
    callers = ", ".join(settings.calling_ae_titles) or "nobody (set CXR_ALLOWED_CALLING_AE_TITLES)"
    results = ", ".join(destination.name for destination in settings.destinations)
    return (
        f"{settings.ae_title} on {settings.host}:{settings.port} takes images from {callers}; "
        f"results go to {results or 'nowhere (set CXR_DESTINATIONS)'}"
    )


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()

    def request_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, request_stop)
    return stop


@contextmanager
def _sweeper_thread(service: Service) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=_sweep_loop, args=(service, stop), name="sweep", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=30)


def _sweep_loop(service: Service, stop: threading.Event) -> None:
    alive = heartbeat(service.settings)
    tidy_at = 0.0
    while not stop.is_set():
        try:
            sweep(service.sweeping)
            if time.monotonic() >= tidy_at:
                tidy(service.sweeping)
                tidy_at = time.monotonic() + _TIDY_EVERY_S
            # With spool and journal elsewhere nobody else makes the folder.
            alive.parent.mkdir(parents=True, exist_ok=True)
            alive.touch()
        except (StorageError, OSError) as error:
            logger.warning(
                "sweeping failed, next round in %g s: %s", service.settings.sweep_interval_s, error
            )
        stop.wait(service.settings.sweep_interval_s)
