"""Deliveries on SQLite and PostgreSQL: claims, fences, resting destinations, storage commitment."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, update

from dicom_node.instance import ReceivedInstance
from dicom_node.storage_commitment import CommitmentResult
from worker.deliveries import Deliveries
from worker.entry import (
    CommitmentRequest,
    Delivery,
    DeliveryStatus,
    EntryStatus,
    Finding,
    JournalEntry,
    Settlement,
)
from worker.history import History
from worker.journal import Journal
from worker.schema import DeliveryRow, DestinationRow, EntryRow
from worker.upkeep import Upkeep

MakeInstance = Callable[..., ReceivedInstance]
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
RESULT = {"algorithm": "two-stage", "algorithm_digest": "d", "outcome": "scored", "score": 3}
STORED = Settlement(DeliveryStatus.STORED, "fine")
REFUSED = Settlement(DeliveryStatus.FAILED, "no")
AWAY = Settlement(DeliveryStatus.PENDING, "away", reached=False, tried=False)
PAIRS = (("1.2.840.10008.5.1.4.1.1.88.33", "2.25.1"), ("1.2.840.10008.5.1.4.1.1.7", "2.25.2"))
ASKS = Settlement(DeliveryStatus.STORED, "fine", stored=PAIRS, asks_commitment=True)


@pytest.fixture
def claimed(journal: Journal, make_instance: MakeInstance) -> JournalEntry:
    return claim_new(journal, make_instance)


def claim_new(journal: Journal, make_instance: MakeInstance) -> JournalEntry:
    instance = make_instance()
    journal.record_received(instance)
    entry = journal.claim(instance.sop_instance_uid)
    assert entry is not None
    return entry


def taken(deliveries: Deliveries, entry: JournalEntry) -> Delivery:
    delivery = deliveries.claim(entry.sop_instance_uid)
    assert delivery is not None
    return delivery


def asked(deliveries: Deliveries, entry: JournalEntry) -> CommitmentRequest:
    request = deliveries.claim_commitment(entry.sop_instance_uid)
    assert request is not None
    return request


def later() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=1)


def status(history: History, entry: JournalEntry) -> tuple[EntryStatus, str | None]:
    found = history.entry(entry.sop_instance_uid)
    assert found is not None
    return found.status, found.reason


def shift(engine: Engine, by: timedelta) -> None:
    """Move every time in the journal, as if the clock had been set the other way."""
    with engine.begin() as connection:
        for table, columns in (
            (EntryRow, ("updated_at", "due_at", "rung_at")),
            (DeliveryRow, ("updated_at", "due_at", "rung_at", "created_at")),
            (DestinationRow, ("resting_until",)),
        ):
            for row in connection.execute(table.__table__.select()).mappings():
                moved = {name: row[name] + by for name in columns if row[name] is not None}
                key = [column == row[column.name] for column in table.__table__.primary_key]
                connection.execute(update(table).where(*key).values(moved))


def test_an_entry_is_stored_when_every_destination_is(
    journal: Journal, deliveries: Deliveries, history: History, claimed: JournalEntry
) -> None:
    journal.mark_reported(claimed, Finding(RESULT, {"A": "v", "B": "w"}))
    first, second = taken(deliveries, claimed), taken(deliveries, claimed)
    assert {first.destination, second.destination} == {"A", "B"}
    assert deliveries.claim(claimed.sop_instance_uid) is None
    assert deliveries.settle(first, STORED)
    assert not deliveries.settle(first, REFUSED)
    assert status(history, claimed)[0] is EntryStatus.REPORTED
    assert deliveries.settle(second, STORED)
    assert status(history, claimed)[0] is EntryStatus.STORED


def test_a_refusing_destination_fails_the_entry_and_requeue_sends_to_it_alone(
    journal: Journal, deliveries: Deliveries, upkeep: Upkeep, history: History, claimed: JournalEntry
) -> None:
    uid = claimed.sop_instance_uid
    journal.mark_reported(claimed, Finding(RESULT, {"A": "v", "B": "v"}))
    for _ in range(2):
        delivery = taken(deliveries, claimed)
        deliveries.settle(delivery, REFUSED if delivery.destination == "A" else STORED)
    assert status(history, claimed) == (EntryStatus.FAILED, "delivery-refused")
    assert upkeep.requeue(None) == (uid,)
    again = taken(deliveries, claimed)
    assert (again.destination, again.attempts) == ("A", 2)
    assert deliveries.claim(uid) is None
    deliveries.settle(again, STORED)
    assert status(history, claimed) == (EntryStatus.STORED, None)


def test_a_delivery_to_retry_is_due_later(
    journal: Journal, deliveries: Deliveries, upkeep: Upkeep, engine: Engine, claimed: JournalEntry
) -> None:
    uid = claimed.sop_instance_uid
    journal.mark_reported(claimed, Finding(RESULT, {"A": "v"}))
    busy = Settlement(DeliveryStatus.PENDING, "out of resources")
    deliveries.settle(taken(deliveries, claimed), busy, datetime.now(UTC) + timedelta(minutes=10))
    assert deliveries.claim(uid) is None
    assert upkeep.take_overdue(later()).to_deliver == ()
    shift(engine, -timedelta(minutes=11))
    assert upkeep.take_overdue(LONG_AGO).to_deliver == (uid,)
    assert taken(deliveries, claimed).attempts == 2


def test_a_dead_deliverer_is_replaced(
    journal: Journal, deliveries: Deliveries, upkeep: Upkeep, claimed: JournalEntry
) -> None:
    journal.mark_reported(claimed, Finding(RESULT, {"A": "v"}))
    dead = taken(deliveries, claimed)
    upkeep.restore_stale(later(), maximum_attempts=3)
    alive = taken(deliveries, claimed)
    assert not deliveries.settle(dead, REFUSED)
    assert not deliveries.settle(dead, AWAY, later())
    assert deliveries.settle(alive, STORED)


def test_a_slow_deliverer_that_was_taken_for_dead_still_delivers(
    journal: Journal, deliveries: Deliveries, upkeep: Upkeep, history: History, claimed: JournalEntry
) -> None:
    journal.mark_reported(claimed, Finding(RESULT, {"A": "v"}))
    slow = taken(deliveries, claimed)
    upkeep.restore_stale(later(), maximum_attempts=3)
    second = taken(deliveries, claimed)
    assert deliveries.settle(slow, STORED)
    assert status(history, claimed) == (EntryStatus.STORED, None)
    assert not deliveries.settle(second, REFUSED)
    assert not deliveries.settle(second, STORED)
    assert status(history, claimed) == (EntryStatus.STORED, None)


def test_a_silent_destination_rests_and_holds_up_nobody_else(
    journal: Journal,
    deliveries: Deliveries,
    upkeep: Upkeep,
    history: History,
    make_instance: MakeInstance,
) -> None:
    entries = [claim_new(journal, make_instance) for _ in range(3)]
    for entry in entries:
        journal.mark_reported(entry, Finding(RESULT, {"DOWN": "v", "UP": "v"}))
    first = [taken(deliveries, entries[0]) for _ in range(2)]
    for delivery in first:
        if delivery.destination == "DOWN":
            deliveries.settle(delivery, AWAY, datetime.now(UTC))
            deliveries.note_unreached("DOWN", "away")
        else:
            deliveries.settle(delivery, STORED)
    for entry in entries[1:]:
        other = taken(deliveries, entry)
        assert other.destination == "UP"
        deliveries.settle(other, STORED)
        assert deliveries.claim(entry.sop_instance_uid) is None
    assert upkeep.take_overdue(later()).to_deliver == ()
    (down, waiting), (up, none) = history.destinations()
    assert (down.name, down.failures, down.message, waiting) == ("DOWN", 1, "away", 3)
    assert (up.name, up.failures, none) == ("UP", 0, 0)


def test_a_destination_that_has_rested_is_tried_by_one_and_wakes_for_all(
    journal: Journal, deliveries: Deliveries, upkeep: Upkeep, engine: Engine, make_instance: MakeInstance
) -> None:
    entries = [claim_new(journal, make_instance) for _ in range(3)]
    for entry in entries:
        journal.mark_reported(entry, Finding(RESULT, {"PACS": "v"}))
    deliveries.note_unreached("PACS", "away")
    shift(engine, -timedelta(minutes=2))
    assert len(upkeep.take_overdue(later()).to_deliver) == 1
    claims = [deliveries.claim(entry.sop_instance_uid) for entry in entries]
    (probe,) = [claim for claim in claims if claim]
    deliveries.settle(probe, STORED)
    deliveries.note_reached("PACS")
    assert len(upkeep.take_overdue(LONG_AGO).to_deliver) == 2
    assert sum(deliveries.claim(entry.sop_instance_uid) is not None for entry in entries) == 2


def test_a_destination_first_missed_by_many_at_once_is_noted(
    deliveries: Deliveries, history: History, journal: Journal, claimed: JournalEntry
) -> None:
    journal.mark_reported(claimed, Finding(RESULT, {"PACS": "v"}))
    threads = [threading.Thread(target=deliveries.note_unreached, args=("PACS", "away")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ((health, _),) = history.destinations()
    assert 1 <= health.failures <= 8
    assert health.resting_until is not None


def test_rest_grows_to_half_a_minute_and_no_further(
    deliveries: Deliveries, history: History, journal: Journal, claimed: JournalEntry
) -> None:
    journal.mark_reported(claimed, Finding(RESULT, {"PACS": "v"}))
    rests = []
    for _ in range(12):
        before = datetime.now(UTC)
        deliveries.note_unreached("PACS", "away")
        ((health, _),) = history.destinations()
        assert health.resting_until is not None
        rests.append((health.resting_until - before).total_seconds())
    assert rests[0] < 3
    assert all(24 <= rest <= 37 for rest in rests[6:])


def test_what_waits_too_long_is_given_up_and_can_be_requeued(
    journal: Journal, deliveries: Deliveries, upkeep: Upkeep, history: History, claimed: JournalEntry
) -> None:
    journal.mark_reported(claimed, Finding(RESULT, {"A": "v", "B": "v"}))
    delivery = taken(deliveries, claimed)
    deliveries.settle(delivery, STORED)
    upkeep.give_up(LONG_AGO)
    assert status(history, claimed)[0] is EntryStatus.REPORTED
    upkeep.give_up(later())
    assert status(history, claimed) == (EntryStatus.FAILED, "delivery-refused")
    assert "given up" in history.story(claimed.sop_instance_uid)[-1][1]
    upkeep.requeue(None)
    assert taken(deliveries, claimed).destination != delivery.destination


def test_a_committed_entry(
    journal: Journal, deliveries: Deliveries, upkeep: Upkeep, history: History, claimed: JournalEntry
) -> None:
    journal.mark_reported(claimed, Finding(RESULT, {"PROVES": "v", "PLAIN": "v"}))
    for _ in range(2):
        delivery = taken(deliveries, claimed)
        deliveries.settle(delivery, ASKS if delivery.destination == "PROVES" else STORED)
    assert status(history, claimed)[0] is EntryStatus.STORED
    assert upkeep.take_overdue(later()).to_deliver == (claimed.sop_instance_uid,)
    assert upkeep.finished_before(later()) == (), "its files may still be asked for"
    request = asked(deliveries, claimed)
    assert (request.destination, request.stored, request.asked) == ("PROVES", PAIRS, 1)
    assert deliveries.claim_commitment(claimed.sop_instance_uid) is None
    deliveries.settle_commitment(request, "asked for", datetime.now(UTC) + timedelta(hours=1))
    told = CommitmentResult(request.transaction_uid, frozenset({"2.25.1", "2.25.2"}), {})
    for _ in range(2):
        confirmed = deliveries.record_commitment(told)
        assert confirmed is not None
        assert confirmed.status is DeliveryStatus.COMMITTED
    assert status(history, claimed) == (EntryStatus.COMMITTED, None)
    assert upkeep.finished_before(later()) == (claimed.sop_instance_uid,)


def test_a_lost_instance_is_sent_again(
    journal: Journal, deliveries: Deliveries, history: History, engine: Engine, claimed: JournalEntry
) -> None:
    journal.mark_reported(claimed, Finding(RESULT, {"A": "v"}))
    deliveries.settle(taken(deliveries, claimed), ASKS)
    request = asked(deliveries, claimed)
    told = CommitmentResult(request.transaction_uid, frozenset({"2.25.1"}), {"2.25.2": 0x0112})
    lost = deliveries.record_commitment(told)
    assert lost is not None
    assert (lost.status, status(history, claimed)[0]) == (DeliveryStatus.PENDING, EntryStatus.REPORTED)
    shift(engine, -timedelta(minutes=1))
    deliveries.settle(taken(deliveries, claimed), ASKS)
    again = asked(deliveries, claimed)
    assert again.transaction_uid != request.transaction_uid
    assert again.asked == 2
    late = CommitmentResult(request.transaction_uid, frozenset({"2.25.1", "2.25.2"}), {})
    deliveries.record_commitment(late)
    assert status(history, claimed)[0] is EntryStatus.COMMITTED, "an answer to an earlier request counts"


@pytest.mark.parametrize("failed", [{"2.25.2": 0x0110}, {"2.25.2": 0x0213}, {}])
def test_a_destination_that_cannot_say_is_asked_again(
    journal: Journal,
    deliveries: Deliveries,
    history: History,
    engine: Engine,
    claimed: JournalEntry,
    failed: dict[str, int],
) -> None:
    journal.mark_reported(claimed, Finding(RESULT, {"A": "v"}))
    deliveries.settle(taken(deliveries, claimed), ASKS)
    request = asked(deliveries, claimed)
    deliveries.record_commitment(CommitmentResult(request.transaction_uid, frozenset({"2.25.1"}), failed))
    assert status(history, claimed)[0] is EntryStatus.STORED
    assert deliveries.claim(claimed.sop_instance_uid) is None
    shift(engine, -timedelta(minutes=1))
    assert asked(deliveries, claimed).asked == 2


def test_a_word_on_a_request_that_was_never_made_changes_nothing(
    journal: Journal, deliveries: Deliveries, claimed: JournalEntry
) -> None:
    journal.mark_reported(claimed, Finding(RESULT, {"A": "v"}))
    deliveries.settle(taken(deliveries, claimed), ASKS)
    assert deliveries.record_commitment(CommitmentResult("2.25.9", frozenset({"2.25.1"}), {})) is None


def test_a_commitment_that_never_comes_is_given_up_and_the_entry_stays_stored(
    journal: Journal, deliveries: Deliveries, upkeep: Upkeep, history: History, claimed: JournalEntry
) -> None:
    journal.mark_reported(claimed, Finding(RESULT, {"A": "v"}))
    deliveries.settle(taken(deliveries, claimed), ASKS)
    upkeep.give_up(later())
    assert status(history, claimed) == (EntryStatus.STORED, None)
    assert deliveries.claim_commitment(claimed.sop_instance_uid) is None
    assert upkeep.finished_before(later()) == (claimed.sop_instance_uid,)
    assert "unproven" in history.story(claimed.sop_instance_uid)[-1][1]


@pytest.mark.parametrize("by", [timedelta(hours=1), -timedelta(hours=1)])
def test_a_clock_that_is_set_leaves_nothing_waiting(
    journal: Journal,
    deliveries: Deliveries,
    upkeep: Upkeep,
    engine: Engine,
    make_instance: MakeInstance,
    by: timedelta,
) -> None:
    received = make_instance()
    journal.record_received(received)
    dead, put_off, waiting, sending = (claim_new(journal, make_instance) for _ in range(4))
    journal.release(put_off, "busy", datetime.now(UTC) + timedelta(seconds=5))
    for entry in (waiting, sending):
        journal.mark_reported(entry, Finding(RESULT, {"A": "v"}))
    deliveries.settle(
        taken(deliveries, waiting),
        Settlement(DeliveryStatus.PENDING, "busy"),
        datetime.now(UTC) + timedelta(minutes=15),
    )
    deliveries.note_unreached("A", "away")
    deliveries.note_reached("A")
    taken(deliveries, sending)
    deliveries.note_unreached("A", "away")
    shift(engine, by)
    upkeep.restore_stale(datetime.now(UTC) - timedelta(minutes=5), maximum_attempts=3)
    overdue = upkeep.take_overdue(datetime.now(UTC) - timedelta(minutes=1))
    scoring = {received.sop_instance_uid, dead.sop_instance_uid, put_off.sop_instance_uid}
    assert set(overdue.to_score) == scoring
    assert len(overdue.to_deliver) == 1, "one caller for a destination that was silent"
    assert {deliveries.claim(entry.sop_instance_uid) is not None for entry in (waiting, sending)} == {
        True,
        False,
    }


def test_stories_are_forgotten_long_after_the_files(
    journal: Journal, deliveries: Deliveries, upkeep: Upkeep, history: History, claimed: JournalEntry
) -> None:
    uid = claimed.sop_instance_uid
    journal.mark_reported(claimed, Finding(RESULT, {"A": "v"}))
    deliveries.settle(taken(deliveries, claimed), ASKS)
    asked(deliveries, claimed)
    upkeep.give_up(later())
    assert upkeep.forget_before(later()) == 0, "its files are still there"
    assert upkeep.retire(uid, lambda: None)
    assert upkeep.forget_before(LONG_AGO) == 0
    assert upkeep.forget_before(later()) == 1
    assert history.entry(uid) is None
    assert history.story(uid) == ()
    assert history.deliveries(uid) == ()


def test_failed_images_go_only_when_that_is_asked_for(
    journal: Journal, upkeep: Upkeep, claimed: JournalEntry
) -> None:
    journal.mark_failed(claimed, "scoring-error", "m")
    assert upkeep.finished_before(later()) == ()
    assert upkeep.finished_before(later(), failed=True) == (claimed.sop_instance_uid,)


def test_a_clock_that_is_set_back_does_not_put_off_the_question_for_commitment(
    journal: Journal, deliveries: Deliveries, upkeep: Upkeep, engine: Engine, claimed: JournalEntry
) -> None:
    journal.mark_reported(claimed, Finding(RESULT, {"A": "v"}))
    deliveries.settle(taken(deliveries, claimed), ASKS)
    in_a_day = datetime.now(UTC) + timedelta(days=1)
    deliveries.settle_commitment(asked(deliveries, claimed), "asked for", in_a_day)
    assert deliveries.claim_commitment(claimed.sop_instance_uid) is None
    shift(engine, timedelta(hours=1))
    assert upkeep.take_overdue(later()).to_deliver == (claimed.sop_instance_uid,)
    assert asked(deliveries, claimed).asked == 2
