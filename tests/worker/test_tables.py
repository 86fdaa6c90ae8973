"""What people read on a terminal, eighty columns wide."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from models.result import ZONE_ORDER
from worker.summary import refuse
from worker.tables import print_results, print_zones, score_in_words


def shown(write: Callable[[Console], None]) -> str:
    """Return what a terminal of 80 columns shows."""
    text = StringIO()
    write(Console(file=text, width=80, markup=False, highlight=False))
    return text.getvalue()


def zones(score: int | None, fraction: float | None) -> list[dict[str, Any]]:
    return [
        {"side": str(side), "level": str(level), "fraction": fraction, "score": score}
        for side, level in ZONE_ORDER
    ]


@pytest.fixture
def record() -> dict[str, Any]:
    """A scored film with two priors, worse than the last by two zones."""
    found = refuse("1.2.3", "scored", "", "")
    found |= {"score": 3, "score_max": 6, "fraction": 0.401, "zones": zones(1, 0.401), "warnings": []}
    priors = [(5, "2026-01-02T09:00:00"), (1, "2026-02-01T10:00:00")]
    found["priors"] = [{"score": score, "score_max": 6, "acquired_at": at} for score, at in priors]
    found["change"] = {"since": priors[-1][1], "score": 2, "fraction": 0.1, "zones": zones(0, -0.023)}
    return found


def test_one_film_with_its_course(record: dict[str, Any]) -> None:
    text = shown(lambda console: print_zones(console, record))
    for told in ("40.1 %", "3 of 6", "2026-02-01", "+2, +10.0 points", "unchanged, -2.3 points"):
        assert told in text
    assert "earlier: 5 of 6 on 2026-01-02, 1 of 6 on 2026-02-01" in text
    assert score_in_words(record) == "3 of 6, +2 since 2026-02-01"


def test_what_was_not_measured_stays_empty(record: dict[str, Any]) -> None:
    record |= {"fraction": None, "zones": zones(1, None)}
    record["change"] |= {"fraction": None, "zones": zones(None, None)}
    record["zones"][3]["score"] = None
    text = shown(lambda console: print_zones(console, record))
    assert "no area" in text
    assert "%" not in text
    assert "None" not in text


def test_many_films_fit_on_a_terminal(record: dict[str, Any]) -> None:
    refused = refuse(None, "not-eligible", "lateral-view", "A lateral view, [b]no.")
    first = record | {"change": None}
    rows = [("first.dcm", first), ("second.dcm", record), ("third.dcm", refused)]
    text = shown(lambda console: print_results(console, rows))
    (line,) = [line for line in text.splitlines() if "first.dcm" in line]
    assert line.split() == ["first.dcm", "3/6", *["40.1"] * 6]
    (line,) = [line for line in text.splitlines() if "second.dcm" in line]
    assert line.split() == ["second.dcm", "3/6", "+2", "since", "2026-02-01", *["40.1"] * 6]
    assert "third.dcm: not-eligible: lateral-view: A lateral view, [b]no." in text
    assert "change" not in shown(lambda console: print_results(console, rows[:1]))


def test_a_record_of_an_earlier_version(record: dict[str, Any]) -> None:
    for name in ("fraction", "priors", "change", "acquired_at"):
        del record[name]
    text = shown(lambda console: print_zones(console, record))
    assert "3 of 6" in text
    assert score_in_words(record) == "3 of 6"
