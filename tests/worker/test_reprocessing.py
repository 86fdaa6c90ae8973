"""Scoring again what has its result: which images, what is kept, and who may not interfere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from sqlalchemy import Engine, delete

from dicom_node.commitment_report import CommitmentResult
from dicom_node.instance import ReceivedInstance
from dicom_node.report_settings import ReportSettings
from dicom_node.storage_scu import RemoteAE
from worker.deliveries import Deliveries
from worker.entry import Delivery, DeliveryStatus, EntryStatus, Finding, Settlement
from worker.history import History
from worker.journal import Journal
from worker.pipeline import accept, deliver, score
from worker.reprocessing import Reprocessing
from worker.schema import ReportRow
from worker.spool import Spool
from worker.stages import Delivering, Route, Scoring
from worker.upkeep import Upkeep

RESULT = {"algorithm": "two-stage", "algorithm_digest": "d", "outcome": "scored", "score": 3}
SR, SC = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.7"
STORED = Settlement(DeliveryStatus.STORED, "fine", stored=((SC, "2.25.1"),))
ASKS = replace(STORED, asks_commitment=True)
UID = "1.2.3"


@pytest.fixture
def reprocessing(engine: Engine) -> Reprocessing:
    return Reprocessing(engine)


class Steps:
    """One image's way through the journal, step by step."""

    def __init__(self, engine: Engine) -> None:
        self.journal, self.deliveries = Journal(engine), Deliveries(engine)
        self.history, self.reprocessing = History(engine), Reprocessing(engine)

    def report(self, variant: str) -> bool:
        claimed = self.journal.claim(UID)
        assert claimed is not None
        return self.journal.mark_reported(claimed, Finding(RESULT, {"A": variant}))

    def send(self) -> Delivery:
        delivery = self.deliveries.claim(UID)
        assert delivery is not None
        return delivery

    def again(self) -> None:
        assert self.reprocessing.start(UID) is None

    @property
    def state(self) -> tuple[EntryStatus, str | None]:
        entry = self.history.entry(UID)
        assert entry is not None
        return entry.status, entry.reason

    @property
    def delivery(self) -> Delivery:
        (delivery,) = self.history.deliveries(UID)
        return delivery


@pytest.fixture
def steps(engine: Engine, make_instance: Callable[..., ReceivedInstance]) -> Steps:
    """An image that has been reported once, and taken."""
    steps = Steps(engine)
    steps.journal.record_received(make_instance(UID))
    steps.report("v")
    return steps


def test_a_new_report_goes_to_who_had_the_last(steps: Steps) -> None:
    steps.deliveries.settle(steps.send(), STORED)
    assert steps.state == (EntryStatus.STORED, None)
    steps.again()
    assert steps.state == (EntryStatus.RECEIVED, None)
    steps.report("w")
    assert steps.state == (EntryStatus.REPORTED, None)
    assert (steps.delivery.variant, steps.delivery.status) == ("w", DeliveryStatus.PENDING)
    assert steps.delivery.stored == ()
    steps.deliveries.settle(steps.send(), STORED)
    assert steps.state == (EntryStatus.STORED, None)


def test_the_same_report_is_not_sent_again(steps: Steps) -> None:
    steps.deliveries.settle(steps.send(), STORED)
    before = steps.delivery
    steps.again()
    steps.report("v")
    assert steps.state == (EntryStatus.STORED, None)
    assert steps.delivery == before
    assert steps.deliveries.claim(UID) is None


def test_the_same_report_is_sent_again_where_it_was_refused(steps: Steps) -> None:
    steps.deliveries.settle(steps.send(), Settlement(DeliveryStatus.FAILED, "no"))
    assert steps.state == (EntryStatus.FAILED, "delivery-refused")
    steps.again()
    steps.report("v")
    assert steps.state == (EntryStatus.REPORTED, None)
    steps.deliveries.settle(steps.send(), STORED)
    assert steps.state == (EntryStatus.STORED, None)


def test_a_sender_of_the_replaced_report_settles_nothing(steps: Steps, engine: Engine) -> None:
    """It was taken for dead, another delivered, and it comes back when the new report is on its way."""
    zombie = steps.send()
    Upkeep(engine).restore_stale(datetime.now(UTC) + timedelta(seconds=1), 3)
    steps.deliveries.settle(steps.send(), STORED)
    steps.again()
    steps.report("w")
    assert not steps.deliveries.settle(zombie, STORED)
    assert steps.delivery.status is DeliveryStatus.PENDING
    assert not steps.deliveries.settle(zombie, Settlement(DeliveryStatus.FAILED, "no"))
    assert steps.state == (EntryStatus.REPORTED, None)


