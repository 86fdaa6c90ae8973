"""What a role needs, built once per process from the settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from dicom_node.instance import ReceivedInstance
from dicom_node.report_settings import ReportSettings
from dicom_node.storage_scp import NodeSettings
from dicom_node.storage_scu import RemoteAE
from worker.database import open_engine, require_current
from worker.history import History
from worker.journal import Journal
from worker.pipeline import Delivering, Doorbell, Scoring, Sweeping, accept
from worker.settings import Settings
from worker.spool import Spool
from worker.upkeep import Upkeep

if TYPE_CHECKING:
    from models.severity import SeverityScorer

RING_AGAIN_AFTER = timedelta(seconds=60)
"""How long a bell is trusted to have been heard."""


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
            scorer=load_scorer(self.settings, threads=None if self.settings.embedded else 1),
            forms={
                destination.name: ReportSettings(
                    sr_class=destination.sr, capture=destination.capture, language=self.settings.language
                )
                for destination in self.settings.destinations
            },
            maximum_attempts=self.settings.maximum_attempts,
        )

    @cached_property
    def delivering(self) -> Delivering:
        """What the third step needs."""
        return Delivering(
            spool=self.spool,
            journal=self.journal,
            remotes={
                destination.name: RemoteAE(
                    destination.ae_title, destination.host, destination.port, destination.timeout_s
                )
                for destination in self.settings.destinations
            },
            calling_ae_title=self.settings.ae_title,
            give_up_after=timedelta(seconds=self.settings.delivery_give_up_after_s),
        )

    @cached_property
    def sweeping(self) -> Sweeping:
        """What the sweeper needs."""
        return Sweeping(
            spool=self.spool,
            upkeep=self.upkeep,
            doorbell=self.doorbell,
            claim_timeout=timedelta(seconds=self.settings.claim_timeout_s),
            ring_again_after=RING_AGAIN_AFTER,
            keep_delivered=timedelta(seconds=self.settings.keep_delivered_s),
            maximum_attempts=self.settings.maximum_attempts,
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
    spool = Spool(settings.data_dir / "spool")
    engine = open_engine(settings.database)
    require_current(engine)
    return Service(settings=settings, engine=engine, spool=spool, doorbell=doorbell)


def node_settings(settings: Settings) -> NodeSettings:
    """Return the storage node's part of the settings."""
    return NodeSettings(
        ae_title=settings.ae_title,
        host=settings.host,
        port=settings.port,
        allowed_calling_ae_titles=settings.calling_ae_titles,
        require_called_ae_title=settings.require_called_ae_title,
        maximum_associations=settings.maximum_associations,
        maximum_instance_bytes=settings.maximum_instance_mb * 1024 * 1024,
    )


def load_scorer(settings: Settings, threads: int | None = None) -> SeverityScorer:
    """Load the algorithm that the settings name.

    Parameters
    ----------
    settings : Settings
        Algorithm, weights, device.
    threads : int, optional
        Threads of one inference on a CPU; None: as many as there are cores.

    Raises
    ------
    models.errors.CheckpointError
        When weights are missing or altered.
    """
    from models.severity import SeverityScorer  # noqa: PLC0415 - torch, which only scoring needs

    return SeverityScorer.load(weights=settings.weights, device=settings.device, threads=threads)
