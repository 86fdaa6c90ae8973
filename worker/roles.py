"""The long-running roles: listen, work, sweep, and serve, which is all of them in one process."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from celery.apps.worker import Worker
from celery.signals import worker_process_init, worker_ready
from celery.worker import WorkController

from dicom_node.storage_scp import StorageSCP
from worker.database import migrate, open_engine, require_current
from worker.errors import StorageError, WorkerError
from worker.pipeline import sweep
from worker.service import Service, load_scorer, node_settings
from worker.settings import Settings
from worker.tasks import QUEUES, SCORE_QUEUE, make_app, make_queue, register

logger = logging.getLogger(__name__)


def serve(settings: Settings) -> None:
    """Run every role in this process until SIGINT or SIGTERM, with the database brought up to date.

    Raises
    ------
    WorkerError, dicom_node.errors.DicomNodeError, models.errors.ModelError
        When a part cannot start.
    """
    stop = _stop_on_signals()
    if settings.web_port is not None:
        logger.warning("web_port is set, but this version has no web page: use `cxr-worker status`")
    prepare_database(settings)
    queue = make_queue(settings)
    service = queue.service()
    # Fails here, before anyone is told that the node listens, if weights are missing or altered.
    logger.info("scoring with %s", service.scoring.scorer.algorithm.digest[:16])
    if settings.embedded:
        # This is the only process there is: whatever was claimed or rung, it died with the last one.
        now = datetime.now(UTC)
        service.upkeep.restore_stale(now, settings.maximum_attempts)
        service.upkeep.forget_bells()
    with ExitStack() as running:
        for name in QUEUES:
            running.enter_context(_embedded_worker(settings, queue.service, name))
        running.enter_context(_sweeper_thread(service))
        running.enter_context(StorageSCP(node_settings(settings), service.accept))
        logger.info("ready: %s", _where(settings))
        stop.wait()
        logger.info("stopping")


def listen(settings: Settings) -> None:
    """Run the storage node until SIGINT or SIGTERM."""
    stop = _stop_on_signals()
    service = make_queue(settings).service()
    with StorageSCP(node_settings(settings), service.accept):
        logger.info("ready: %s", _where(settings))
        stop.wait()


def work(settings: Settings, queues: Sequence[str], concurrency: int) -> None:
    """Run a Celery worker on ``queues`` with ``concurrency`` processes until SIGINT or SIGTERM.

    Raises
    ------
    WorkerError
        When the database has another schema, or the networks do not load.
    """
    if settings.embedded:
        raise WorkerError("`work` needs a broker that other processes reach: set CXR_BROKER_URL to redis://…")
    queue = make_queue(settings)
    require_current(open_engine(settings.database))
    if SCORE_QUEUE in queues:
        _check_scorer(settings)
        worker_process_init.connect(lambda **_: queue.service().scoring, weak=False)
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
    worker.start()
    if worker.exitcode:
        raise WorkerError(f"the Celery worker ended with exit code {worker.exitcode}: see its log above")


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
    migrate(open_engine(settings.database))


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
def _embedded_worker(settings: Settings, service: Callable[[], Service], queue: str) -> Iterator[None]:
    # Its own application: the queues that a worker consumes are kept there, and each worker has one.
    app = make_app(settings)
    register(app, service)
    controller = WorkController(
        app=app,
        hostname=worker_name([queue]),
        queues=[queue],
        pool_cls="solo",
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
    while not stop.is_set():
        try:
            sweep(service.sweeping)
            alive.touch()
        except (StorageError, OSError) as error:
            logger.warning(
                "sweeping failed, next round in %g s: %s", service.settings.sweep_interval_s, error
            )
        stop.wait(service.settings.sweep_interval_s)


def _check_scorer(settings: Settings) -> None:
    # In a process of its own: a parent that has used CUDA or torch's threads must not fork.
    process = multiprocessing.get_context("spawn").Process(target=_load_or_exit, args=(settings,))
    process.start()
    process.join()
    if process.exitcode:
        raise WorkerError("the networks do not load: see the line above")


def _load_or_exit(settings: Settings) -> None:
    try:
        load_scorer(settings, threads=1)
    except Exception as error:  # the message crosses the process border on stderr, as one line
        os.write(2, f"cxr-worker: {error}\n".encode())
        os._exit(1)
