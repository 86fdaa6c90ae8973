"""What operators do with the journal from the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console

from worker import tables
from worker.assessments.command import assessment_in_json
from worker.entry import MadeReport
from worker.errors import WorkerError
from worker.pipeline import purge, tidy
from worker.service import Service
from worker.settings import Settings
from worker.tasks import make_queue


def show_status(settings: Settings, sop_instance_uid: str | None, as_json: bool) -> None:
    """Print counts and the oldest waiting, or one image's story.

    Raises
    ------
    WorkerError
        When the image is unknown.
    """
    service = _service(settings)
    history = service.history
    console = tables.open_console()
    if sop_instance_uid is None:
        _show_queue(service, console, as_json)
        return
    entry = history.entry(sop_instance_uid)
    if entry is None:
        raise WorkerError(f"{sop_instance_uid} is unknown here: it never arrived, or was refused on arrival")
    told = tables.Story(
        entry,
        history.deliveries(sop_instance_uid),
        history.reports(sop_instance_uid),
        history.assessments(sop_instance_uid),
        history.story(sop_instance_uid),
    )
    if as_json:
        click.echo(json.dumps(_in_json(told), indent=2, default=str))
    else:
        tables.print_story(console, told)


def requeue(settings: Settings, uids: Sequence[str] | None) -> None:
    """Run images again; None: all that failed. The sweeper rings for them."""
    taken = _service(settings).upkeep.requeue(uids)
    for uid in sorted(set(uids or ()) - set(taken)):
        click.echo(f"{uid}: not failed or rejected here; left as it is", err=True)
    click.echo(f"{len(taken)} requeued")


def purge_now(settings: Settings, failed: bool) -> None:
    """Apply retention once; with ``failed``, also to images that failed."""
    sweeping = _service(settings).sweeping
    removed = purge(sweeping, failed=failed)
    tidy(sweeping)
    click.echo(f"files of {removed} images removed")


def _in_json(told: tables.Story) -> dict[str, Any]:
    return {
        **asdict(told.entry),
        # Of the first algorithm, by the name that it had when there was one.
        "result": told.entry.result,
        "deliveries": [asdict(delivery) for delivery in told.deliveries],
        "reports": [_report_in_json(report) for report in told.reports],
        "assessments": [assessment_in_json(noted) for noted in told.assessments],
        "story": [{"at": at.isoformat(), "what": what} for at, what in told.events],
    }


def _report_in_json(report: MadeReport) -> dict[str, Any]:
    replaced = report.basis.predecessor
    return {
        "variant": report.variant,
        "objects": list(report.kinds),
        "sr_instance_uid": report.reference.sop_instance_uid if report.reference else None,
        "predecessor_sr_instance_uid": replaced.sop_instance_uid if replaced else None,
        "priors": [prior.sop_instance_uid for prior in report.basis.priors],
        "algorithm": report.algorithm,
        "algorithm_digest": report.algorithm_digest,
        "made_at": report.basis.created_at.isoformat(),
    }


def _show_queue(service: Service, console: Console, as_json: bool) -> None:
    counts, waiting = service.history.counts(), service.history.oldest_waiting()
    destinations = service.history.destinations()
    refusal = service.refuse()
    if as_json:
        told = {
            "counts": counts,
            "oldest_waiting": None if waiting is None else waiting.isoformat(),
            "destinations": [{**asdict(health), "waiting": count} for health, count in destinations],
            "refusing_images": refusal,
        }
        click.echo(json.dumps(told, indent=2, default=str))
        return
    tables.print_counts(console, counts, waiting)
    tables.print_destinations(console, destinations)
    if refusal:
        console.print(f"no images are taken: {refusal}")


def _service(settings: Settings) -> Service:
    return make_queue(settings).service()
