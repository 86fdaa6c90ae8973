"""The story of one image: accept it, score it, deliver its report, and ring again for what waits.

::

    C-STORE ─► accept ─► spool, journal RECEIVED ─► bell
                                   score ◄───────────┘
                                     └─► report in the spool, journal REPORTED ─► bell
                                   deliver ◄─────────────────────────────────────┘
                                     └─► journal STORED

The journal is the truth and the queue is a doorbell: each step commits first and rings afterwards, each
step begins by claiming, and a bell that rings twice finds nothing to claim.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from dicom_node.errors import AssociationFailed, DicomNodeError, NotEligible, UndecodableInstance
from dicom_node.instance import ReceivedInstance
from dicom_node.report_settings import ReportSettings
from dicom_node.storage_scu import RemoteAE, store
from worker.entry import DeliveryStatus, EntryStatus
from worker.errors import MissingInstance, WorkerError
from worker.retry import judge_delivery, retry_at
from worker.summary import summarise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dicom_node.pixels import Radiograph
    from models.result import AlgorithmId, Result
    from worker.entry import Delivery, JournalEntry
    from worker.journal import Journal
    from worker.spool import Spool
    from worker.upkeep import Upkeep

logger = logging.getLogger(__name__)


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
    """What scoring needs; ``forms`` says in which form each destination wants its report."""

    spool: Spool
    journal: Journal
    doorbell: Doorbell
    scorer: Scorer
    forms: Mapping[str, ReportSettings]
    maximum_attempts: int


@dataclass(frozen=True)
class Delivering:
    """What delivering needs; ``remotes`` by the destination's name."""

    spool: Spool
    journal: Journal
    remotes: Mapping[str, RemoteAE]
    calling_ae_title: str
    give_up_after: timedelta


@dataclass(frozen=True)
class Sweeping:
    """What the sweeper needs."""

    spool: Spool
    upkeep: Upkeep
    doorbell: Doorbell
    claim_timeout: timedelta
    ring_again_after: timedelta
    keep_delivered: timedelta
    maximum_attempts: int


def accept(instance: ReceivedInstance, spool: Spool, journal: Journal, doorbell: Doorbell) -> None:
    """Make a received instance durable; when this returns, its sender may be told Success.

    Raises
    ------
    StorageError
        When bytes, folder entry or journal row could not be made durable.
    """
    spool.write_instance(instance.sop_instance_uid, instance.encoded)
    status = journal.record_received(instance)
    logger.info("%s from %s: %s", instance.sop_instance_uid, instance.calling_ae_title, status)
    if status is EntryStatus.RECEIVED:
        doorbell.ring_score(instance.sop_instance_uid)
    elif status is EntryStatus.REPORTED:
        doorbell.ring_deliver(instance.sop_instance_uid)


def score(sop_instance_uid: str, stage: Scoring) -> None:
    """Give a received instance its outcome: a report, a rejection, or one attempt less.

    Raises
    ------
    StorageError
        When the journal cannot be used; the sweeper rings again.
    """
    entry = stage.journal.claim(sop_instance_uid)
    if entry is None:
        return
    started = time.monotonic()
    try:
        radiograph, result = assess(stage.spool.read_instance(sop_instance_uid), stage.scorer)
        deliveries = _write_reports(radiograph, result, stage)
    except NotEligible as refusal:
        stage.journal.mark_rejected(entry, refusal.reason, refusal.message)
        logger.info("%s not eligible: %s", sop_instance_uid, refusal.reason)
    except UndecodableInstance as error:
        stage.journal.mark_rejected(entry, "undecodable", str(error))
        logger.info("%s not eligible: undecodable", sop_instance_uid)
    except Exception as error:
        _settle_failure(entry, error, stage)
    else:
        elapsed_s = time.monotonic() - started
        summary = summarise(sop_instance_uid, result, radiograph.warnings, elapsed_s)
        if stage.journal.mark_reported(entry, summary, result.algorithm.digest, deliveries):
            logger.info("%s %s in %.2f s", sop_instance_uid, summary["outcome"], summary["elapsed_s"])
            stage.doorbell.ring_deliver(sop_instance_uid)


def assess(encoded: bytes, scorer: Scorer) -> tuple[Radiograph, Result]:
    """Return the radiograph in PS3.10 bytes and what the scorer says of it.

    Raises
    ------
    NotEligible
        When it is not a frontal chest radiograph with usable pixels.
    UndecodableInstance
        When the bytes are not a data set.
    """
    # Decoders and numpy stay out of the listener, which imports this story too.
    from dicom_node.eligibility import require_frontal_chest  # noqa: PLC0415
    from dicom_node.pixels import read_dataset, read_radiograph  # noqa: PLC0415

    dataset = read_dataset(encoded)
    require_frontal_chest(dataset)
    radiograph = read_radiograph(dataset)
    return radiograph, scorer.score(radiograph.pixels)


