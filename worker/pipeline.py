"""The story of one image: accept it, score it, deliver its report, hear that it is kept, ring for what waits.

::

    C-STORE ─► accept ─► spool, journal RECEIVED ─► bell
                                   score ◄───────────┘
                                     ├─► a document: noted, or refused
                                     └─► a report of each algorithm, journal REPORTED ─► bell
                                   deliver ◄─────────────────────────────────────┘
                                     └─► journal STORED ─► asks for storage commitment
    N-EVENT-REPORT ─► confirm ─► journal COMMITTED, or sent again

The journal is the truth and the queue is a doorbell: each step commits first and rings afterwards, each
step begins by claiming, and a bell that rings twice finds nothing to claim.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from dicom_node.errors import (
    AssociationFailed,
    CommitmentRefused,
    DicomNodeError,
    NotEligible,
    UndecodableInstance,
)
from dicom_node.instance import ObjectKind, ReceivedInstance
from dicom_node.storage_commitment import references, request_commitment
from dicom_node.storage_scu import RemoteAE, StoreOutcome, store
from worker.documents import is_document, note
from worker.entry import DeliveryStatus, EntryStatus, Settlement
from worker.errors import MissingInstance, WorkerError
from worker.longitudinal import find_earlier
from worker.reporting import conclude, plan_reports, write_reports
from worker.retry import judge_delivery, retry_at

if TYPE_CHECKING:
    from dicom_node.pixels import Radiograph
    from dicom_node.storage_commitment import CommitmentResult
    from dicom_node.stow_rs import RemoteWeb
    from models.result import Result
    from worker.deliveries import Deliveries
    from worker.entry import CommitmentRequest, Delivery, JournalEntry
    from worker.journal import Journal
    from worker.spool import Spool
    from worker.stages import Delivering, Doorbell, Route, Scorer, Scoring, Sweeping

logger = logging.getLogger(__name__)

_PUT_OFF = timedelta(seconds=10)
"""How long a step waits for a disk or database that failed it."""

_IN_WORDS: Mapping[ObjectKind, str] = {
    "sr": "report",
    "sc": "capture",
    "gsps": "presentation state",
    "seg": "segmentation",
    "map": "explanation",
}


def accept(instance: ReceivedInstance, spool: Spool, journal: Journal, doorbell: Doorbell) -> None:
    """Make a received instance durable; when this returns, its sender may be told Success.

    Raises
    ------
    StorageError
        When bytes, folder entry or journal row could not be made durable.
    """
    new = spool.write_instance(instance.sop_instance_uid, instance.encoded)
    status = journal.record_received(instance, differs=not new and _differs(instance, spool))
    if not new:
        # What was found there may have been on its way out; now that the journal knows, it stays.
        spool.write_instance(instance.sop_instance_uid, instance.encoded)
    logger.info("%s from %s: %s", instance.sop_instance_uid, instance.calling_ae_title, status)
    if status is EntryStatus.RECEIVED:
        doorbell.ring_score(instance.sop_instance_uid)
    elif status is EntryStatus.REPORTED:
        doorbell.ring_deliver(instance.sop_instance_uid)


def _differs(instance: ReceivedInstance, spool: Spool) -> bool:
    try:
        return spool.read_instance(instance.sop_instance_uid) != instance.encoded
    except MissingInstance:
        return False


def score(sop_instance_uid: str, stage: Scoring) -> None:
    """Give a received instance its outcome: reports, a rejection, or one attempt less.

    Raises
    ------
    StorageError
        When the journal cannot be used; the sweeper rings again.
    """
    entry = stage.journal.claim(sop_instance_uid)
    if entry is None:
        return
    try:
        if is_document(entry):
            note(entry, stage)
        else:
            _report(entry, stage)
    except NotEligible as refusal:
        stage.journal.mark_rejected(entry, refusal.reason, refusal.message)
        logger.info("%s not eligible: %s", sop_instance_uid, refusal.reason)
    except UndecodableInstance as error:
        stage.journal.mark_rejected(entry, "undecodable", str(error))
        logger.info("%s not eligible: undecodable", sop_instance_uid)
    except Exception as error:
        _settle_failure(entry, error, stage)


def _report(entry: JournalEntry, stage: Scoring) -> None:
    started = time.monotonic()
    uid = entry.sop_instance_uid
    radiograph = read_film(stage.spool.read_instance(uid))
    _require_identity(radiograph, uid)
    results = [scorer.score(radiograph.pixels) for scorer in stage.scorers]
    earlier = find_earlier(radiograph.dataset, stage)
    plans = plan_reports(entry, results, earlier, stage)
    plans = write_reports(plans, radiograph, stage)
    findings = conclude(entry, plans, radiograph, earlier, time.monotonic() - started)
    if stage.journal.mark_reported(entry, *findings):
        for finding in findings:
            record = finding.record
            logger.info(
                "%s %s by %s, %.2f s", uid, record["outcome"], record["algorithm"], record["elapsed_s"]
            )
            # One ring a report: each delivery takes one, so that none waits for another's.
            for _ in finding.deliveries:
                stage.doorbell.ring_deliver(uid)


def assess(encoded: bytes, scorer: Scorer) -> tuple[Radiograph, Result]:
    """Return the radiograph in PS3.10 bytes and what one scorer says of it; raises as ``read_film`` does."""
    radiograph = read_film(encoded)
    return radiograph, scorer.score(radiograph.pixels)


def read_film(encoded: bytes) -> Radiograph:
    """Return the radiograph in PS3.10 bytes, if it can be scored.

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
    return read_radiograph(dataset)


