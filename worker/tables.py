"""What people read on a terminal: results, counts, one image's story."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from models.result import ZONE_ORDER
from worker.entry import (
    Delivery,
    DestinationHealth,
    EntryStatus,
    JournalEntry,
    MadeReport,
    ReaderAssessment,
)
from worker.logs import one_line

RESEARCH_USE = "research use, not for diagnosis"
_BRIXIA_MAX = 18
_IN_COLUMNS = {6: "opacity in %", _BRIXIA_MAX: "Brixia points"}
"""What stands in a column of a zone, by the largest total of the scheme."""


def open_console(*, stderr: bool = False) -> Console:
    """Return the terminal; what strangers wrote, such as AE titles, is shown as it is, brackets and all."""
    return Console(stderr=stderr, markup=False, highlight=False)


def print_zones(console: Console, record: Mapping[str, Any]) -> None:
    """Print one result: a line a zone, then the total, with the change since the latest prior, if any."""
    if record["outcome"] != "scored":
        _say(console, _why_no_score(record))
        return
    # Records of earlier versions know nothing of priors.
    change, priors = record.get("change"), record.get("priors", ())
    title = "Brixia score" if record["score_max"] == _BRIXIA_MAX else "Lung opacity"
    table = Table(title=f"{title}, {RESEARCH_USE}", min_width=50)
    table.add_column("zone")
    # Those of earlier versions know nothing of confidence either.
    sure = any(zone.get("confidence") is not None for zone in record["zones"])
    table.add_column("confidence" if sure else "opacity", justify="right")
    table.add_column("score", justify="right")
    if change:
        table.add_column(f"change since\n{_day(change['since'])}", justify="right")
    changes = change["zones"] if change else [{}] * len(record["zones"])
    for zone, differs in zip(record["zones"], changes, strict=True):
        share = _percent(zone["confidence"] if sure else zone["fraction"])
        score = "no area" if zone["score"] is None else str(zone["score"])
        table.add_row(f"{zone['side']} {zone['level']}", share, score, *_differences(differs))
    table.add_section()
    total = f"{record['score']} of {record['score_max']}"
    table.add_row("total", _percent(record.get("fraction")), total, *_differences(change or {}))
    console.print(table)
    if len(priors) > 1:
        course = [
            f"{prior['score']} of {prior['score_max']} on {_day(prior['acquired_at'])}" for prior in priors
        ]
        console.print(f"earlier: {', '.join(course)}")
    for warning in record["warnings"]:
        console.print(f"note: {warning}")


def print_results(console: Console, results: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Print a line an image and algorithm: score, change and zones; below, why some have none."""
    schemes = {record["score_max"] for _, record in results} - {None}
    shown = [told for most, told in _IN_COLUMNS.items() if most in schemes] or list(_IN_COLUMNS.values())[:1]
    table = Table(
        title=f"{', or '.join(shown)}, by lung zone, {RESEARCH_USE}", box=box.SIMPLE_HEAD, padding=0
    )
    table.add_column("image", overflow="fold")
    several = len({record["algorithm"] for _, record in results} - {None}) > 1
    if several:
        table.add_column("algorithm", no_wrap=True)
    table.add_column("score", justify="right")
    followed = any(record["change"] for _, record in results)
    if followed:
        table.add_column("change", min_width=10)
    for side, level in ZONE_ORDER:
        table.add_column(f"{side}\n{level}", justify="right", no_wrap=True)
    for name, record in results:
        scored = record["outcome"] == "scored"
        score = f"{record['score']}/{record['score_max']}" if scored else "none"
        change = [_change_in_words(record) or ""] if followed else []
        algorithm = [record["algorithm"] or ""] if several else []
        table.add_row(name, *algorithm, score, *change, *map(_in_column, record["zones"]))
    console.print(table)
    for name, record in results:
        if record["outcome"] != "scored":
            _say(console, f"{name}: {_why_no_score(record)}")


def score_in_words(record: Mapping[str, Any]) -> str:
    """Return a scored record's total and its change: ``3 of 6, +1 since 2026-01-02``."""
    change = _change_in_words(record)
    return f"{record['score']} of {record['score_max']}" + (f", {change}" if change else "")


