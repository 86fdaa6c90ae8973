"""Earlier results in the journal: whose they are, which count, and what never stands there."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text, update

from dicom_node.instance import InstanceReference
from dicom_node.prior import PatientIdentity, PriorResult, ZoneFigures
from worker.entry import PatientResult
from worker.priors import ASK_AGAIN_AFTER, MOST, Priors
from worker.schema import InquiryRow
from worker.upkeep import Upkeep

ANNA = PatientIdentity("4711", "HOSPITAL", "19500101")
ZONES = (ZoneFigures(1, 12.5), ZoneFigures(None, None), *(ZoneFigures(0, 0.0),) * 4)
REPORT = InstanceReference("1.2.840.10008.5.1.4.1.1.88.33", "2.25.7", "2.25.8", "2.25.9")
NOON = datetime(2026, 1, 1, 12)


def result(uid: str, acquired_at: datetime = NOON, **changes: Any) -> PriorResult:
    prior = PriorResult(uid, acquired_at, "two-stage", "1.0", "d" * 64, 1, 6, 12.5, ZONES, REPORT)
    return replace(prior, **changes)


def keep(priors: Priors, *results: PriorResult, source: str = "", made_at: str = "") -> str:
    patient = priors.pseudonym(ANNA)
    priors.record(PatientResult(patient, one, source, made_at) for one in results)
    return patient


def test_a_result_comes_back_as_it_was_kept(priors: Priors) -> None:
    patient = keep(priors, result("1.1"))
    assert priors.before(patient, NOON + timedelta(seconds=1), "1.2", "two-stage") == (result("1.1"),)


def test_only_what_was_taken_before_counts_and_never_the_radiograph_itself(priors: Priors) -> None:
    patient = keep(priors, result("1.1"), result("1.2", NOON + timedelta(hours=1)), result("1.3"))
    assert priors.before(patient, NOON, "1.9", "two-stage") == ()
    found = priors.before(patient, NOON + timedelta(hours=1), "1.3", "two-stage")
    assert [prior.sop_instance_uid for prior in found] == ["1.1"]


def test_the_latest_results_oldest_first(priors: Priors) -> None:
    patient = keep(priors, *(result(f"1.{day}", NOON + timedelta(days=day)) for day in range(MOST + 3)))
    found = priors.before(patient, NOON + timedelta(days=365), "9", "two-stage")
    assert [prior.sop_instance_uid for prior in found] == [f"1.{day}" for day in range(3, MOST + 3)]


@pytest.mark.parametrize(
    "other",
    [replace(ANNA, patient_id="4712"), replace(ANNA, issuer=""), replace(ANNA, birth_date="19500102")],
)
def test_another_patient_has_none_of_them(priors: Priors, other: PatientIdentity) -> None:
    keep(priors, result("1.1"))
    assert priors.before(priors.pseudonym(other), datetime.max, "9", "two-stage") == ()


def test_our_own_result_counts_before_one_that_was_told(priors: Priors) -> None:
    def score() -> int:
        (found,) = priors.before(patient, datetime.max, "9", "two-stage")
        return found.score

    patient = keep(priors, result("1.1", score=2), source="PACS", made_at="20260101120000")
    keep(priors, result("1.1", score=3), source="OTHER", made_at="20260101110000")
    assert score() == 2
    keep(priors, result("1.1", score=4), source="OTHER", made_at="20260101130000")
    assert score() == 4
    keep(priors, result("1.1", score=5))
    assert score() == 5
    keep(priors, result("1.1", score=6), source="PACS", made_at="20270101120000")
    assert score() == 5
    keep(priors, result("1.1", score=1))
    assert score() == 1


def test_another_algorithms_result_stands_beside_it(priors: Priors) -> None:
    patient = keep(priors, result("1.1"), result("1.1", algorithm="bs-net", score_max=18))
    for name, most in (("two-stage", 6), ("bs-net", 18)):
        (found,) = priors.before(patient, datetime.max, "9", name)
        assert (found.algorithm, found.score_max) == (name, most)


def test_one_key_however_many_ask_for_it_first(engine: Engine) -> None:
    names: list[str] = []
    threads = [
        threading.Thread(target=lambda: names.append(Priors(engine).pseudonym(ANNA))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names) == 8
    assert len(set(names)) == 1
    with engine.connect() as connection:
        (key,) = connection.execute(text("SELECT pseudonym_key FROM installation")).scalars()
    assert len(bytes.fromhex(key)) == 32


def test_two_processes_tell_of_the_same_result_at_once(engine: Engine) -> None:
    threads = [threading.Thread(target=keep, args=(Priors(engine), result("1.1"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Priors(engine).before(Priors(engine).pseudonym(ANNA), datetime.max, "9", "two-stage")) == 1


def test_nothing_in_it_names_the_patient(priors: Priors, engine: Engine) -> None:
    keep(priors, result("1.1"))
    priors.note_asked(priors.pseudonym(ANNA), "PACS")
    with engine.connect() as connection:
        kept = [
            str(row)
            for table in ("prior", "inquiry", "installation")
            for row in connection.execute(text(f"SELECT * FROM {table}"))
        ]
    assert kept
    assert not [row for row in kept for told in ("4711", "HOSPITAL", "19500101") if told in row]


def test_an_archives_answer_is_good_for_a_while(priors: Priors, engine: Engine) -> None:
    assert not priors.asked_lately("p", "PACS")
    priors.note_asked("p", "PACS")
    priors.note_asked("p", "PACS")
    assert priors.asked_lately("p", "PACS")
    assert not priors.asked_lately("p", "OTHER")
    assert not priors.asked_lately("q", "PACS")
    with engine.begin() as connection:
        connection.execute(update(InquiryRow).values(asked_at=datetime.now(UTC) - ASK_AGAIN_AFTER))
    assert not priors.asked_lately("p", "PACS")
    priors.note_asked("q", "PACS")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM inquiry")).scalar() == 1


def test_results_are_forgotten_when_their_time_is_over(priors: Priors, upkeep: Upkeep) -> None:
    patient = keep(priors, result("1.1"))
    upkeep.forget_results_before(datetime.now(UTC) - timedelta(hours=1))
    assert len(priors.before(patient, datetime.max, "9", "two-stage")) == 1
    upkeep.forget_results_before(datetime.now(UTC) + timedelta(hours=1))
    assert priors.before(patient, datetime.max, "9", "two-stage") == ()
