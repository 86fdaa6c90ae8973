"""Plain records: the keys that users' scripts read, rounded once."""

import json

import numpy as np

from models.result import (
    ZONE_ORDER,
    AlgorithmId,
    NotAssessable,
    NotAssessableReason,
    SeverityResult,
    ZoneInvolvement,
)
from worker.summary import refuse, summarise

ALGORITHM = AlgorithmId("two-stage", "1", {}, {})
KEYS = {"sop_instance_uid", "algorithm", "outcome", "score", "score_max", "zones"}
KEYS |= {"reason", "message", "warnings", "elapsed_s"}


def test_a_score() -> None:
    empty = np.zeros((2, 2), np.uint8)
    zones = tuple(ZoneInvolvement(side, level, 3, 1, 1) for side, level in ZONE_ORDER)
    record = summarise(
        "1.2", SeverityResult(ALGORITHM, 6, 6, zones, empty, empty > 0, ("cut",)), ["assumed"], 1.23456
    )
    assert record.keys() == KEYS
    assert (record["outcome"], record["score"], record["score_max"]) == ("scored", 6, 6)
    assert record["zones"][0] == {"side": "right", "level": "upper", "fraction": 0.333, "score": 1}
    assert (record["warnings"], record["elapsed_s"], record["reason"]) == (["assumed", "cut"], 1.235, None)
    assert json.loads(json.dumps(record)) == record


def test_no_score_is_never_a_zero() -> None:
    mask = np.zeros((2, 2), bool)
    not_assessable = NotAssessable(ALGORITHM, NotAssessableReason.ONE_LUNG, "only one", mask)
    records = [
        summarise("1.2", not_assessable, (), 1),
        refuse("1.2", "not-eligible", "lateral-view", "a side view"),
    ]
    assert [record["outcome"] for record in records] == ["not-assessable", "not-eligible"]
    assert [record["reason"] for record in records] == ["one-lung", "lateral-view"]
    for record in records:
        assert record.keys() == KEYS
        assert record["score"] is None
        assert record["zones"] == []
