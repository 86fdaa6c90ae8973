"""What people read on a terminal: results, counts, one image's story."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from worker.entry import Delivery, DestinationHealth, EntryStatus, JournalEntry
from worker.logs import one_line

RESEARCH_USE = "research use, not for diagnosis"


def open_console(*, stderr: bool = False) -> Console:
    """Return the terminal; what strangers wrote, such as AE titles, is shown as it is, brackets and all."""
    return Console(stderr=stderr, markup=False, highlight=False)


def print_zones(console: Console, record: Mapping[str, Any]) -> None:
    """Print one result: a line a zone, then the total, with the change since the latest prior, if any."""
    if record["outcome"] != "scored":
        console.print(f"{record['outcome']}: {record['reason']}: {record['message']}")
        return
    # Records of earlier versions know nothing of priors.
    change, priors = record.get("change"), record.get("priors", ())
    table = Table(title=f"Lung opacity, {RESEARCH_USE}", min_width=50)
    table.add_column("zone")
    table.add_column("opacity", justify="right")
    table.add_column("score", justify="right")
    if change:
        table.add_column(f"change since\n{_day(change['since'])}", justify="right")
    changes = change["zones"] if change else [{}] * len(record["zones"])
    for zone, differs in zip(record["zones"], changes, strict=True):
        table.add_row(f"{zone['side']} {zone['level']}", *_figures(zone), *_differences(differs))
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
    """Print a line an image: its name, its score, change and zones, or why there is none."""
    table = Table(title=f"Lung opacity by zone, {RESEARCH_USE}")
    table.add_column("image", overflow="fold")
    table.add_column("score", justify="right")
    followed = any(record["change"] for _, record in results)
    if followed:
        table.add_column("change", overflow="fold")
    for side in ("right", "left"):
        for level in ("upper", "middle", "lower"):
            table.add_column(f"{side}\n{level}", justify="right")
    table.add_column("outcome", overflow="fold")
    for name, record in results:
        fractions = [_percent(zone["fraction"]) for zone in record["zones"]] or [""] * 6
        scored = record["outcome"] == "scored"
        score = f"{record['score']}/{record['score_max']}" if scored else "none"
        change = [_change_in_words(record) or ""] if followed else []
        told = "scored" if scored else f"{record['outcome']}: {record['reason']}: {record['message']}"
        table.add_row(name, score, *change, *fractions, told)
    console.print(table)


def score_in_words(record: Mapping[str, Any]) -> str:
    """Return a scored record's total and its change: ``3 of 6, +1 since 2026-01-02``."""
    change = _change_in_words(record)
    return f"{record['score']} of {record['score_max']}" + (f", {change}" if change else "")


def _change_in_words(record: Mapping[str, Any]) -> str | None:
    change = record.get("change")
    return f"{_signed(change['score'])} since {_day(change['since'])}" if change else None


def _figures(zone: Mapping[str, Any]) -> tuple[str, str]:
    return _percent(zone["fraction"]), "no area" if zone["score"] is None else str(zone["score"])


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


def print_story(
    console: Console,
    entry: JournalEntry,
    deliveries: Sequence[Delivery],
    story: Sequence[tuple[datetime, str]],
) -> None:
    """Print all that is known of one image."""
    console.print(f"{entry.sop_instance_uid}: {entry.status}")
    if entry.reason:
        console.print(one_line(f"{entry.reason}: {entry.message}"))
    if entry.result:
        print_zones(console, entry.result)
    for delivery in deliveries:
        told = f": {delivery.message}" if delivery.message else ""
        console.print(one_line(f"to {delivery.destination}: {delivery.status}{told}"))
    for at, what in story:
        console.print(one_line(f"{at:%F %T} UTC  {what}"))
