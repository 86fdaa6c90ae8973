"""What a role needs, built once per process from the settings."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from dicom_node.commitment_report import CommitmentResult
from dicom_node.instance import ReceivedInstance
from dicom_node.report_settings import ReportSettings
from dicom_node.storage_scp import NodeSettings
from dicom_node.storage_scu import RemoteAE
from dicom_node.tls import TLSFiles, client_context, server_context
from worker.archives import Archive, Archives
from worker.assessments import Assessments
from worker.database import open_engine, require_current
from worker.deliveries import Deliveries
from worker.destination import Destination
from worker.errors import SettingsError, StorageError
from worker.history import History
from worker.journal import Journal
from worker.pipeline import accept, confirm
from worker.priors import Priors
from worker.settings import Settings
from worker.spool import Spool
from worker.stages import Delivering, Doorbell, Route, Scorer, Scoring, Sweeping
from worker.upkeep import Upkeep

if TYPE_CHECKING:
    from dicom_node.stow_rs import RemoteWeb
    from models.result import AlgorithmId

_MB = 1024 * 1024
_LEAST_FREE_SHARE = 0.05


@dataclass(frozen=True)
class Service:
    """The parts of one process."""

    settings: Settings
    engine: Engine
    spool: Spool
    doorbell: Doorbell

    @cached_property
    def journal(self) -> Journal:
        """The verbs of the story."""
        return Journal(self.engine)

    @cached_property
    def deliveries(self) -> Deliveries:
        """The verbs of the reports' way to their destinations."""
        return Deliveries(self.engine)

    @cached_property
    def history(self) -> History:
        """The journal for operators."""
        return History(self.engine)

    @cached_property
    def upkeep(self) -> Upkeep:
        """The journal for the sweeper."""
        return Upkeep(self.engine)

    def accept(self, instance: ReceivedInstance) -> None:
        """Run the story's first step."""
        accept(instance, self.spool, self.journal, self.doorbell)

    def confirm(self, result: CommitmentResult) -> bool:
        """Hear a destination's word on storage commitment."""
        return confirm(result, self.deliveries, self.doorbell)

    def refuse(self) -> str | None:
        """Say why no image is taken at present: too little space is left for it and its report."""
        for what, space in (("spool", self.spool.free_bytes()), ("journal", self._free_for_journal())):
            if space is None:
                continue
            free, total = space
            least = min(self.settings.minimum_free_mb * _MB, total * _LEAST_FREE_SHARE)
            if free < least:
                return (
                    f"the {what} has {free // _MB} MB left, and {least / _MB:.0f} MB are kept free: "
                    "make room, or let `cxr-worker purge` remove what was delivered"
                )
        return None

    def _free_for_journal(self) -> tuple[int, int] | None:
        database = self.settings.database
        if database.get_backend_name() != "sqlite" or not database.database:
            return None
        try:
            usage = shutil.disk_usage(Path(database.database).parent)
        except OSError as error:
            raise StorageError(f"the journal's folder cannot be read ({error.strerror})") from error
        return usage.free, usage.total

    @cached_property
    def scoring(self) -> Scoring:
        """What the second step needs; loads the networks.

        Raises
        ------
        models.errors.CheckpointError
            When weights are missing or altered.
        """
        return Scoring(
            spool=self.spool,
            journal=self.journal,
            doorbell=self.doorbell,
            scorers=load_scorers(
                self.settings, None if self.settings.embedded else 1, explain=self.settings.explains
            ),
            forms={
                destination.name: ReportSettings(
                    sr_class=destination.sr,
                    capture=destination.capture,
                    language=self.settings.language,
                    grade_severity=self.settings.grade_severity,
                    objects=destination.send,
                )
                for destination in self.settings.destinations
            },
            maximum_attempts=self.settings.maximum_attempts,
            history=self.history,
            priors=Priors(self.engine),
            assessments=Assessments(self.engine),
            archives=self._archives(),
        )

    def _archives(self) -> Archives:
        asked = [destination for destination in self.settings.destinations if destination.priors]
        return Archives(
            archives={one.name: Archive(route(self.settings, one).remote, one.priors) for one in asked},
            calling_ae_title=self.settings.ae_title,
            within_s=self.settings.priors_within_s,
            spool=self.spool,
            priors=Priors(self.engine),
            history=self.history,
        )

    @cached_property
    def delivering(self) -> Delivering:
        """What the third step needs."""
        return Delivering(
            spool=self.spool,
            deliveries=self.deliveries,
            doorbell=self.doorbell,
            routes={
                destination.name: route(self.settings, destination)
                for destination in self.settings.destinations
            },
            calling_ae_title=self.settings.ae_title,
        )

    @cached_property
    def sweeping(self) -> Sweeping:
        """What the sweeper needs."""
        keep_entries_s, keep_results_s = self.settings.keep_entries_s, self.settings.keep_results_s
        return Sweeping(
            spool=self.spool,
            upkeep=self.upkeep,
            doorbell=self.doorbell,
            claim_timeout=timedelta(seconds=self.settings.claim_timeout_s),
            ring_again_after=timedelta(seconds=self.settings.ring_again_after_s),
            give_up_after=timedelta(seconds=self.settings.delivery_give_up_after_s),
            keep_delivered=timedelta(seconds=self.settings.keep_delivered_s),
            keep_entries=None if keep_entries_s is None else timedelta(seconds=keep_entries_s),
            maximum_attempts=self.settings.maximum_attempts,
            keep_results=None if keep_results_s is None else timedelta(seconds=keep_results_s),
        )