def deliver(sop_instance_uid: str, stage: Delivering) -> None:
    """Send what is due of one instance's reports, and ask for commitment to what was taken.

    Raises
    ------
    StorageError
        When journal or spool cannot be used; the sweeper rings again.
    """
    while delivery := stage.deliveries.claim(sop_instance_uid):
        settlement = _send(delivery, stage)
        now = datetime.now(UTC)
        due_at = None
        if settlement.status is DeliveryStatus.PENDING:
            # Without an association nothing is learnt of this report: the destination rests, not the report.
            due_at = retry_at(delivery.attempts, now) if settlement.tried else now
        stage.deliveries.settle(delivery, settlement, due_at)
        if settlement.reached:
            stage.deliveries.note_reached(delivery.destination)
        else:
            stage.deliveries.note_unreached(delivery.destination, settlement.message)
        level = logging.INFO if settlement.status is DeliveryStatus.STORED else logging.WARNING
        logger.log(level, "%s to %s: %s", sop_instance_uid, delivery.destination, settlement.message)
    while request := stage.deliveries.claim_commitment(sop_instance_uid):
        _ask(request, stage)


def confirm(result: CommitmentResult, deliveries: Deliveries, doorbell: Doorbell) -> bool:
    """Hear a destination's word on a request for commitment; return whether such a request was made here.

    Raises
    ------
    StorageError
        When the journal cannot be used; the destination should say it again.
    """
    delivery = deliveries.record_commitment(result)
    if delivery is None:
        return False
    logger.info("%s to %s: %s", delivery.sop_instance_uid, delivery.destination, delivery.status)
    if delivery.status is DeliveryStatus.PENDING:
        doorbell.ring_deliver(delivery.sop_instance_uid)
    return True


def sweep(stage: Sweeping) -> None:
    """Take back dead claims, ring for what waits too long, and apply retention.

    Raises
    ------
    StorageError
        When the journal cannot be used; the next round tries again.
    """
    now = datetime.now(UTC)
    stage.upkeep.restore_stale(now - stage.claim_timeout, stage.maximum_attempts)
    stage.upkeep.give_up(now - stage.give_up_after)
    overdue = stage.upkeep.take_overdue(now - stage.ring_again_after)
    for uid in overdue.to_score:
        stage.doorbell.ring_score(uid)
    for uid in overdue.to_deliver:
        stage.doorbell.ring_deliver(uid)
    purge(stage)


def purge(stage: Sweeping, *, failed: bool = False) -> int:
    """Remove files, and later stories, of instances that ended long ago; return of how many the files went.

    Nothing that a destination still waits for is ever removed; what failed, only where that is asked for.
    """
    now = datetime.now(UTC)
    removed = 0
    for uid in stage.upkeep.finished_before(now - stage.keep_delivered, failed=failed):
        removed += stage.upkeep.retire(uid, partial(stage.spool.remove, uid), failed=failed)
    if stage.keep_entries is not None:
        stage.upkeep.forget_before(now - stage.keep_entries)
    return removed


def tidy(stage: Sweeping) -> None:
    """Remove what crashes and broken databases left in the spool, and results whose time is over.

    Once an hour is enough.

    Raises
    ------
    StorageError
        When journal or spool cannot be used; the next round tries again.
    """
    if stage.keep_results is not None:
        stage.upkeep.forget_results_before(datetime.now(UTC) - stage.keep_results)
    stage.spool.remove_leftovers(older_than_s=3600, now=time.time())
    count = stage.spool.remove_orphans(stage.upkeep.in_spool, older_than_s=86400, now=time.time())
    if count:
        logger.warning("%d files removed from the spool that no sender was told Success for", count)