def _why_no_score(record: Mapping[str, Any]) -> str:
    return f"{record['outcome']}{_by(record)}: {record['reason']}: {record['message']}"


def _by(record: Mapping[str, Any]) -> str:
    return f" ({record['algorithm']})" if record.get("algorithm") else ""


def _change_in_words(record: Mapping[str, Any]) -> str | None:
    change = record.get("change")
    return f"{_signed(change['score'])} since {_day(change['since'])}" if change else None


def _in_column(zone: Mapping[str, Any]) -> str:
    """Return a zone's opacified share; its points where no opacity was measured."""
    if zone["fraction"] is not None:
        return _percent(zone["fraction"]).removesuffix(" %")
    return "" if zone["score"] is None else str(zone["score"])


def _differences(change: Mapping[str, Any]) -> tuple[str, ...]:
    """Return one cell, ``+1, +12.5 points``; none without a change."""
    if not change:
        return ()
    score, fraction = change["score"], change["fraction"]
    told = [] if score is None else [_signed(score)]
    if fraction is not None:
        told.append(f"{100 * fraction:+.1f} points" if fraction else "same area")
    return (", ".join(told),)


def _percent(fraction: float | None) -> str:
    return "" if fraction is None else f"{100 * fraction:.1f} %"


def _signed(number: int) -> str:
    return f"{number:+d}" if number else "unchanged"


def _day(moment: str) -> str:
    return moment[:10]


def print_counts(console: Console, counts: Mapping[EntryStatus, int], waiting: datetime | None) -> None:
    """Print how many images stand where, and since when the oldest waits."""
    table = Table(title="Images")
    table.add_column("state")
    table.add_column("images", justify="right")
    for status, count in counts.items():
        table.add_row(status, str(count))
    console.print(table)
    if waiting is None:
        console.print("none waits for its outcome")
    else:
        age_s = (datetime.now(UTC) - waiting).total_seconds()
        console.print(f"the oldest without an outcome has waited {age_s:.0f} s, since {waiting:%F %T} UTC")


def print_destinations(console: Console, destinations: Sequence[tuple[DestinationHealth, int]]) -> None:
    """Print how many reports wait for each destination, and whether it answers."""
    if not destinations:
        return
    table = Table(title="Destinations")
    table.add_column("destination", overflow="fold")
    table.add_column("waiting", justify="right")
    table.add_column("", overflow="fold")
    for health, waiting in destinations:
        told = "answers" if not health.failures else f"silent {health.failures} times: {health.message}"
        table.add_row(health.name, str(waiting), one_line(told))
    console.print(table)


@dataclass(frozen=True)
class Story:
    """All that is known of one image; ``events`` holds when what happened."""

    entry: JournalEntry
    deliveries: Sequence[Delivery]
    reports: Sequence[MadeReport]
    assessments: Sequence[ReaderAssessment]
    events: Sequence[tuple[datetime, str]]


def print_story(console: Console, told: Story) -> None:
    """Print all that is known of one image."""
    entry = told.entry
    scores = [
        f"score {score_in_words(result)} ({result['algorithm']})"
        for result in entry.results
        if result["outcome"] == "scored"
    ]
    _say(console, f"{entry.sop_instance_uid}: {', '.join((entry.status, *scores))}")
    if entry.reason:
        _say(console, f"{entry.reason}: {entry.message}")
    elif entry.status is EntryStatus.NOTED:
        _say(console, f"{entry.message}")
    for result in entry.results:
        print_zones(console, result)
    for report in told.reports:
        _print_report(console, report)
    for noted in told.assessments:
        _say(console, f"reader: {assessment_in_words(noted)}")
    for delivery in told.deliveries:
        message = f": {delivery.message}" if delivery.message else ""
        _say(console, f"to {delivery.destination}, {delivery.algorithm}: {delivery.status}{message}")
    for at, what in told.events:
        _say(console, f"{at:%F %T} UTC  {what}")


