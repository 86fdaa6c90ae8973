"""Any order of events leaves the journal true: senders, workers, PACS, operators, crashes and clocks at play.

Hypothesis chooses the order; a model of a dictionary says what must be true after every step.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import Engine, delete
from sqlalchemy.orm import Session

from dicom_node.commitment_report import CommitmentResult
from dicom_node.instance import ReceivedInstance
from tests.worker.journal_model import (
    ALGORITHMS,
    RESULTS,
    STORED,
    UNDER_WAY,
    Clock,
    Known,
    Place,
    Sending,
    answer,
)
from worker import deliveries as deliveries_module
from worker import journal as journal_module
from worker import reprocessing as reprocessing_module
from worker import upkeep as upkeep_module
from worker.deliveries import TOO_FAR_AHEAD, Deliveries
from worker.entry import Delivery, DeliveryStatus, EntryStatus, Finding, JournalEntry, Settlement
from worker.history import History
from worker.journal import Journal
from worker.reprocessing import Reprocessing
from worker.schema import Base
from worker.upkeep import Upkeep

UIDS = ("1.2.1", "1.2.2")
DESTINATIONS = ("A", "B")
PLACES = tuple((destination, algorithm) for destination in DESTINATIONS for algorithm in ALGORITHMS)
"""So that the first two are one destination's, the first three those of a destination more, ..."""
MAXIMUM_ATTEMPTS = 3
CLAIM_TIMEOUT = timedelta(seconds=300)
ENDED = {EntryStatus.STORED, EntryStatus.COMMITTED, EntryStatus.REJECTED, EntryStatus.FAILED}

uids = st.sampled_from(UIDS)


