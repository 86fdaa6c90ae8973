"""What each step of the story needs; a role builds its own once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dicom_node.instance import ObjectKind
    from dicom_node.report_settings import ReportSettings
    from dicom_node.storage_scu import RemoteAE
    from dicom_node.stow_rs import RemoteWeb
    from models.result import AlgorithmId, Result
    from worker.archives import Archives
    from worker.assessments import Assessments
    from worker.deliveries import Deliveries
    from worker.history import History
    from worker.journal import Journal
    from worker.priors import Priors
    from worker.spool import Spool
    from worker.upkeep import Upkeep


class Doorbell(Protocol):
    """Wakes whoever does the next step; never raises, since the sweeper rings again."""

    def ring_score(self, sop_instance_uid: str) -> None:
        """Say that an instance waits to be scored."""

    def ring_deliver(self, sop_instance_uid: str) -> None:
        """Say that a report waits to be delivered."""


class Scorer(Protocol):
    """An algorithm: a radiograph's pixels in, its result out."""

    @property
    def algorithm(self) -> AlgorithmId:
        """What it is, exactly."""

    def score(self, pixels: NDArray[np.float32]) -> Result:
        """Score pixels of shape (rows, columns) in [0, 1], the patient's right at the left."""


@dataclass(frozen=True)
class Scoring:
    """What scoring needs.

    Parameters
    ----------
    spool, journal, doorbell
        Where the image lies, who is told of its results, and who is woken then.
    scorers : tuple of Scorer
        The algorithms, each of which makes a report of its own.
    forms : Mapping
        In which form each destination wants its report.
    maximum_attempts : int
        Attempts an image has.
    history, priors, assessments
        What was made and said before.
    archives : Archives
        Who else is asked for earlier results.
    """

    spool: Spool
    journal: Journal
    doorbell: Doorbell
    scorers: tuple[Scorer, ...]
    forms: Mapping[str, ReportSettings]
    maximum_attempts: int
    history: History
    priors: Priors
    assessments: Assessments
    archives: Archives


@dataclass(frozen=True)
class Route:
    """The way to one destination.

    Parameters
    ----------
    remote : RemoteAE or RemoteWeb
        Where to call.
    send : tuple of str
        What to send, in this order: ``sr``, ``sc``, ``gsps``, ``seg``, ``map``.
    commitment : bool
        Whether to ask for storage commitment.
    commitment_wait_s : float
        Seconds to wait for an answer on the same association.
    commitment_timeout : datetime.timedelta
        After which an unanswered request is made again.
    """

    remote: RemoteAE | RemoteWeb
    send: tuple[ObjectKind, ...] = ("sr", "sc")
    commitment: bool = False
    commitment_wait_s: float = 0.5
    commitment_timeout: timedelta = timedelta(hours=1)


@dataclass(frozen=True)
class Delivering:
    """What delivering needs; ``routes`` by the destination's name."""

    spool: Spool
    deliveries: Deliveries
    doorbell: Doorbell
    routes: Mapping[str, Route]
    calling_ae_title: str


@dataclass(frozen=True)
class Sweeping:
    """What the sweeper needs."""

    spool: Spool
    upkeep: Upkeep
    doorbell: Doorbell
    claim_timeout: timedelta
    ring_again_after: timedelta
    give_up_after: timedelta
    keep_delivered: timedelta
    keep_entries: timedelta | None
    maximum_attempts: int
    keep_results: timedelta | None = None