@pytest.mark.parametrize("lost", [False, True])
def test_a_word_on_the_report_being_replaced_takes_the_image_from_nobody(steps: Steps, lost: bool) -> None:
    steps.deliveries.settle(steps.send(), ASKS)
    request = steps.deliveries.claim_commitment(UID)
    assert request is not None
    steps.again()
    claimed = steps.journal.claim(UID)
    assert claimed is not None
    word = CommitmentResult(
        request.transaction_uid,
        frozenset() if lost else frozenset({"2.25.1"}),
        {"2.25.1": 0x0112} if lost else {},
    )
    steps.deliveries.record_commitment(word)
    assert steps.state == (EntryStatus.SCORING, None)
    assert steps.journal.mark_reported(claimed, Finding(RESULT, {"A": "w"}))
    assert (steps.delivery.variant, steps.delivery.status) == ("w", DeliveryStatus.PENDING)


def test_a_word_on_a_replaced_report_says_nothing_of_the_new_one(steps: Steps) -> None:
    steps.deliveries.settle(steps.send(), ASKS)
    old = steps.deliveries.claim_commitment(UID)
    assert old is not None
    steps.again()
    steps.report("w")
    steps.deliveries.settle(steps.send(), replace(STORED, stored=((SC, "2.25.2"),)))
    steps.deliveries.settle_commitment(old, "asked for", datetime.now(UTC))
    assert steps.delivery.due_at is None
    word = CommitmentResult(old.transaction_uid, frozenset({"2.25.1"}), {})
    assert steps.deliveries.record_commitment(word) is not None
    assert (steps.delivery.status, steps.delivery.due_at) == (DeliveryStatus.STORED, None)
    assert steps.history.story(UID)[-1][1] == "A, two-stage: a word on a replaced report"


def test_a_failure_while_scoring_again_is_taken_up_at_scoring(steps: Steps, engine: Engine) -> None:
    steps.deliveries.settle(steps.send(), STORED)
    steps.again()
    claimed = steps.journal.claim(UID)
    assert claimed is not None
    steps.journal.mark_failed(claimed, "scoring-error", "m")
    assert Upkeep(engine).requeue([UID]) == (UID,)
    assert steps.state == (EntryStatus.RECEIVED, None)


def test_what_cannot_be_reprocessed_says_why(
    steps: Steps, engine: Engine, make_instance: Callable[..., ReceivedInstance]
) -> None:
    start, upkeep = steps.reprocessing.start, Upkeep(engine)
    assert "unknown" in str(start("1.9"))
    assert "on its way to A" in str(start(UID))
    steps.deliveries.settle(steps.send(), STORED)
    later = datetime.now(UTC) + timedelta(seconds=1)
    assert upkeep.retire(UID, lambda: None)
    assert "send the image again" in str(start(UID))
    assert upkeep.finished_before(later) == ()
    # Sent again, it stays as long as anything that ended now.
    resent = datetime.now(UTC)
    steps.journal.record_received(make_instance(UID))
    assert upkeep.finished_before(resent) == ()
    assert start(UID) is None
    assert "already" in str(start(UID))
    steps.journal.record_received(make_instance("1.4"))
    claimed = steps.journal.claim("1.4")
    assert claimed is not None
    steps.journal.mark_rejected(claimed, "lateral-view", "m")
    assert "requeue" in str(start("1.4"))
    assert steps.reprocessing.candidates() == (UID,)
    assert steps.reprocessing.candidates(datetime.now(UTC)) == ()


# --- with real reports ------------------------------------------------------------------------------


@pytest.fixture
def film(sample_films: list[Path], make_instance: Callable[..., ReceivedInstance]) -> ReceivedInstance:
    encoded = sample_films[0].read_bytes()
    return make_instance(str(dcmread(BytesIO(encoded), stop_before_pixels=True).SOPInstanceUID), encoded)


@pytest.fixture
def delivering(spool: Spool, deliveries: Deliveries, bells: Any, loopback_pacs: Any) -> Delivering:
    route = Route(RemoteAE("PACS", "127.0.0.1", loopback_pacs.port, timeout_s=5))
    return Delivering(spool, deliveries, bells, {"PACS": route}, "CXRWORKER")


