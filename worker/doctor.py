"""Commissioning: is everything there that the settings name, and if not, what to do next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kombu.exceptions import OperationalError
from rich.console import Console
from rich.table import Table

from dicom_node.errors import DicomNodeError
from dicom_node.storage_scu import RemoteAE, echo
from models.errors import ModelError
from worker.database import open_engine, require_current
from worker.errors import StorageError, WorkerError
from worker.service import load_scorer
from worker.settings import Destination, Settings
from worker.spool import Spool
from worker.tasks import make_queue


@dataclass(frozen=True)
class Finding:
    """One check: whether it passed, and what was seen or what to do."""

    what: str
    passed: bool
    told: str


def examine(settings: Settings) -> bool:
    """Run every check and print a table; return whether all passed."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("calling AE titles", lambda: _callers(settings)),
        ("data folder", lambda: _data_folder(settings)),
        ("database", lambda: _database(settings)),
        ("broker", lambda: _broker(settings)),
        ("weights", lambda: _weights(settings)),
        ("destinations", lambda: _destinations(settings)),
        *((f"C-ECHO {one.name}", _echo_check(settings, one)) for one in settings.destinations),
    ]
    findings = [_run(what, check) for what, check in checks]
    table = Table(title="cxr-worker doctor")
    for column in ("check", "", "seen, or what to do next"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        table.add_row(finding.what, "pass" if finding.passed else "FAIL", finding.told)
    Console().print(table)
    return all(finding.passed for finding in findings)


def _run(what: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, check())
    except (WorkerError, DicomNodeError, ModelError) as error:
        return Finding(what, False, str(error))
    except ModuleNotFoundError as error:
        return Finding(what, False, f"{error.name} is not installed: fine for a role that does not score")


def _callers(settings: Settings) -> str:
    if not settings.calling_ae_titles:
        raise WorkerError("nobody may send: set CXR_ALLOWED_CALLING_AE_TITLES to the senders' AE titles")
    return ", ".join(settings.calling_ae_titles)


def _data_folder(settings: Settings) -> str:
    spool = Spool(settings.data_dir / "spool")
    spool.write_instance("doctor", b"test")
    spool.remove("doctor")
    return f"{settings.data_dir} can be written"


def _database(settings: Settings) -> str:
    require_current(open_engine(settings.database))
    return settings.database.render_as_string()


def _broker(settings: Settings) -> str:
    if settings.embedded:
        return "in this process (embedded)"
    try:
        with make_queue(settings).app.connection_for_read() as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
            return str(connection.as_uri(include_password=False))
    except (OperationalError, OSError) as error:
        raise StorageError(
            f"the broker does not answer ({type(error).__name__}): check CXR_BROKER_URL and that it runs"
        ) from None


def _weights(settings: Settings) -> str:
    algorithm = load_scorer(settings, threads=1).algorithm
    digests = ", ".join(f"{role} {digest[:12]}" for role, digest in algorithm.weights.items())
    return f"{algorithm.name} {algorithm.version}: {digests}"


def _destinations(settings: Settings) -> str:
    if not settings.destinations:
        raise WorkerError("results go nowhere: set CXR_DESTINATIONS to AET@host:port of the PACS")
    return ", ".join(destination.name for destination in settings.destinations)


def _echo_check(settings: Settings, destination: Destination) -> Callable[[], str]:
    def check() -> str:
        remote = RemoteAE(destination.ae_title, destination.host, destination.port, destination.timeout_s)
        echo(remote, settings.ae_title)
        return "answers"

    return check
