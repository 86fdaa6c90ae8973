"""What ``cxr-worker assessments`` does: readers' judgements beside our scores, listed and exported."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from models.result import ZONE_ORDER
from worker import tables
from worker.errors import WorkerError

if TYPE_CHECKING:
    from worker.assessments.agreement import Judgement, Scores
    from worker.entry import ReaderAssessment
    from worker.service import Service
    from worker.settings import Settings

_ZONES = tuple(f"{side}_{level}" for side, level in ZONE_ORDER)
_NOTED = (
    *("sop_instance_uid", "document_uid", "report_uid", "received_at", "assessed_at", "verdict"),
    *("verified", "counts", "algorithm", "algorithm_version", "algorithm_digest", "score_max"),
)


@dataclass(frozen=True)
class AssessmentOptions:
    """The command's options, by the names of its parameters."""

    as_json: bool = False
    csv_file: Path | None = None
    out: Path | None = None
    burned_in: bool = False


def show_assessments(settings: Settings, options: AssessmentOptions) -> None:
    """List assessments and agreement; write CSV and data for training where asked.

    Raises
    ------
    WorkerError
        When the journal cannot be read, or a file cannot be written.
    """
    from worker.assessments.agreement import agreement, judgements  # noqa: PLC0415
    from worker.tasks import make_queue  # noqa: PLC0415

    service = make_queue(settings).service()
    found = judgements(service.history, service.spool)
    figures = agreement(found)
    if options.as_json:
        listed = [judgement_in_json(one) for one in found]
        click.echo(json.dumps({"assessments": listed, "agreement": figures}, indent=2))
    else:
        tables.print_judgements(tables.open_console(), [judgement_in_json(one) for one in found])
        tables.print_agreement(tables.open_console(), figures)
    if options.csv_file:
        write_csv(found, options.csv_file)
    if options.out:
        _export(service, found, options.out, burned_in=options.burned_in)


def assessment_in_json(noted: ReaderAssessment) -> dict[str, Any]:
    """Return an assessment as plain data; ``zones`` as in a result, None where nothing is stated."""
    told = noted.assessment
    return {
        "document_uid": noted.document_uid,
        "report_uid": noted.report_uid,
        "verdict": str(told.verdict),
        "verified": told.verified,
        "assessed_at": told.assessed_at.isoformat() if told.assessed_at else None,
        "received_at": noted.received_at.isoformat(),
        "score": told.score,
        "score_max": told.score_max,
        "zones": _zones(told.zones),
    }


def judgement_in_json(judgement: Judgement) -> dict[str, Any]:
    """Return an assessment beside the result that it is about, as plain data.

    ``model`` is what the report says and ``reader`` what the reader holds to be right, each with ``score,
    score_max, zones``; None where it is not known, or the reader rejected the report.
    """
    model = judgement.model
    return {
        "sop_instance_uid": judgement.noted.sop_instance_uid,
        **assessment_in_json(judgement.noted),
        "counts": judgement.counts,
        "algorithm": model.algorithm if model else None,
        "algorithm_version": model.version if model else None,
        "algorithm_digest": model.digest if model else None,
        "model": _scores(model.scores) if model else None,
        "reader": _scores(judgement.reader) if judgement.reader else None,
    }


def write_csv(found: Sequence[Judgement], path: Path) -> None:
    """Write one line per assessment: verdict, and score and zones of model and reader side by side.

    Raises
    ------
    WorkerError
        When the file cannot be written.
    """
    both = [f"{who}_{what}" for who in ("model", "reader") for what in ("score", *_ZONES)]
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [*_NOTED, *both], extrasaction="ignore")
            writer.writeheader()
            for judgement in found:
                row = judgement_in_json(judgement)
                sides = {"model": row["model"], "reader": row["reader"]}
                for who, scores in sides.items():
                    if scores is not None:
                        row |= {"score_max": scores["score_max"], f"{who}_score": scores["score"]}
                        row |= {f"{who}_{z['side']}_{z['level']}": z["score"] for z in scores["zones"]}
                writer.writerow(row)
    except OSError as error:
        raise WorkerError(f"{path} cannot be written ({error.strerror}): check folder and rights") from None


def _export(service: Service, found: Sequence[Judgement], folder: Path, *, burned_in: bool) -> None:
    from worker.assessments.export import export_assessments  # noqa: PLC0415 - decoders
    from worker.priors import Priors  # noqa: PLC0415

    pseudonym = Priors(service.engine).pseudonym
    done = export_assessments(found, folder, service.spool, pseudonym, burned_in=burned_in)
    click.echo(f"films in {folder}: {done.films}; look for names in the pictures first", err=True)
    for reason, count in done.left_out.items():
        click.echo(f"left out: {count}: {reason}", err=True)


def _scores(scores: Scores) -> dict[str, Any]:
    return {"score": scores.score, "score_max": scores.score_max, "zones": _zones(scores.zones)}


def _zones(zones: Sequence[int | None]) -> list[dict[str, Any]]:
    pairs = zip(ZONE_ORDER, zones, strict=False)
    return [{"side": str(side), "level": str(level), "score": score} for (side, level), score in pairs]