@pytest.fixture
def stored(film: ReceivedInstance, scoring: Scoring, delivering: Delivering) -> str:
    uid = film.sop_instance_uid
    accept(film, scoring.spool, scoring.journal, scoring.doorbell)
    score(uid, scoring)
    deliver(uid, delivering)
    return uid


class OtherScorer:
    """The same answer by an algorithm with other weights."""

    def __init__(self, scorer: Any, weights: str = "1") -> None:
        self._scorer = scorer
        self.algorithm = replace(scorer.algorithm, weights={"lungs": weights * 64})

    def score(self, pixels: Any) -> Any:
        return replace(self._scorer.score(pixels), algorithm=self.algorithm)


def reports(loopback_pacs: Any) -> list[Any]:
    return [dataset for dataset in loopback_pacs.datasets if dataset.SOPClassUID == SR]


def predecessors(report: Any) -> list[str]:
    return [
        str(instance.ReferencedSOPInstanceUID)
        for study in report.get("PredecessorDocumentsSequence", [])
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    ]


def again(
    uid: str, scoring: Scoring, delivering: Delivering, reprocessing: Reprocessing, scorer: Any = None
) -> None:
    assert reprocessing.start(uid) is None
    score(uid, replace(scoring, scorers=(scorer,)) if scorer else scoring)
    deliver(uid, delivering)


def test_another_model_makes_a_successor_that_names_its_predecessor(
    stored: str,
    scoring: Scoring,
    delivering: Delivering,
    reprocessing: Reprocessing,
    history: History,
    loopback_pacs: Any,
) -> None:
    again(stored, scoring, delivering, reprocessing, OtherScorer(scoring.scorers[0]))
    first, second = reports(loopback_pacs)
    assert predecessors(first) == []
    assert predecessors(second) == [first.SOPInstanceUID]
    assert len({str(dataset.SOPInstanceUID) for dataset in loopback_pacs.datasets}) == 4
    # Back to the first model: a third, that replaces the second.
    again(stored, scoring, delivering, reprocessing)
    third = reports(loopback_pacs)[2]
    assert predecessors(third) == [second.SOPInstanceUID]
    assert third.SOPInstanceUID != first.SOPInstanceUID
    made = history.reports(stored)
    assert [one.reference.sop_instance_uid for one in made if one.reference] == [
        report.SOPInstanceUID for report in (first, second, third)
    ]
    entry = history.entry(stored)
    assert entry is not None
    assert entry.result is not None
    assert (entry.status, entry.result["algorithm_digest"]) == (
        EntryStatus.STORED,
        scoring.scorers[0].algorithm.digest,
    )
    assert f"PACS, two-stage: a new report replaces {second.SOPInstanceUID}" in [
        what for _, what in history.story(stored)
    ]


def test_another_setting_makes_a_successor(
    stored: str,
    scoring: Scoring,
    delivering: Delivering,
    reprocessing: Reprocessing,
    loopback_pacs: Any,
) -> None:
    graded = replace(scoring, forms={"PACS": ReportSettings(grade_severity=True)})
    again(stored, graded, delivering, reprocessing)
    first, second = reports(loopback_pacs)
    assert predecessors(second) == [first.SOPInstanceUID]


def test_the_same_model_makes_the_same_instance(
    stored: str,
    scoring: Scoring,
    delivering: Delivering,
    reprocessing: Reprocessing,
    history: History,
    spool: Spool,
    loopback_pacs: Any,
) -> None:
    (made,) = history.reports(stored)
    before, entry = spool.read_report(stored, made.variant, ("sr", "sc")), history.entry(stored)
    again(stored, scoring, delivering, reprocessing)
    assert len(loopback_pacs.files) == 2
    after = history.entry(stored)
    assert entry is not None
    assert after is not None
    assert (after.status, after.result) == (EntryStatus.STORED, entry.result)
    assert history.reports(stored) == (made,)
    # With its files gone it is built again, byte for byte.
    film = spool.read_instance(stored)
    spool.remove(stored)
    spool.write_instance(stored, film)
    again(stored, scoring, delivering, reprocessing)
    assert len(loopback_pacs.files) == 2
    assert spool.read_report(stored, made.variant, ("sr", "sc")) == before