def _require_identity(radiograph: Radiograph, sop_instance_uid: str) -> None:
    # A data set may hold its UID twice; the other one must not get a report by it.
    if str(radiograph.dataset.get("SOPInstanceUID", "")) != sop_instance_uid:
        raise UndecodableInstance("the data set does not bear the UID that it was received under")


def _settle_failure(entry: JournalEntry, error: Exception, stage: Scoring) -> None:
    known = isinstance(error, DicomNodeError | WorkerError)
    # The text of an unknown error may quote an attribute, and with it the patient; its place does not.
    message = str(error) if known else f"unexpected {describe(error)}"
    gone = isinstance(error, MissingInstance)
    if getattr(error, "transient", False):
        logger.warning("%s put off: %s", entry.sop_instance_uid, message)
        due_at = datetime.now(UTC) + _PUT_OFF
        stage.journal.release(entry, message, due_at, counted=False)
    elif gone or entry.attempts >= stage.maximum_attempts:
        logger.error("%s failed: %s", entry.sop_instance_uid, message)
        stage.journal.mark_failed(entry, "missing-file" if gone else "scoring-error", message)
    else:
        logger.warning("%s attempt %d failed: %s", entry.sop_instance_uid, entry.attempts, message)
        stage.journal.release(entry, message, retry_at(entry.attempts, datetime.now(UTC)))


def _send(delivery: Delivery, stage: Delivering) -> Settlement:
    route = stage.routes.get(delivery.destination)
    if route is None:
        gone = "is no longer among the destinations: set it again, or leave it"
        return Settlement(DeliveryStatus.FAILED, gone)
    try:
        kinds = _kinds(delivery, route, stage)
        report = stage.spool.read_report(delivery.sop_instance_uid, delivery.variant, kinds)
        chosen = {_IN_WORDS[kind]: encoded for kind, encoded in report.instances.items()}
        outcomes = send(route.remote, stage.calling_ae_title, tuple(chosen.values()))
    except MissingInstance as error:
        return Settlement(DeliveryStatus.FAILED, str(error))
    except AssociationFailed as error:
        return Settlement(DeliveryStatus.PENDING, str(error), reached=False, tried=False)
    settlement = judge_delivery(dict(zip(chosen, outcomes, strict=True)))
    taken = [encoded for encoded, outcome in zip(chosen.values(), outcomes, strict=True) if outcome.succeeded]
    return replace(settlement, stored=references(taken), asks_commitment=route.commitment)


def _kinds(delivery: Delivery, route: Route, stage: Delivering) -> tuple[ObjectKind, ...]:
    """Return what to send: all that is wanted, an explanation only where the result has one."""
    if "map" not in route.send:
        return route.send
    made = stage.deliveries.kinds_made(delivery)
    return tuple(kind for kind in route.send if kind != "map" or kind in made)


def _ask(request: CommitmentRequest, stage: Delivering) -> None:
    route = stage.routes.get(request.destination)
    now = datetime.now(UTC)
    if route is None or not isinstance(route.remote, RemoteAE):
        stage.deliveries.settle_commitment(request, "no longer wanted by the settings", None)
        return
    try:
        result = request_commitment(
            route.remote,
            stage.calling_ae_title,
            request.transaction_uid,
            request.stored,
            route.commitment_wait_s,
        )
    except AssociationFailed as error:
        stage.deliveries.settle_commitment(
            request, f"not asked: {error}", retry_at(request.asked, datetime.now(UTC))
        )
    except CommitmentRefused as error:
        due_at = retry_at(request.asked, datetime.now(UTC)) if error.transient else None
        stage.deliveries.settle_commitment(request, f"refused: {error}", due_at)
    else:
        stage.deliveries.settle_commitment(request, "asked for", now + route.commitment_timeout)
        if result is not None:
            confirm(result, stage.deliveries, stage.doorbell)


def send(
    remote: RemoteAE | RemoteWeb, calling_ae_title: str, instances: Sequence[bytes]
) -> tuple[StoreOutcome, ...]:
    """Send instances to a destination, by DIMSE or STOW-RS, and say for each how it went.

    Raises
    ------
    AssociationFailed
        When it cannot be reached.
    """
    if isinstance(remote, RemoteAE):
        return store(remote, calling_ae_title, instances)
    from dicom_node.stow_rs import store_on_web  # noqa: PLC0415 - an HTTP client, which few roles need

    return store_on_web(remote, instances)


def describe(error: BaseException) -> str:
    """Return an error's type and the place it came from, without its text."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"