def assessment_in_words(noted: ReaderAssessment) -> str:
    """Return what a reader said: ``corrected, 4 of 6, right upper 1, verified, 2026-01-02``."""
    told = noted.assessment
    parts = [str(told.verdict)]
    if told.score is not None:
        parts.append(f"{told.score}" + (f" of {told.score_max}" if told.score_max else ""))
    zones = zip(ZONE_ORDER, told.zones, strict=False)
    parts += [f"{side} {level} {score}" for (side, level), score in zones if score is not None]
    parts.append("verified" if told.verified else "not verified")
    parts.append(f"{told.assessed_at:%F}" if told.assessed_at else f"received {noted.received_at:%F}")
    return f"{', '.join(parts)} (document {noted.document_uid})"


def _print_report(console: Console, report: MadeReport) -> None:
    name = report.reference.sop_instance_uid if report.reference else "without SR"
    told = f"report {name} of {report.algorithm}: {', '.join(report.kinds)}"
    told += f", made {report.basis.created_at:%F %T} UTC"
    if report.basis.predecessor:
        told += f", replaces {report.basis.predecessor.sop_instance_uid}"
    _say(console, f"{told} (variant {report.variant})")


def print_judgements(console: Console, judgements: Sequence[Mapping[str, Any]]) -> None:
    """Print a line a reader's assessment, beside the score that it is about."""
    if not judgements:
        console.print("no reader has assessed a report yet")
        return
    table = Table(title="Readers' assessments", box=box.SIMPLE_HEAD, padding=0)
    table.add_column("image", overflow="fold")
    table.add_column("received", no_wrap=True)
    table.add_column("verdict", min_width=10)
    table.add_column("model", justify="right", no_wrap=True)
    table.add_column("reader", justify="right", no_wrap=True)
    table.add_column("zones that differ")
    for one in judgements:
        model, reader = one["model"], one["reader"]
        said = [one["verdict"]]
        said += ["verified"] if one["verified"] else []
        said += [] if one["counts"] else ["superseded"]
        table.add_row(
            one["sop_instance_uid"],
            _day(one["received_at"]),
            ", ".join(said),
            _total(model),
            _total(reader),
            "; ".join(_differing(model, reader)) if model and reader else "",
        )
    console.print(table)


def print_agreement(console: Console, figures: Sequence[Mapping[str, Any]]) -> None:
    """Print how far readers and each algorithm agree, in total and zone by zone."""
    for one in figures:
        name = f"{one['algorithm']} {one['algorithm_version']}, weights {one['algorithm_digest'][:12]}"
        counts = ", ".join(f"{one[verdict]} {verdict}" for verdict in ("accepted", "corrected", "rejected"))
        table = Table(title=f"Agreement with {name}\nimages: {one['radiographs']} ({counts})")
        table.add_column("")
        for column in ("values", "equal", "mean absolute error"):
            table.add_column(column, justify="right")
        rows = [(f"total, 0 to {one['score_max']}", one["total"])]
        rows += [(f"{zone['side']} {zone['level']}", zone) for zone in one["zones"]]
        for told, values in [*rows, ("all zones", one["all_zones"])]:
            error = values["mean_absolute_error"]
            shown = "" if error is None else f"{error:.3f}"
            table.add_row(told, str(values["n"]), str(values["exact"]), shown)
        console.print(table)


def _total(scores: Mapping[str, Any] | None) -> str:
    return "" if scores is None or scores["score"] is None else f"{scores['score']} of {scores['score_max']}"


def _differing(model: Mapping[str, Any], reader: Mapping[str, Any]) -> list[str]:
    pairs = zip(model["zones"], reader["zones"], strict=True)
    return [
        f"{ours['side']} {ours['level']} {ours['score']}, reader {theirs['score']}"
        for ours, theirs in pairs
        if None not in (ours["score"], theirs["score"]) and ours["score"] != theirs["score"]
    ]


def _say(console: Console, line: str) -> None:
    """Print a line that stays one, however long, so that it can be searched for."""
    console.print(one_line(line), soft_wrap=True)
