"""A journal of an earlier version, with images on every part of their way, goes on under the present one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url

import worker
from dicom_node.commitment_report import CommitmentResult
from worker.database import migrate, open_engine, require_current
from worker.deliveries import Deliveries
from worker.entry import DeliveryStatus, EntryStatus, Finding, Settlement
from worker.errors import SchemaError
from worker.history import History
from worker.journal import Journal
from worker.reprocessing import Reprocessing
from worker.schema import Base
from worker.upkeep import Upkeep

RESULT = {"algorithm": "two-stage", "algorithm_digest": "e" * 64, "outcome": "scored", "score": 2}
SR = "1.2.840.10008.5.1.4.1.1.88.33"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
STATES = {
    "1.1": ("RECEIVED", None, None),
    "1.2": ("REPORTED", None, "PENDING"),
    "1.3": ("STORED", None, "STORED"),
    "1.4": ("COMMITTED", None, "COMMITTED"),
    "1.5": ("FAILED", "delivery-refused", "FAILED"),
    "1.6": ("FAILED", "scoring-error", None),
    "1.7": ("REJECTED", "lateral-view", None),
}


@pytest.fixture(params=["sqlite", "postgresql"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A journal of schema 0002, with an image in each state."""
    if request.param == "sqlite":
        engine = open_engine(make_url(f"sqlite:///{tmp_path / 'journal.sqlite3'}"))
    else:
        engine = open_engine(make_url(request.getfixturevalue("postgresql_url")))
    config = Config()
    config.set_main_option("script_location", str(Path(worker.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        for uid, (status, reason, delivery) in STATES.items():
            connection.execute(
                text(
                    "INSERT INTO entry (sop_instance_uid, sop_class_uid, series_instance_uid, "
                    "study_instance_uid, calling_ae_title, status, attempts, reason, result, "
                    "algorithm_digest, received_at, updated_at, due_at) VALUES (:uid, '1', '2', '3', "
                    "'MODALITY', :status, 1, :reason, :result, :digest, :now, :now, :due)"
                ),
                {
                    "uid": uid,
                    "status": status,
                    "reason": reason,
                    "result": json.dumps({"outcome": "scored", "score": 3}) if delivery else None,
                    "digest": "d" * 64 if delivery else None,
                    "now": NOW,
                    "due": NOW if status == "RECEIVED" else None,
                },
            )
            if delivery:
                connection.execute(
                    text(
                        "INSERT INTO delivery (sop_instance_uid, destination, variant, status, attempts, "
                        "created_at, updated_at, due_at, stored, asks_commitment) VALUES (:uid, 'PACS', "
                        "'old', :status, 1, :now, :now, :due, :stored, :asks)"
                    ),
                    {
                        "uid": uid,
                        "status": delivery,
                        "now": NOW,
                        "due": NOW if delivery == "PENDING" else None,
                        "stored": json.dumps([[SR, "2.25.1"]]),
                        "asks": uid in ("1.3", "1.4"),
                    },
                )
        connection.execute(
            text(
                "INSERT INTO commitment (transaction_uid, sop_instance_uid, destination, requested_at) "
                "VALUES ('2.25.99', '1.3', 'PACS', :now)"
            ),
            {"now": NOW},
        )
    yield engine
    engine.dispose()


def state(engine: Engine, uid: str) -> str:
    entry = History(engine).entry(uid)
    assert entry is not None
    return entry.status


def require_kept(engine: Engine) -> None:
    """All that was found and sent was the only algorithm's that there was."""
    entry, none = History(engine).entry("1.3"), History(engine).entry("1.6")
    assert entry is not None
    assert none is not None
    kept = {"outcome": "scored", "score": 3, "algorithm": "two-stage", "algorithm_digest": "d" * 64}
    assert (entry.results, none.results) == ((kept,), ())
    (delivery,) = History(engine).deliveries("1.3")
    assert (delivery.algorithm, delivery.variant, delivery.stored) == ("two-stage", "old", ((SR, "2.25.1"),))


def test_every_image_is_where_it_was_and_goes_on(old: Engine) -> None:
    with pytest.raises(SchemaError, match="cxr-worker migrate"):
        require_current(old)
    migrate(old)
    require_current(old)
    assert {uid: state(old, uid) for uid in STATES} == {uid: status for uid, (status, *_) in STATES.items()}
    journal, deliveries = Journal(old), Deliveries(old)
    require_kept(old)

    claimed = journal.claim("1.1")
    assert claimed is not None
    assert journal.mark_reported(claimed, Finding(RESULT, {"PACS": "new"}))

    delivery = deliveries.claim("1.2")
    assert delivery is not None
    assert delivery.variant == "old"
    assert deliveries.settle(delivery, Settlement(DeliveryStatus.STORED, "fine"))
    assert state(old, "1.2") == EntryStatus.STORED

    # What had been asked for before is heard.
    assert deliveries.record_commitment(CommitmentResult("2.25.99", frozenset({"2.25.1"}), {})) is not None
    assert state(old, "1.3") == EntryStatus.COMMITTED

    assert set(Upkeep(old).requeue(None)) == {"1.5", "1.6"}
    assert (state(old, "1.5"), state(old, "1.6")) == (EntryStatus.REPORTED, EntryStatus.RECEIVED)

    assert Reprocessing(old).start("1.4") is None
    claimed = journal.claim("1.4")
    assert claimed is not None
    assert journal.mark_reported(claimed, Finding(RESULT, {"PACS": "new"}))
    assert state(old, "1.4") == EntryStatus.REPORTED
    assert History(old).reports("1.4") == History(old).assessments() == ()


def test_the_migrations_make_the_tables_that_the_code_describes(old: Engine) -> None:
    migrate(old)
    with old.connect() as connection:
        context = MigrationContext.configure(connection)
        assert [str(difference) for difference in compare_metadata(context, Base.metadata)] == []


def test_there_is_a_way_back(old: Engine) -> None:
    migrate(old)
    config = Config()
    config.set_main_option("script_location", str(Path(worker.__file__).parent / "migrations"))
    with old.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
        assert connection.execute(text("SELECT count(*) FROM delivery")).scalar() == 4
    migrate(old)
    require_current(old)
    require_kept(old)