def open_service(settings: Settings, doorbell: Doorbell) -> Service:
    """Open spool and database.

    Raises
    ------
    StorageError
        When one of them cannot be used.
    SchemaError
        When the database has not this version's schema.
    """
    spool = Spool(settings.spool_url or settings.data_dir / "spool", settings.spool_options)
    engine = open_engine(settings.database)
    require_current(engine)
    return Service(settings=settings, engine=engine, spool=spool, doorbell=doorbell)


def node_settings(settings: Settings) -> NodeSettings:
    """Return the storage node's part of the settings.

    Raises
    ------
    dicom_node.errors.TLSUnusable
        When a certificate or key cannot be used.
    """
    tls = None
    if settings.tls_certificate:
        tls = server_context(tls_files(settings), settings.tls_require_client_certificate)
    return NodeSettings(
        ae_title=settings.ae_title,
        host=settings.host,
        port=settings.port,
        allowed_calling_ae_titles=settings.calling_ae_titles,
        require_called_ae_title=settings.require_called_ae_title,
        maximum_associations=settings.maximum_associations,
        maximum_instance_bytes=settings.maximum_instance_mb * _MB,
        maximum_buffered_bytes=settings.maximum_buffered_mb * _MB,
        tls=tls,
        allowed_addresses=settings.allowed_addresses,
    )


def tls_files(settings: Settings, ca: Path | None = None) -> TLSFiles:
    """Return the node's own certificate and key, and whose certificates it believes."""
    return TLSFiles(settings.tls_certificate, settings.tls_key, ca or settings.tls_ca)


def route(settings: Settings, destination: Destination) -> Route:
    """Return the way to a destination.

    Raises
    ------
    SettingsError
        When a file with a secret cannot be read.
    dicom_node.errors.TLSUnusable
        When a certificate or key cannot be used.
    """
    files = tls_files(settings, destination.tls_ca)
    remote: RemoteAE | RemoteWeb
    if destination.url:
        remote = _web(destination, files)
    else:
        remote = RemoteAE(
            str(destination.ae_title),
            destination.host,
            int(destination.port or 0),
            destination.timeout_s,
            client_context(files) if destination.tls else None,
        )
    return Route(
        remote=remote,
        send=destination.send,
        commitment=destination.commitment,
        commitment_wait_s=destination.commitment_wait_s,
        commitment_timeout=timedelta(seconds=destination.commitment_timeout_s),
    )


def _web(destination: Destination, files: TLSFiles) -> RemoteWeb:
    from dicom_node.stow_rs import RemoteWeb  # noqa: PLC0415 - an HTTP client, which few roles need

    if destination.url.startswith("https:"):
        client_context(files)  # a bad certificate is said before the first result goes there
    try:
        return RemoteWeb(
            destination.url,
            destination.timeout_s,
            username=destination.username,
            password=_read_secret(destination.password_file),
            token=_read_secret(destination.token_file),
            ca=files.ca,
            certificate=files.certificate,
            key=files.key,
        )
    except ValueError as error:
        raise SettingsError(f"destination {destination.url}: {error}") from None


def _read_secret(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise SettingsError(
            f"{path} cannot be read: check path and rights of the destination's secret"
        ) from None


def load_scorers(
    settings: Settings, threads: int | None = None, *, explain: bool = False
) -> tuple[Scorer, ...]:
    """Load the algorithms that the settings name.

    Parameters
    ----------
    settings : Settings
        Algorithms, weights, device.
    threads : int, optional
        Threads of one inference on a CPU; None: as many as there are cores.
    explain : bool
        Whether results say, as far as an algorithm can, which parts of the film they come from.

    Raises
    ------
    models.errors.CheckpointError
        When weights are missing or altered.
    """
    return tuple(_load(name, settings, threads, explain) for name in settings.algorithms)


def _load(name: str, settings: Settings, threads: int | None, explain: bool) -> Scorer:
    # torch, which only scoring needs
    if name == "bs-net":
        from models.bsnet.scorer import BSNetScorer  # noqa: PLC0415

        return BSNetScorer.load(settings.bsnet_weights, settings.device, threads, explain)
    from models.severity import SeverityScorer  # noqa: PLC0415

    return SeverityScorer.load(settings.weights, settings.device, threads)


def introduce(algorithm: AlgorithmId) -> str:
    """Return an algorithm in a line: name, version, digest, and under which terms its weights may be used."""
    told = f"{algorithm.name} {algorithm.version}, digest {algorithm.digest[:16]}"
    return f"{told}; weights: {algorithm.licence}; not for diagnosis" if algorithm.licence else told