def test_what_a_destination_wants_beyond_the_report_it_has_is_added_to_it(
    stored: str,
    scoring: Scoring,
    delivering: Delivering,
    reprocessing: Reprocessing,
    loopback_pacs: Any,
) -> None:
    forms = {"PACS": ReportSettings(objects=("sr", "sc", "gsps"))}
    (route,) = delivering.routes.values()
    more = replace(delivering, routes={"PACS": replace(route, send=("sr", "sc", "gsps"))})
    first = list(loopback_pacs.files)
    again(stored, replace(scoring, forms=forms), more, reprocessing)
    assert sorted(loopback_pacs.files[2:4]) == sorted(first)
    assert len(loopback_pacs.files) == 5


@pytest.mark.parametrize("refused", [(SR, SC), (SR,)])
def test_a_report_that_nobody_took_is_no_predecessor(
    film: ReceivedInstance,
    scoring: Scoring,
    delivering: Delivering,
    reprocessing: Reprocessing,
    loopback_pacs: Any,
    refused: tuple[str, ...],
) -> None:
    uid = film.sop_instance_uid
    accept(film, scoring.spool, scoring.journal, scoring.doorbell)
    score(uid, scoring)
    loopback_pacs.statuses = dict.fromkeys(refused, 0xC000)
    deliver(uid, delivering)
    loopback_pacs.statuses = {}
    again(uid, scoring, delivering, reprocessing, OtherScorer(scoring.scorers[0]))
    (report,) = reports(loopback_pacs)
    assert predecessors(report) == []


def test_a_report_from_before_there_was_a_list_of_them_is_named_too(
    stored: str,
    scoring: Scoring,
    delivering: Delivering,
    reprocessing: Reprocessing,
    engine: Engine,
    loopback_pacs: Any,
) -> None:
    with engine.begin() as connection:
        connection.execute(delete(ReportRow))
    again(stored, scoring, delivering, reprocessing, OtherScorer(scoring.scorers[0]))
    first, second = reports(loopback_pacs)
    assert predecessors(second) == [first.SOPInstanceUID]


def test_a_destination_that_is_new_gets_the_report_that_others_have(
    stored: str,
    scoring: Scoring,
    delivering: Delivering,
    reprocessing: Reprocessing,
    history: History,
    loopback_pacs: Any,
) -> None:
    two = replace(scoring, forms={"PACS": ReportSettings(), "NEW": ReportSettings()})
    (route,) = delivering.routes.values()
    again(stored, two, replace(delivering, routes={"PACS": route, "NEW": route}), reprocessing)
    assert len(loopback_pacs.files) == 4
    assert sorted(loopback_pacs.files[:2]) == sorted(loopback_pacs.files[2:])
    assert {one.status for one in history.deliveries(stored)} == {DeliveryStatus.STORED}


def test_without_destination_too_a_successor_names_its_predecessor(
    film: ReceivedInstance, scoring: Scoring, reprocessing: Reprocessing, history: History
) -> None:
    uid, nowhere = film.sop_instance_uid, replace(scoring, forms={})
    accept(film, scoring.spool, scoring.journal, scoring.doorbell)
    score(uid, nowhere)
    assert reprocessing.start(uid) is None
    score(uid, replace(nowhere, scorers=(OtherScorer(scoring.scorers[0]),)))
    first, second = history.reports(uid)
    assert second.basis.predecessor == first.reference
    entry = history.entry(uid)
    assert entry is not None
    assert entry.status is EntryStatus.REPORTED


def test_a_worker_that_dies_while_reprocessing_leaves_one_successor(
    stored: str,
    scoring: Scoring,
    delivering: Delivering,
    reprocessing: Reprocessing,
    upkeep: Upkeep,
    loopback_pacs: Any,
) -> None:
    assert reprocessing.start(stored) is None
    other = replace(scoring, scorers=(OtherScorer(scoring.scorers[0]),))
    with pytest.raises(SystemExit):
        score(stored, replace(other, journal=_DyingJournal(scoring.journal)))  # type: ignore[arg-type]
    upkeep.restore_stale(datetime.now(UTC) + timedelta(seconds=1), maximum_attempts=3)
    score(stored, other)
    deliver(stored, delivering)
    first, second = reports(loopback_pacs)
    assert predecessors(second) == [first.SOPInstanceUID]


class _DyingJournal:
    def __init__(self, journal: Journal) -> None:
        self.claim = journal.claim

    def mark_reported(self, *_: object) -> bool:
        raise SystemExit
