"""The journal on SQLite and PostgreSQL: claims, fences, resends, deliveries, upkeep."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url

from dicom_node.instance import ReceivedInstance
from worker.database import migrate, open_engine, require_current
from worker.entry import EntryStatus, Finding, JournalEntry, Overdue
from worker.errors import SchemaError, StorageError
from worker.history import History
from worker.journal import Journal
from worker.upkeep import Upkeep

MakeInstance = Callable[..., ReceivedInstance]
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
RESULT = {"algorithm": "two-stage", "algorithm_digest": "d", "outcome": "scored", "score": 3}


@pytest.fixture
def claimed(journal: Journal, make_instance: MakeInstance) -> JournalEntry:
    instance = make_instance()
    journal.record_received(instance)
    entry = journal.claim(instance.sop_instance_uid)
    assert entry is not None
    return entry


def later() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=1)


def test_a_new_instance_is_received_and_told(
    journal: Journal, history: History, make_instance: MakeInstance
) -> None:
    instance = make_instance("1.2.3")
    assert journal.record_received(instance) is EntryStatus.RECEIVED
    entry = history.entry("1.2.3")
    assert entry is not None
    assert (entry.status, entry.attempts, entry.received_at) == (
        EntryStatus.RECEIVED,
        0,
        instance.received_at,
    )
    assert [what for _, what in history.story("1.2.3")] == ["received from MODALITY"]


def test_a_claim_is_exclusive(journal: Journal, make_instance: MakeInstance) -> None:
    journal.record_received(make_instance("1.2.3"))
    claims: list[JournalEntry | None] = []
    threads = [threading.Thread(target=lambda: claims.append(journal.claim("1.2.3"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([claim for claim in claims if claim]) == 1
    assert len(claims) == 8


def test_the_same_instance_twenty_times_at_once_is_one_entry(
    journal: Journal, history: History, make_instance: MakeInstance
) -> None:
    instance = make_instance("1.2.3")
    threads = [threading.Thread(target=journal.record_received, args=(instance,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert history.counts()[EntryStatus.RECEIVED] == 1
    assert len(history.story("1.2.3")) == 20


def test_a_resend_changes_nothing_on_the_way(
    journal: Journal, claimed: JournalEntry, make_instance: MakeInstance
) -> None:
    assert journal.record_received(make_instance(claimed.sop_instance_uid)) is EntryStatus.SCORING
    assert journal.mark_reported(claimed, Finding(RESULT, {}))


def test_a_resend_takes_up_a_failure_again(
    journal: Journal, claimed: JournalEntry, make_instance: MakeInstance
) -> None:
    journal.mark_failed(claimed, "scoring-error", "why")
    assert journal.record_received(make_instance(claimed.sop_instance_uid)) is EntryStatus.RECEIVED
    again = journal.claim(claimed.sop_instance_uid)
    assert again is not None
    assert again.attempts == 1


def test_a_claim_that_was_taken_over_closes_nothing(
    journal: Journal, upkeep: Upkeep, history: History, claimed: JournalEntry
) -> None:
    upkeep.restore_stale(later(), maximum_attempts=3)
    second = journal.claim(claimed.sop_instance_uid)
    assert second is not None
    assert second.attempts == 2
    assert not journal.mark_reported(claimed, Finding(RESULT, {}))
    assert not journal.mark_rejected(claimed, "r", "m")
    assert not journal.mark_failed(claimed, "r", "m")
    assert not journal.release(claimed, "m", later())
    assert journal.mark_rejected(second, "lateral-view", "m")
    entry = history.entry(claimed.sop_instance_uid)
    assert entry is not None
    assert (entry.status, entry.reason) == (EntryStatus.REJECTED, "lateral-view")


def test_an_image_that_kills_its_worker_does_not_circle(
    journal: Journal, upkeep: Upkeep, history: History, claimed: JournalEntry
) -> None:
    uid = claimed.sop_instance_uid
    for _ in range(2):
        upkeep.restore_stale(later(), maximum_attempts=3)
        assert journal.claim(uid) is not None
    upkeep.restore_stale(later(), maximum_attempts=3)
    entry = history.entry(uid)
    assert entry is not None
    assert (entry.status, entry.reason) == (EntryStatus.FAILED, "worker-lost")
    assert journal.claim(uid) is None


def test_fresh_claims_are_left_alone(journal: Journal, upkeep: Upkeep, claimed: JournalEntry) -> None:
    upkeep.restore_stale(LONG_AGO, maximum_attempts=3)
    assert journal.mark_reported(claimed, Finding(RESULT, {}))


def test_a_released_claim_waits_until_it_is_due(
    journal: Journal, upkeep: Upkeep, claimed: JournalEntry
) -> None:
    journal.release(claimed, "why", datetime.now(UTC) + timedelta(minutes=15))
    assert upkeep.take_overdue(later()) == Overdue((), ())


def test_bells_ring_again_only_after_a_while(
    journal: Journal, upkeep: Upkeep, make_instance: MakeInstance
) -> None:
    journal.record_received(make_instance("1.2.3"))
    assert upkeep.take_overdue(LONG_AGO) == Overdue((), ())
    assert upkeep.take_overdue(later()) == Overdue(("1.2.3",), ())
    assert upkeep.take_overdue(LONG_AGO) == Overdue((), ())
    upkeep.forget_bells()
    assert upkeep.take_overdue(LONG_AGO) == Overdue(("1.2.3",), ())


def test_requeue_of_a_rejected_image_scores_it_again(
    journal: Journal, upkeep: Upkeep, claimed: JournalEntry
) -> None:
    journal.mark_rejected(claimed, "lateral-view", "m")
    assert upkeep.requeue(None) == ()
    assert upkeep.requeue([claimed.sop_instance_uid]) == (claimed.sop_instance_uid,)
    assert journal.claim(claimed.sop_instance_uid) is not None


def test_retention_takes_what_is_done_and_nothing_else(
    journal: Journal, upkeep: Upkeep, history: History, make_instance: MakeInstance
) -> None:
    for uid in ("1.1", "1.2", "1.3"):
        journal.record_received(make_instance(uid))
    rejected, reported = journal.claim("1.1"), journal.claim("1.2")
    assert rejected is not None
    assert reported is not None
    journal.mark_rejected(rejected, "lateral-view", "m")
    journal.mark_reported(reported, Finding(RESULT, {"A": "v"}))
    assert upkeep.finished_before(later()) == ("1.1",)
    assert upkeep.finished_before(LONG_AGO) == ()
    assert upkeep.retire("1.1", lambda: None)
    assert upkeep.finished_before(later()) == ()
    journal.record_received(make_instance("1.1"))
    assert upkeep.finished_before(later()) == ("1.1",)
    entry = history.entry("1.1")
    assert entry is not None
    assert entry.status is EntryStatus.REJECTED


def test_the_oldest_waiting(journal: Journal, history: History, make_instance: MakeInstance) -> None:
    assert history.oldest_waiting() is None
    first = make_instance("1.1")
    journal.record_received(first)
    journal.record_received(make_instance("1.2"))
    assert history.oldest_waiting() == first.received_at


def test_sqlite_commits_survive_a_power_cut(engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL's own defaults")
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2  # FULL


def test_migrating_at_once_and_again_is_harmless(engine: Engine) -> None:
    threads = [threading.Thread(target=migrate, args=(engine,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    require_current(engine)


def test_a_database_without_schema_is_refused(postgresql_url: str) -> None:
    engine = open_engine(make_url(postgresql_url))
    with pytest.raises(SchemaError, match="cxr-worker migrate"):
        require_current(engine)
    engine.dispose()


def test_a_database_that_is_away_is_a_transient_error_without_the_password() -> None:
    engine = create_engine("postgresql+psycopg://user:sesame@127.0.0.1:9/none?connect_timeout=2")
    with pytest.raises(StorageError) as caught:
        Journal(engine).claim("1.2.3")
    assert caught.value.transient
    assert "sesame" not in str(caught.value)
