"""Commissioning: is everything there that the settings name, and if not, what to do next."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from kombu.exceptions import OperationalError
from rich.table import Table

from dicom_node.commissioning import PATIENT_ID, build_test_capture
from dicom_node.errors import DicomNodeError
from dicom_node.prior import PatientIdentity
from dicom_node.storage_commitment import offers_commitment
from dicom_node.storage_scu import RemoteAE, echo
from models.errors import ModelError
from models.result import SeverityResult
from worker.archives import Archive, fetch
from worker.database import open_engine, require_current
from worker.destination import Destination
from worker.errors import StorageError, WorkerError
from worker.logs import one_line
from worker.pipeline import assess, send
from worker.sample import FILM
from worker.service import introduce, load_scorers, node_settings, route
from worker.settings import Settings
from worker.spool import Spool
from worker.stages import Scorer
from worker.tables import open_console
from worker.tasks import make_queue


@dataclass(frozen=True)
class Finding:
    """One check: whether it passed, and what was seen or what to do."""

    what: str
    passed: bool
    told: str


def examine(settings: Settings, send_test: bool = False) -> bool:
    """Run every check and print a table; return whether all passed.

    Parameters
    ----------
    settings : Settings
        What is to be there.
    send_test : bool
        Whether every destination is sent a test picture, under a patient who says so.
    """
    checks: list[tuple[str, Callable[[], str]]] = [
        ("calling AE titles", lambda: _callers(settings)),
        ("TLS", lambda: _tls(settings)),
        ("data folder", lambda: _data_folder(settings)),
        ("database", lambda: _database(settings)),
        ("broker", lambda: _broker(settings)),
        *((f"weights {name}", _weights_check(settings, name)) for name in settings.algorithms),
        *(("maps", lambda: _maps(settings)) for _ in range(settings.explains)),
        ("destinations", lambda: _destinations(settings)),
        *((_echo_name(one), _echo_check(settings, one)) for one in settings.destinations),
        *(
            (f"commitment {one.name}", _commitment_check(settings, one))
            for one in settings.destinations
            if one.commitment
        ),
        *(
            (f"earlier reports {one.name}", _search_check(settings, one))
            for one in settings.destinations
            if one.priors
        ),
        *(
            (f"test picture {one.name}", _send_check(settings, one))
            for one in settings.destinations
            if send_test
        ),
    ]
    findings = [_run(what, check) for what, check in checks]
    table = Table(title="cxr-worker doctor")
    for column in ("check", "", "seen, or what to do next"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        table.add_row(finding.what, "pass" if finding.passed else "FAIL", one_line(finding.told))
    open_console().print(table)
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


def _tls(settings: Settings) -> str:
    if node_settings(settings).tls is None:
        return "not set: images and results travel in the clear; keep the node on a trusted network"
    if settings.tls_require_client_certificate:
        return "senders must show a certificate"
    return "encrypted, but senders need no certificate"


def _data_folder(settings: Settings) -> str:
    spool = Spool(settings.spool_url or settings.data_dir / "spool", settings.spool_options)
    spool.write_instance("doctor", b"test")
    spool.remove("doctor")
    space = spool.free_bytes()
    free = "" if space is None else f", {space[0] // 2**20} MB free"
    return f"{settings.spool_url or settings.data_dir} can be written{free}"


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


def _weights_check(settings: Settings, name: str) -> Callable[[], str]:
    def check() -> str:
        (scorer,) = load_scorers(settings.model_copy(update={"algorithm": name}), threads=1)
        algorithm = scorer.algorithm
        files = ", ".join(f"{role} {digest[:12]}" for role, digest in algorithm.weights.items())
        told = [introduce(algorithm), f"files: {files}", f"self-test: {_self_test(scorer)}"]
        return "; ".join(told)

    return check


def _self_test(scorer: Scorer) -> str:
    """Score the shipped sample film."""
    started = time.monotonic()
    _, result = assess(FILM.read_bytes(), scorer)
    if isinstance(result, SeverityResult):
        said = f"{result.score} of {result.score_max}"
    else:
        said = f"no score ({result.reason})"
    return f"the sample film gets {said} in {time.monotonic() - started:.1f} s"


def _maps(settings: Settings) -> str:
    if "bs-net" in settings.algorithms:
        return "made by bs-net; each film takes some seconds longer"
    return "a destination wants them and gets none: only bs-net makes them, see CXR_ALGORITHM"


def _destinations(settings: Settings) -> str:
    if not settings.destinations:
        raise WorkerError("results go nowhere: set CXR_DESTINATIONS to AET@host:port of the PACS")
    return ", ".join(destination.name for destination in settings.destinations)


def _echo_name(destination: Destination) -> str:
    return f"STOW-RS {destination.url}" if destination.url else f"C-ECHO {destination.name}"


def _echo_check(settings: Settings, destination: Destination) -> Callable[[], str]:
    def check() -> str:
        remote = route(settings, destination).remote
        if not isinstance(remote, RemoteAE):
            from dicom_node.stow_rs import echo_on_web  # noqa: PLC0415 - an HTTP client

            echo_on_web(remote)
            return "answers"
        echo(remote, settings.ae_title)
        return "answers, over TLS" if remote.tls else "answers"

    return check


def _send_check(settings: Settings, destination: Destination) -> Callable[[], str]:
    def check() -> str:
        remote = route(settings, destination).remote
        (outcome,) = send(remote, settings.ae_title, [build_test_capture(settings.ae_title)])
        if not outcome.succeeded:
            status = "" if outcome.status is None else f" 0x{outcome.status:04X}"
            raise WorkerError(
                f"not taken{status} {outcome.comment}: let {settings.ae_title} store Secondary Captures there"
            )
        return f"taken; look for patient {PATIENT_ID} there, and delete it"

    return check


def _commitment_check(settings: Settings, destination: Destination) -> Callable[[], str]:
    def check() -> str:
        callers = settings.calling_ae_titles
        if destination.ae_title not in callers and "*" not in callers:
            raise WorkerError(
                f"{destination.ae_title} may not call here, so its answers are refused: "
                "add it to CXR_ALLOWED_CALLING_AE_TITLES"
            )
        remote = route(settings, destination).remote
        if isinstance(remote, RemoteAE) and not offers_commitment(remote, settings.ae_title):
            raise WorkerError("not offered by the destination: switch it on there, or set commitment = false")
        return "offered"

    return check


def _search_check(settings: Settings, destination: Destination) -> Callable[[], str]:
    def check() -> str:
        if destination.priors == "c-move" and settings.port == 0:
            raise WorkerError("c-move needs a port of our own that the destination knows: set CXR_PORT")
        archive = Archive(route(settings, destination).remote, destination.priors)
        nobody = PatientIdentity(PATIENT_ID, "", "")
        found = fetch(archive, settings.ae_title, nobody, settings.priors_within_s)
        sends = "; it must know our node, to send there" if destination.priors == "c-move" else ""
        return f"can be searched ({destination.priors}): {len(found)} of the test patient{sends}"

    return check