class JournalMachine(RuleBasedStateMachine):
    """Senders, workers, deliverers, sweepers, operators and the clock, in any order."""

    def __init__(self, engine: Engine, clock: Clock, make_instance: Callable[..., ReceivedInstance]) -> None:
        super().__init__()
        self.clock, self.make_instance = clock, make_instance
        self.journal, self.deliveries = Journal(engine), Deliveries(engine)
        self.upkeep, self.history = Upkeep(engine), History(engine)
        self.reprocessing = Reprocessing(engine)
        self.known: dict[str, Known] = {}
        clock.seconds = 0
        with Session(engine) as session, session.begin():
            for table in reversed(Base.metadata.sorted_tables):
                session.execute(delete(table))

    def now(self) -> datetime:
        return self.clock.now(journal_module.UTC)

    # senders

    @rule(uid=uids)
    def receive(self, uid: str) -> None:
        known = self.known.setdefault(uid, Known())
        if known.status is EntryStatus.FAILED:
            known.revive()
        known.purged = False
        assert self.journal.record_received(self.make_instance(uid)) is known.status

    # scoring

    @rule(uid=uids)
    def claim(self, uid: str) -> None:
        claimed, known = self.journal.claim(uid), self.known.get(uid)
        assert (claimed is not None) == (known is not None and known.status is EntryStatus.RECEIVED)
        if claimed is not None and known is not None:
            assert known.claim is None
            known.status, known.claim = EntryStatus.SCORING, claimed
            known.attempts += 1
            assert claimed.attempts == known.attempts

    @rule(
        uid=uids,
        how=st.sampled_from(["reported", "rejected", "failed", "released", "uncounted"]),
        to=st.integers(1, len(PLACES)),
        variant=st.sampled_from(["v", "w"]),
    )
    def close(self, uid: str, how: str, to: int, variant: str = "v") -> None:
        known = self.known.get(uid)
        if known is None or known.claim is None:
            return
        claim, known.claim = known.claim, None
        assert self._close(claim, how, to, variant)
        known.old.append(claim)
        if how == "reported":
            known.report(PLACES[:to], variant)
        elif how in ("released", "uncounted"):
            known.status = EntryStatus.RECEIVED
            known.attempts -= how == "uncounted"
        else:
            known.status = EntryStatus.REJECTED if how == "rejected" else EntryStatus.FAILED
            known.refused = False

    @invariant()
    def an_old_claim_closes_nothing(self) -> None:
        for known in self.known.values():
            for claim in known.old[-1:]:
                for how in ("reported", "rejected", "failed", "released"):
                    assert not self._close(claim, how, len(PLACES))

    def _close(self, claim: JournalEntry, how: str, to: int, variant: str = "v") -> bool:
        if how == "reported":
            findings = [
                Finding(record, {place[0]: variant for place in PLACES[:to] if place[1] == name})
                for name, record in RESULTS.items()
                if name in {algorithm for _, algorithm in PLACES[:to]}
            ]
            return self.journal.mark_reported(claim, *findings)
        if how == "rejected":
            return self.journal.mark_rejected(claim, "lateral-view", "m")
        if how == "failed":
            return self.journal.mark_failed(claim, "scoring-error", "m")
        due_at = self.now() + timedelta(seconds=30)
        return self.journal.release(claim, "m", due_at, counted=how == "released")

    @rule(uid=uids)
    def lose_claim(self, uid: str) -> None:
        self.upkeep.lose_claim(uid, MAXIMUM_ATTEMPTS)
        if uid in self.known and self.known[uid].status is EntryStatus.SCORING:
            self._taken_back(self.known[uid])

    def _taken_back(self, known: Known) -> None:
        known.lose()
        known.status = EntryStatus.FAILED if known.attempts >= MAXIMUM_ATTEMPTS else EntryStatus.RECEIVED
        known.refused = False

    # delivering

    @rule(uid=uids)
    def claim_delivery(self, uid: str) -> None:
        delivery = self.deliveries.claim(uid)
        if delivery is not None:
            sending = self.known[uid].sendings[delivery.destination, delivery.algorithm]
            assert sending.status is DeliveryStatus.PENDING
            assert sending.claim is None
            assert delivery.variant == sending.variant
            sending.status, sending.claim = DeliveryStatus.SENDING, delivery

    @rule(
        uid=uids,
        place=st.sampled_from(PLACES),
        status=st.sampled_from(["STORED", "FAILED", "PENDING"]),
        asks=st.booleans(),
    )
    def settle(self, uid: str, place: Place, status: str, asks: bool) -> None:
        sending = self._sending(uid, place)
        if sending is None or sending.claim is None:
            return
        claim, sending.claim = sending.claim, None
        sending.old.append(claim)
        assert self._settle(claim, DeliveryStatus(status), asks)
        sending.status, sending.asks = DeliveryStatus(status), asks and status == "STORED"
        self.known[uid].close()

    @invariant()
    def an_old_claim_of_a_delivery_changes_nothing(self) -> None:
        for known in self.known.values():
            for sending in known.sendings.values():
                for claim in sending.old[-1:]:
                    assert not self._settle(claim, DeliveryStatus.FAILED, False)
                    assert not self._settle(claim, DeliveryStatus.PENDING, False)

    @rule(uid=uids, place=st.sampled_from(PLACES))
    def stored_late(self, uid: str, place: Place) -> None:
        """What a destination has taken counts, whoever brought it there."""
        sending = self._sending(uid, place)
        if sending is None or not sending.old:
            return
        settled = self._settle(sending.old[-1], DeliveryStatus.STORED, False)
        assert settled == (sending.status in UNDER_WAY)
        if settled:
            sending.lose()
            sending.status, sending.asks = DeliveryStatus.STORED, False
            self.known[uid].close()

    def _settle(self, claim: Delivery, status: DeliveryStatus, asks: bool) -> bool:
        due_at = self.now() + timedelta(seconds=30) if status is DeliveryStatus.PENDING else None
        settlement = Settlement(status, "m", stored=STORED, asks_commitment=asks)
        return self.deliveries.settle(claim, settlement, due_at)

    def _sending(self, uid: str, place: Place) -> Sending | None:
        return self.known[uid].sendings.get(place) if uid in self.known else None

    @rule(destination=st.sampled_from(DESTINATIONS), reached=st.booleans())
    def note(self, destination: str, reached: bool) -> None:
        if reached:
            self.deliveries.note_reached(destination)
        else:
            self.deliveries.note_unreached(destination, "away")

    # commitment

    @rule(uid=uids)
    def claim_commitment(self, uid: str) -> None:
        request = self.deliveries.claim_commitment(uid)
        if request is not None:
            sending = self.known[uid].sendings[request.destination, request.algorithm]
            assert (sending.status, sending.asks) == (DeliveryStatus.STORED, True)
            assert request.stored == STORED
            self.known[uid].requests.append(request)

    @rule(uid=uids, again=st.booleans())
    def settle_commitment(self, uid: str, again: bool) -> None:
        if uid in self.known and self.known[uid].requests:
            request = self.known[uid].requests[-1]
            due_at = self.now() + timedelta(seconds=30) if again else None
            self.deliveries.settle_commitment(request, "m", due_at)

    @rule(uid=uids, word=st.sampled_from(["committed", "lost", "unsure", "half"]))
    def record_commitment(self, uid: str, word: str) -> None:
        if uid not in self.known or not self.known[uid].requests:
            return
        known = self.known[uid]
        request = known.requests[-1]
        result = answer(request, word)
        sending = known.sendings[request.destination, request.algorithm]
        before = sending.status
        delivery = self.deliveries.record_commitment(result)
        assert delivery is not None
        if before is DeliveryStatus.STORED and request.variant == sending.variant:
            if word == "committed":
                sending.status = DeliveryStatus.COMMITTED
                known.close()
            elif result.failed:
                sending.status = DeliveryStatus.PENDING
                if known.is_reported:
                    known.status, known.refused = EntryStatus.REPORTED, False
            else:
                known.close()
        assert delivery.status is sending.status

    @rule()
    def record_a_strangers_commitment(self) -> None:
        stranger = CommitmentResult("2.25.999", frozenset(name for _, name in STORED), {})
        assert self.deliveries.record_commitment(stranger) is None

    # sweeping and operating

    @rule()
    def restore_stale(self) -> None:
        now = self.now()
        before = now - CLAIM_TIMEOUT

        def stale(updated_at: datetime) -> bool:
            return updated_at < before or updated_at > now + TOO_FAR_AHEAD

        self.upkeep.restore_stale(before, MAXIMUM_ATTEMPTS)
        for known in self.known.values():
            if known.claim is not None and stale(known.claim.updated_at):
                self._taken_back(known)
            for sending in known.sendings.values():
                if sending.claim is not None and stale(sending.claim.updated_at):
                    sending.lose()
                    sending.status = DeliveryStatus.PENDING

    @rule(uid=uids)
    def a_worker_dies_and_another_goes_on(self, uid: str) -> None:
        self.clock.seconds += 400
        self.restore_stale()
        self.claim(uid)
        self.claim_delivery(uid)

    @rule(uid=st.none() | uids)
    def requeue(self, uid: str | None) -> None:
        wanted = {EntryStatus.FAILED} | ({EntryStatus.REJECTED} if uid else set())
        expected = {
            name for name, known in self.known.items() if known.status in wanted and uid in (None, name)
        }
        assert set(self.upkeep.requeue(None if uid is None else [uid])) == expected
        for name in expected:
            self.known[name].revive()

    @rule(uid=uids)
    def reprocess(self, uid: str) -> None:
        why, known = self.reprocessing.start(uid), self.known.get(uid)
        possible = (
            known is not None
            and known.reported
            and known.status in ENDED
            and not known.purged
            and not {sending.status for sending in known.sendings.values()} & UNDER_WAY
        )
        assert (why is None) == possible
        if known is not None and possible:
            known.status, known.attempts, known.refused = EntryStatus.RECEIVED, 0, False

    @rule(uid=uids, variant=st.sampled_from(["v", "w"]))
    def reprocess_whole(self, uid: str, variant: str) -> None:
        self.reprocess(uid)
        self.claim(uid)
        self.close(uid, "reported", len(PLACES), variant)

    @rule(failed=st.booleans())
    def purge(self, failed: bool) -> None:
        for uid in self.upkeep.finished_before(self.now() + timedelta(seconds=1), failed=failed):
            known = self.known[uid]
            assert known.status in ENDED
            assert not {sending.status for sending in known.sendings.values()} & UNDER_WAY
            removed: list[str] = []
            assert self.upkeep.retire(uid, lambda: removed.append("files"), failed=failed)  # noqa: B023
            assert removed
            known.purged = True

    @rule()
    def forget(self) -> None:
        before = self.now()
        forgotten = self.upkeep.forget_before(before)
        left = {entry.sop_instance_uid for entry in self.history.entries()}
        gone = set(self.known) - left
        assert len(gone) == forgotten
        for uid in gone:
            known = self.known.pop(uid)
            assert known.purged
            assert known.status in ENDED - {EntryStatus.FAILED}

    @rule()
    def ring(self) -> None:
        overdue = self.upkeep.take_overdue(self.now() - timedelta(seconds=60))
        for uid in overdue.to_score:
            assert self.known[uid].status is EntryStatus.RECEIVED
        for uid in overdue.to_deliver:
            states = {(sending.status, sending.asks) for sending in self.known[uid].sendings.values()}
            waiting = {
                (DeliveryStatus.PENDING, False),
                (DeliveryStatus.PENDING, True),
                (DeliveryStatus.STORED, True),
            }
            assert states & waiting

    # the clock

    @rule(seconds=st.sampled_from([1, 31, 400, 5000, 90_000]))
    def time_passes(self, seconds: int) -> None:
        self.clock.seconds += seconds

    @rule(seconds=st.sampled_from([1, 400, 5000, 90_000]))
    def the_clock_is_set_back(self, seconds: int) -> None:
        self.clock.seconds -= seconds

    @rule(uid=uids, to=st.integers(1, len(PLACES)), asks=st.booleans())
    def go_on(self, uid: str, to: int, asks: bool) -> None:
        known = self.known.get(uid)
        if known is None:
            self.receive(uid)
        elif known.status is EntryStatus.RECEIVED:
            self.claim(uid)
        elif known.status is EntryStatus.SCORING:
            self.close(uid, "reported", to)
        elif any(sending.claim for sending in known.sendings.values()):
            for place in PLACES:
                self.settle(uid, place, "STORED", asks)
        elif known.status is EntryStatus.REPORTED:
            self.claim_delivery(uid)
        elif not known.requests:
            self.claim_commitment(uid)
        else:
            self.record_commitment(uid, "committed")

    @rule(uid=uids)
    def go_on_further(self, uid: str) -> None:
        for _ in range(3):
            self.go_on(uid, len(PLACES), True)

    # what holds at all times

    @invariant()
    def the_journal_says_what_happened(self) -> None:
        entries = {entry.sop_instance_uid: entry for entry in self.history.entries()}
        assert set(entries) == set(self.known)
        for uid, known in self.known.items():
            assert entries[uid].status is known.status
            assert entries[uid].attempts == known.attempts
            found = {(one.destination, one.algorithm): one.status for one in self.history.deliveries(uid)}
            assert found == {place: sending.status for place, sending in known.sendings.items()}

    @invariant()
    def states_agree(self) -> None:
        for known in self.known.values():
            known.require_agreement()

    @rule()
    def everything_ends_once_nothing_fails(self) -> None:
        """Let every worker and destination be well again, and the sweeper make its rounds."""
        for _ in range(12):
            self.clock.seconds += 3600
            self.restore_stale()
            overdue = self.upkeep.take_overdue(self.now() - timedelta(seconds=60))
            for uid in overdue.to_score:
                self.claim(uid)
                self.close(uid, "reported", len(PLACES))
            for uid in {*overdue.to_deliver, *overdue.to_score}:
                for _place in PLACES:
                    self.claim_delivery(uid)
                    for place in PLACES:
                        self.settle(uid, place, "STORED", False)
            for destination in DESTINATIONS:
                self.deliveries.note_reached(destination)
        assert {known.status for known in self.known.values()} <= ENDED


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of everything that writes to the journal."""
    clock = Clock()
    for module in (journal_module, deliveries_module, upkeep_module, reprocessing_module):
        monkeypatch.setattr(module, "datetime", clock)
    return clock


def test_any_order_of_events_keeps_the_journal_true(
    engine: Engine, clock: Clock, make_instance: Callable[..., ReceivedInstance]
) -> None:
    run_state_machine_as_test(
        lambda: JournalMachine(engine, clock, make_instance),
        settings=settings(
            max_examples=25 if engine.dialect.name == "sqlite" else 8,
            stateful_step_count=50,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