def deliver(sop_instance_uid: str, stage: Delivering) -> None:
    """Send what is due of one instance's reports, destination by destination.

    Raises
    ------
    StorageError
        When journal or spool cannot be used; the sweeper rings again.
    """
    while delivery := stage.journal.claim_delivery(sop_instance_uid):
        status, message = _send(delivery, stage)
        now = datetime.now(UTC)
        if status is DeliveryStatus.PENDING and now - delivery.created_at > stage.give_up_after:
            status = DeliveryStatus.FAILED
            message += "; given up: mend the destination, then `cxr-worker requeue`"
        due_at = retry_at(delivery.attempts, now) if status is DeliveryStatus.PENDING else None
        stage.journal.settle_delivery(delivery, status, message, due_at)
        level = logging.INFO if status is DeliveryStatus.STORED else logging.WARNING
        logger.log(level, "%s to %s: %s", sop_instance_uid, delivery.destination, message)


def sweep(stage: Sweeping) -> None:
    """Take back dead claims, ring for what waits too long, and apply retention.

    Raises
    ------
    StorageError
        When the journal cannot be used; the next round tries again.
    """
    now = datetime.now(UTC)
    stage.upkeep.restore_stale(now - stage.claim_timeout, stage.maximum_attempts)
    overdue = stage.upkeep.take_overdue(now - stage.ring_again_after)
    for uid in overdue.to_score:
        stage.doorbell.ring_score(uid)
    for uid in overdue.to_deliver:
        stage.doorbell.ring_deliver(uid)
    purge(stage)


def purge(stage: Sweeping) -> int:
    """Remove files of instances that ended longer ago than the retention time; return how many."""
    finished = stage.upkeep.finished_before(datetime.now(UTC) - stage.keep_delivered)
    for uid in finished:
        stage.spool.remove(uid)
        stage.upkeep.mark_purged(uid)
    stage.spool.remove_leftovers(older_than_s=3600, now=time.time())
    return len(finished)


def _write_reports(radiograph: Radiograph, result: Result, stage: Scoring) -> dict[str, str]:
    from dicom_node.report import build_report  # noqa: PLC0415

    created_at = datetime.now(UTC)
    uid = str(radiograph.dataset.SOPInstanceUID)
    # Without a destination the report is still made: it can be looked at, and sent later.
    forms: Sequence[ReportSettings] = tuple(stage.forms.values()) or (ReportSettings(),)
    for form in dict.fromkeys(forms):
        report = build_report(radiograph, result, form, created_at)
        stage.spool.write_report(uid, _variant(form, result), report)
    return {name: _variant(form, result) for name, form in stage.forms.items()}


def _variant(form: ReportSettings, result: Result) -> str:
    return f"{result.algorithm.digest[:16]}-{form.digest[:16]}"


def _settle_failure(entry: JournalEntry, error: Exception, stage: Scoring) -> None:
    known = isinstance(error, DicomNodeError | WorkerError)
    # The text of an unknown error may quote an attribute, and with it the patient; its place does not.
    message = str(error) if known else f"unexpected {describe(error)}"
    gone = isinstance(error, MissingInstance)
    if gone or entry.attempts >= stage.maximum_attempts:
        logger.error("%s failed: %s", entry.sop_instance_uid, message)
        stage.journal.mark_failed(entry, "missing-file" if gone else "scoring-error", message)
    else:
        logger.warning("%s attempt %d failed: %s", entry.sop_instance_uid, entry.attempts, message)
        stage.journal.release(entry, message, retry_at(entry.attempts, datetime.now(UTC)))


def _send(delivery: Delivery, stage: Delivering) -> tuple[DeliveryStatus, str]:
    remote = stage.remotes.get(delivery.destination)
    if remote is None:
        return DeliveryStatus.FAILED, "is no longer among the destinations: set it again, or leave it"
    try:
        report = stage.spool.read_report(delivery.sop_instance_uid, delivery.variant)
        outcomes = store(remote, stage.calling_ae_title, (report.structured_report, report.secondary_capture))
    except MissingInstance as error:
        return DeliveryStatus.FAILED, str(error)
    except AssociationFailed as error:
        return DeliveryStatus.PENDING, str(error)
    return judge_delivery(*outcomes)


def describe(error: BaseException) -> str:
    """Return an error's type and the place it came from, without its text."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"
