"""Plain records: the keys that users' scripts read, rounded once."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from dicom_node.prior import PriorResult, ReportBasis, ZoneFigures, figures_of
from models.result import (
    ZONE_ORDER,
    AlgorithmId,
    NotAssessable,
    NotAssessableReason,
    SeverityResult,
    ZoneInvolvement,
)
from worker.summary import refuse, summarise

ALGORITHM = AlgorithmId("two-stage", "1", {"opacity": "0" * 64}, {})
KEYS = {"sop_instance_uid", "algorithm", "outcome", "score", "score_max", "zones"}
KEYS |= {"reason", "message", "warnings", "elapsed_s"}
KEYS |= {"acquired_at", "algorithm_version", "algorithm_digest", "fraction", "priors", "change"}
EMPTY = np.zeros((2, 2), np.uint8)
NOW = datetime(2026, 1, 9, 12, 30)


def a_result(areas: tuple[int, ...] = (3,) * 6) -> SeverityResult:
    """One of three pixels of every zone is opaque."""
    zones = tuple(
        ZoneInvolvement(side, level, area, min(area, 1), min(area, 1))
        for (side, level), area in zip(ZONE_ORDER, areas, strict=True)
    )
    return SeverityResult(ALGORITHM, sum(map(bool, areas)), 6, zones, EMPTY, EMPTY > 0, ("cut",))


def a_prior(day: int, score: int, percents: tuple[float | None, ...], **changed: object) -> PriorResult:
    zones = tuple(ZoneFigures(None if percent is None else 0, percent) for percent in percents)
    at = datetime(2026, 1, day, 12, 30)
    prior = PriorResult(f"1.2.{day}", at, "two-stage", "1", "d" * 64, score, 6, 20.1, zones)
    return replace(prior, **changed)  # type: ignore[arg-type]


def test_a_score() -> None:
    record = summarise("1.2", a_result(), ["assumed"], 1.23456, acquired_at=NOW)
    assert record.keys() == KEYS
    assert (record["outcome"], record["score"], record["score_max"]) == ("scored", 6, 6)
    assert record["zones"][0] == {
        "side": "right",
        "level": "upper",
        "fraction": 0.333,
        "score": 1,
        "confidence": None,
    }
    assert (record["fraction"], record["acquired_at"]) == (0.333, "2026-01-09T12:30:00")
    assert (record["algorithm"], record["algorithm_version"]) == ("two-stage", "1")
    assert record["algorithm_digest"] == ALGORITHM.digest
    assert (record["warnings"], record["elapsed_s"], record["reason"]) == (["assumed", "cut"], 1.235, None)
    assert (record["priors"], record["change"]) == ([], None)
    assert json.loads(json.dumps(record)) == record


def test_change_is_since_the_latest_prior_of_the_same_scheme() -> None:
    oldest = a_prior(1, 0, (0.0,) * 6)
    latest = a_prior(2, 4, (50.0, 0.0, 33.3, None, 10.0, 10.0))
    other = a_prior(3, 12, (0.0,) * 6, algorithm="bs-net", score_max=18)
    basis = ReportBasis(datetime.now(UTC), (oldest, latest, other))
    record = summarise("1.2", a_result(), (), 1, acquired_at=NOW, basis=basis)
    assert [prior["sop_instance_uid"] for prior in record["priors"]] == ["1.2.1", "1.2.2", "1.2.3"]
    assert record["priors"][1]["zones"][0] == {
        "side": "right",
        "level": "upper",
        "fraction": 0.5,
        "score": 0,
    }
    assert record["priors"][1] | {"zones": []} == {
        "sop_instance_uid": "1.2.2",
        "acquired_at": "2026-01-02T12:30:00",
        "algorithm": "two-stage",
        "algorithm_version": "1",
        "algorithm_digest": "d" * 64,
        "score": 4,
        "score_max": 6,
        "fraction": 0.201,
        "zones": [],
    }
    change = record["change"]
    assert (change["since"], change["score"], change["fraction"]) == ("2026-01-02T12:30:00", 2, 0.132)
    assert [zone["fraction"] for zone in change["zones"]] == [-0.167, 0.333, 0.0, None, 0.233, 0.233]
    assert [zone["score"] for zone in change["zones"]] == [1, 1, 1, None, 1, 1]
    assert json.loads(json.dumps(record)) == record


def test_what_was_not_measured_is_null() -> None:
    scores_only = replace(a_result(), algorithm=replace(ALGORITHM, weights={}))
    record = summarise("1.2", scores_only, (), 1)
    assert record["fraction"] is None
    assert {zone["fraction"] for zone in record["zones"]} == {None}
    assert {zone["score"] for zone in record["zones"]} == {1}

    no_left_apex = a_result((3, 3, 3, 0, 3, 3))
    zone = summarise("1.2", no_left_apex, (), 1)["zones"][3]
    assert (zone["fraction"], zone["score"]) == (None, None)


def test_the_record_holds_every_reported_figure_exactly() -> None:
    for opaque in range(1, 1000):
        zones = tuple(ZoneInvolvement(side, level, 1000, opaque, 1) for side, level in ZONE_ORDER)
        result = SeverityResult(ALGORITHM, 6, 6, zones, EMPTY, EMPTY > 0)
        record = summarise("1.2", result, (), 1)
        assert round(record["zones"][0]["fraction"] * 100, 1) == figures_of(result)[0].percent


def test_no_score_is_never_a_zero() -> None:
    mask = np.zeros((2, 2), bool)
    not_assessable = NotAssessable(ALGORITHM, NotAssessableReason.ONE_LUNG, "only one", mask)
    basis = ReportBasis(datetime.now(UTC), (a_prior(1, 3, (0.0,) * 6),))
    records = [
        summarise("1.2", not_assessable, (), 1, acquired_at=NOW, basis=basis),
        refuse("1.2", "not-eligible", "lateral-view", "a side view"),
    ]
    assert [record["outcome"] for record in records] == ["not-assessable", "not-eligible"]
    assert [record["reason"] for record in records] == ["one-lung", "lateral-view"]
    assert [len(record["priors"]) for record in records] == [1, 0]
    for record in records:
        assert record.keys() == KEYS
        assert record["score"] is None
        assert record["zones"] == []
        assert record["change"] is None
