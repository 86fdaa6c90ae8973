"""The story of one image, step by step, on a real journal and spool and over real associations."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from sqlalchemy import Engine, update

from dicom_node.instance import ReceivedInstance
from dicom_node.report_settings import ReportSettings
from dicom_node.storage_commitment import CommitmentResult
from dicom_node.storage_scu import RemoteAE
from worker.deliveries import Deliveries
from worker.entry import DeliveryStatus, EntryStatus, JournalEntry, Settlement
from worker.errors import MissingInstance, StorageError
from worker.history import History
from worker.journal import Journal
from worker.pipeline import accept, confirm, deliver, score, sweep, tidy
from worker.schema import DeliveryRow, DestinationRow
from worker.spool import Spool
from worker.stages import Delivering, Route, Scoring, Sweeping
from worker.upkeep import Upkeep

SR, SC = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.7"
MakeInstance = Callable[..., ReceivedInstance]


@pytest.fixture
def film(sample_films: list[Path], make_instance: MakeInstance) -> ReceivedInstance:
    encoded = sample_films[0].read_bytes()
    uid = str(dcmread(BytesIO(encoded), stop_before_pixels=True).SOPInstanceUID)
    return make_instance(uid, encoded)


@pytest.fixture
def delivering(spool: Spool, deliveries: Deliveries, bells: Any, loopback_pacs: Any) -> Delivering:
    remote = RemoteAE("PACS", "127.0.0.1", loopback_pacs.port, timeout_s=5)
    return Delivering(spool, deliveries, bells, {"PACS": Route(remote)}, "CXRWORKER")


@pytest.fixture
def sweeping(spool: Spool, upkeep: Upkeep, bells: Any) -> Sweeping:
    return Sweeping(
        spool=spool,
        upkeep=upkeep,
        doorbell=bells,
        claim_timeout=timedelta(minutes=5),
        ring_again_after=timedelta(0),
        give_up_after=timedelta(days=1),
        keep_delivered=timedelta(0),
        keep_entries=None,
        maximum_attempts=2,
    )


def status(history: History, uid: str) -> tuple[EntryStatus, str | None]:
    entry = history.entry(uid)
    assert entry is not None
    return entry.status, entry.reason


def due_now(engine: Engine) -> None:
    """Let every retry be due, as time would."""
    with engine.begin() as connection:
        connection.execute(update(DeliveryRow).values(due_at=DeliveryRow.created_at))
        connection.execute(update(DestinationRow).values(resting_until=None))


def test_accepted_scored_delivered(
    film: ReceivedInstance, scoring: Scoring, delivering: Delivering, history: History, loopback_pacs: Any
) -> None:
    uid = film.sop_instance_uid
    accept(film, scoring.spool, scoring.journal, scoring.doorbell)
    assert status(history, uid) == (EntryStatus.RECEIVED, None)
    score(uid, scoring)
    assert status(history, uid) == (EntryStatus.REPORTED, None)
    deliver(uid, delivering)
    assert status(history, uid) == (EntryStatus.STORED, None)
    assert scoring.doorbell.score == [uid]
    assert scoring.doorbell.deliver == [uid]
    assert sorted(dataset.SOPClassUID for dataset in loopback_pacs.datasets) == sorted([SR, SC])
    source = dcmread(BytesIO(film.encoded))
    assert {dataset.StudyInstanceUID for dataset in loopback_pacs.datasets} == {source.StudyInstanceUID}
    entry = history.entry(uid)
    assert entry is not None
    assert entry.result is not None
    assert (entry.result["outcome"], entry.result["score"]) == ("scored", 1)
    assert [zone["fraction"] for zone in entry.result["zones"]] == [0, 0, 1, 0, 0, 0]


def test_every_step_twice_changes_nothing(
    film: ReceivedInstance, scoring: Scoring, delivering: Delivering, history: History, loopback_pacs: Any
) -> None:
    uid = film.sop_instance_uid
    for _ in range(2):
        accept(film, scoring.spool, scoring.journal, scoring.doorbell)
        for _ in range(2):
            score(uid, scoring)
            deliver(uid, delivering)
    assert len(loopback_pacs.files) == 2
    assert scoring.scorers[0].calls == 1
    assert scoring.doorbell.score == [uid]


def test_the_report_that_the_journal_names_is_the_one_that_counts(
    film: ReceivedInstance, scoring: Scoring, upkeep: Upkeep, history: History, spool: Spool
) -> None:
    """The worker died after the report was written and before the journal knew."""
    uid = film.sop_instance_uid
    dying = replace(scoring, journal=_DyingJournal(scoring.journal))
    accept(film, scoring.spool, scoring.journal, scoring.doorbell)
    with pytest.raises(SystemExit):
        score(uid, dying)
    upkeep.restore_stale(datetime.now(UTC), maximum_attempts=3)
    score(uid, scoring)
    (delivery,) = history.deliveries(uid)
    first = spool.read_report(uid, delivery.variant, ("sr", "sc"))
    # Whoever else still writes for this image writes elsewhere.
    with pytest.raises(SystemExit):
        score(uid, replace(dying, journal=_DyingJournal(scoring.journal, history.entry(uid))))
    assert spool.read_report(uid, delivery.variant, ("sr", "sc")) == first


class _DyingJournal:
    """A journal whose process dies when a report is to be recorded."""

    def __init__(self, journal: Journal, zombie: JournalEntry | None = None) -> None:
        self.claim = journal.claim if zombie is None else lambda _uid: zombie

    def mark_reported(self, *_: object) -> bool:
        raise SystemExit


def test_without_destination_the_report_waits(
    film: ReceivedInstance, scoring: Scoring, delivering: Delivering, history: History, tmp_path: Path
) -> None:
    uid = film.sop_instance_uid
    accept(film, scoring.spool, scoring.journal, scoring.doorbell)
    score(uid, replace(scoring, forms={}))
    deliver(uid, delivering)
    assert status(history, uid) == (EntryStatus.REPORTED, None)
    assert len(list((tmp_path / "spool" / "reports").iterdir())) == 2
    assert "no destination" in history.story(uid)[-1][1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ViewPosition": "LL"}, "lateral-view"),
        ({"BodyPartExamined": "HAND"}, "not-a-chest"),
        ({"Modality": "CT"}, "not-a-radiograph"),
        ({"PixelData": None}, "no-pixels"),
        ({"Rows": 4000}, "broken-pixels"),
    ],
)
def test_what_is_not_eligible_is_rejected_with_a_reason(
    make_film: Callable[..., bytes],
    make_instance: MakeInstance,
    scoring: Scoring,
    history: History,
    change: dict[str, Any],
    reason: str,
) -> None:
    size = {"Rows": 400, "Columns": 400, "PixelData": bytes(400 * 400 * 2)}
    film = make_instance(encoded=make_film(**(size | change)))
    accept(film, scoring.spool, scoring.journal, scoring.doorbell)
    score(film.sop_instance_uid, scoring)
    assert status(history, film.sop_instance_uid) == (EntryStatus.REJECTED, reason)
    assert scoring.doorbell.deliver == []
    assert scoring.scorers[0].calls == 0
    entry = history.entry(film.sop_instance_uid)
    assert entry is not None
    assert "Synthetic" not in str(entry.message)


def test_an_unexpected_error_ends_with_that_image_and_quotes_nothing(
    film: ReceivedInstance,
    scoring: Scoring,
    history: History,
    fixed_scorer: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    uid = film.sop_instance_uid
    fixed_scorer.error = ValueError("bad value 'Sample^Chest Radiograph'")
    accept(film, scoring.spool, scoring.journal, scoring.doorbell)
    score(uid, scoring)
    assert status(history, uid) == (EntryStatus.RECEIVED, None)
    score(uid, scoring)
    assert status(history, uid) == (EntryStatus.FAILED, "scoring-error")
    entry = history.entry(uid)
    assert entry is not None
    assert "ValueError at conftest.py" in str(entry.message)
    assert "Sample" not in f"{entry.message} {history.story(uid)} {caplog.text}"


def test_other_content_under_a_known_uid_is_told_and_does_not_replace_the_first(
    film: ReceivedInstance, scoring: Scoring, history: History, spool: Spool
) -> None:
    for encoded in (film.encoded, film.encoded, film.encoded + b"x"):
        accept(replace(film, encoded=encoded), spool, scoring.journal, scoring.doorbell)
    assert spool.read_instance(film.sop_instance_uid) == film.encoded
    told = [what for _, what in history.story(film.sop_instance_uid)]
    assert told[1] == "sent again by MODALITY"
    assert "other content" in told[2]


def test_an_image_that_bears_another_uid_gets_no_report(
    film: ReceivedInstance, make_instance: MakeInstance, scoring: Scoring, history: History, spool: Spool
) -> None:
    other = make_instance("1.2.3.4", film.encoded)
    accept(other, spool, scoring.journal, scoring.doorbell)
    score("1.2.3.4", scoring)
    assert status(history, "1.2.3.4") == (EntryStatus.REJECTED, "undecodable")
    assert history.deliveries(film.sop_instance_uid) == ()


def test_a_file_that_is_gone_fails_at_once(
    film: ReceivedInstance, scoring: Scoring, spool: Spool, history: History
) -> None:
    accept(film, spool, scoring.journal, scoring.doorbell)
    spool.remove(film.sop_instance_uid)
    score(film.sop_instance_uid, scoring)
    assert status(history, film.sop_instance_uid) == (EntryStatus.FAILED, "missing-file")


def test_success_is_not_answered_when_the_spool_is_full(
    film: ReceivedInstance, scoring: Scoring, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError):
        accept(film, scoring.spool, scoring.journal, scoring.doorbell)
    assert history.entry(film.sop_instance_uid) is None


@pytest.fixture
def reported(film: ReceivedInstance, scoring: Scoring) -> str:
    accept(film, scoring.spool, scoring.journal, scoring.doorbell)
    score(film.sop_instance_uid, scoring)
    return film.sop_instance_uid


def test_a_pacs_that_is_down_is_tried_again_without_scoring_again(
    reported: str,
    scoring: Scoring,
    delivering: Delivering,
    sweeping: Sweeping,
    history: History,
    engine: Engine,
    loopback_pacs: Any,
    bells: Any,
) -> None:
    loopback_pacs.stop()
    deliver(reported, delivering)
    (delivery,) = history.deliveries(reported)
    assert delivery.status is DeliveryStatus.PENDING
    assert status(history, reported)[0] is EntryStatus.REPORTED
    loopback_pacs.start()
    due_now(engine)
    bells.deliver.clear()
    sweep(sweeping)
    assert bells.deliver == [reported]
    deliver(reported, delivering)
    assert status(history, reported)[0] is EntryStatus.STORED
    assert len(loopback_pacs.files) == 2
    assert scoring.scorers[0].calls == 1


def test_a_pacs_that_is_down_for_good_ends_in_a_visible_failure(
    reported: str, delivering: Delivering, sweeping: Sweeping, history: History, loopback_pacs: Any
) -> None:
    loopback_pacs.stop()
    deliver(reported, delivering)
    sweep(replace(sweeping, give_up_after=timedelta(0)))
    assert status(history, reported) == (EntryStatus.FAILED, "delivery-refused")
    loopback_pacs.start()


def test_one_destination_down_and_one_up(
    film: ReceivedInstance, scoring: Scoring, delivering: Delivering, history: History, loopback_pacs: Any
) -> None:
    uid = film.sop_instance_uid
    forms = {"DOWN": ReportSettings(), "PACS": ReportSettings()}
    nobody = Route(RemoteAE("DOWN", "127.0.0.1", 9, timeout_s=5))
    accept(film, scoring.spool, scoring.journal, scoring.doorbell)
    score(uid, replace(scoring, forms=forms))
    deliver(uid, replace(delivering, routes={**delivering.routes, "DOWN": nobody}))
    assert len(loopback_pacs.files) == 2
    assert {one.destination: one.status for one in history.deliveries(uid)} == {
        "DOWN": DeliveryStatus.PENDING,
        "PACS": DeliveryStatus.STORED,
    }
    (down, waiting), _ = history.destinations()
    assert (down.name, down.failures, waiting) == ("DOWN", 1, 1)


@pytest.mark.parametrize(("send", "classes"), [(("sr",), [SR]), (("sc",), [SC])])
def test_a_destination_gets_what_it_wants(
    reported: str,
    delivering: Delivering,
    history: History,
    loopback_pacs: Any,
    send: tuple[str, ...],
    classes: list[str],
) -> None:
    (route,) = delivering.routes.values()
    deliver(reported, replace(delivering, routes={"PACS": replace(route, send=send)}))
    assert status(history, reported)[0] is EntryStatus.STORED
    assert [dataset.SOPClassUID for dataset in loopback_pacs.datasets] == classes
    (delivery,) = history.deliveries(reported)
    assert [sop_class for sop_class, _ in delivery.stored] == classes


def test_a_destination_without_storage_commitment_stays_stored_and_says_so(
    reported: str, delivering: Delivering, history: History
) -> None:
    (route,) = delivering.routes.values()
    deliver(reported, replace(delivering, routes={"PACS": replace(route, commitment=True)}))
    assert status(history, reported)[0] is EntryStatus.STORED
    (delivery,) = history.deliveries(reported)
    assert (delivery.asks_commitment, delivery.due_at) == (True, None)
    assert "commitment refused" in history.story(reported)[-1][1]


def test_a_word_on_commitment_is_heard_and_a_loss_rings(
    reported: str, delivering: Delivering, deliveries: Deliveries, history: History, bells: Any
) -> None:
    (delivery,) = [deliveries.claim(reported)]
    assert delivery is not None
    stored = (("1.2.840.10008.5.1.4.1.1.7", "2.25.1"),)
    settlement = Settlement(DeliveryStatus.STORED, "fine", stored=stored, asks_commitment=True)
    deliveries.settle(delivery, settlement)
    request = deliveries.claim_commitment(reported)
    assert request is not None
    assert not confirm(CommitmentResult("2.25.7", frozenset(), {}), deliveries, bells)
    bells.deliver.clear()
    lost = CommitmentResult(request.transaction_uid, frozenset(), {"2.25.1": 0x0112})
    assert confirm(lost, deliveries, bells)
    assert bells.deliver == [reported]
    assert status(history, reported)[0] is EntryStatus.REPORTED


def test_a_disk_that_fails_for_a_while_uses_no_attempt_up(
    film: ReceivedInstance, scoring: Scoring, spool: Spool, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = film.sop_instance_uid
    accept(film, spool, scoring.journal, scoring.doorbell)
    with monkeypatch.context() as broken:
        broken.setattr(spool, "read_instance", _fail)
        for _ in range(5):
            score(uid, scoring)
            assert status(history, uid) == (EntryStatus.RECEIVED, None)
    score(uid, scoring)
    assert status(history, uid) == (EntryStatus.REPORTED, None)


def _fail(_uid: str) -> bytes:
    raise StorageError("the spool cannot be read (Stale file handle): check the data folder")


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ({SR: 0xA700}, EntryStatus.REPORTED),
        ({SC: 0xA700}, EntryStatus.REPORTED),
        ({SR: 0xC000}, EntryStatus.STORED),
        ({SC: 0xC000}, EntryStatus.FAILED),
        ({SR: 0xB000, SC: 0xB007}, EntryStatus.STORED),
    ],
)
def test_what_the_pacs_answers_decides(
    reported: str,
    delivering: Delivering,
    history: History,
    loopback_pacs: Any,
    statuses: dict[str, int],
    expected: EntryStatus,
) -> None:
    loopback_pacs.statuses = statuses
    deliver(reported, delivering)
    assert status(history, reported)[0] is expected
    (delivery,) = history.deliveries(reported)
    assert all(f"0x{status:04X}" in str(delivery.message) for status in statuses.values())


def test_a_pacs_that_takes_no_reports_gets_the_capture_and_the_entry_says_so(
    reported: str, delivering: Delivering, history: History, loopback_pacs: Any
) -> None:
    loopback_pacs.refused = [SR]
    loopback_pacs.restart()
    deliver(reported, delivering)
    assert status(history, reported)[0] is EntryStatus.STORED
    assert [dataset.SOPClassUID for dataset in loopback_pacs.datasets] == [SC]
    (delivery,) = history.deliveries(reported)
    assert "report not stored" in str(delivery.message)


def test_retention_removes_files_and_keeps_the_story(
    reported: str, delivering: Delivering, sweeping: Sweeping, spool: Spool, history: History, tmp_path: Path
) -> None:
    sweep(sweeping)
    assert spool.read_instance(reported)
    deliver(reported, delivering)
    sweep(sweeping)
    assert not [path for path in (tmp_path / "spool").rglob("*") if path.is_file()]
    assert history.story(reported)[-1][1].startswith("files removed")


def test_retention_leaves_alone_what_is_taken_up_again(
    film: ReceivedInstance, scoring: Scoring, upkeep: Upkeep, spool: Spool, history: History
) -> None:
    """The operator gives up failed images while one of them is sent again."""
    uid = film.sop_instance_uid
    accept(film, spool, scoring.journal, scoring.doorbell)
    entry = scoring.journal.claim(uid)
    assert entry is not None
    scoring.journal.mark_failed(entry, "scoring-error", "m")
    assert upkeep.finished_before(datetime.now(UTC), failed=True) == (uid,)
    accept(film, spool, scoring.journal, scoring.doorbell)
    assert not upkeep.retire(uid, lambda: spool.remove(uid), failed=True)
    score(uid, scoring)
    assert status(history, uid)[0] is EntryStatus.REPORTED


def test_files_that_nobody_was_told_success_for_go_after_a_day(
    film: ReceivedInstance, scoring: Scoring, sweeping: Sweeping, spool: Spool, tmp_path: Path
) -> None:
    uid = film.sop_instance_uid
    accept(film, spool, scoring.journal, scoring.doorbell)
    spool.write_instance("1.2.3", b"its journal was away")
    tidy(sweeping)
    files = list((tmp_path / "spool" / "instances").iterdir())
    assert len(files) == 2
    for path in files:
        os.utime(path, (0, 0))
    tidy(sweeping)
    assert spool.read_instance(uid) == film.encoded
    with pytest.raises(MissingInstance):
        spool.read_instance("1.2.3")
    assert not list((tmp_path / "spool" / "incoming").iterdir())


def test_a_file_that_is_recorded_while_it_is_removed_as_an_orphan_stays(
    film: ReceivedInstance, scoring: Scoring, sweeping: Sweeping, spool: Spool, tmp_path: Path
) -> None:
    uid = film.sop_instance_uid
    spool.write_instance(uid, film.encoded)
    (path,) = (tmp_path / "spool" / "instances").iterdir()
    os.utime(path, (0, 0))
    asked = []

    class Upkeep:
        def in_spool(self) -> tuple[str, ...]:
            asked.append(uid)
            known = sweeping.upkeep.in_spool()
            if len(asked) == 1:
                accept(film, spool, scoring.journal, scoring.doorbell)
            return known

    tidy(replace(sweeping, upkeep=Upkeep()))
    assert len(asked) == 2
    assert spool.read_instance(uid) == film.encoded


def test_a_sweeper_that_dies_with_a_file_set_aside_loses_nothing(
    film: ReceivedInstance, scoring: Scoring, sweeping: Sweeping, spool: Spool, tmp_path: Path
) -> None:
    uid = film.sop_instance_uid
    accept(film, spool, scoring.journal, scoring.doorbell)
    (path,) = (tmp_path / "spool" / "instances").iterdir()
    aside = tmp_path / "spool" / "incoming" / f"orphan-{path.name}"
    path.rename(aside)
    os.utime(aside, (0, 0))
    assert spool.read_instance(uid) == film.encoded
    tidy(sweeping)
    assert path.read_bytes() == film.encoded
    assert not aside.exists()


def test_each_destination_has_a_bell_of_its_own(
    film: ReceivedInstance, scoring: Scoring, history: History, bells: Any
) -> None:
    uid = film.sop_instance_uid
    accept(film, scoring.spool, scoring.journal, scoring.doorbell)
    score(uid, replace(scoring, forms={"A": ReportSettings(), "B": ReportSettings()}))
    assert bells.deliver == [uid, uid]
