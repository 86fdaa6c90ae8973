"""What ``cxr-worker score`` does: scores files, prints a table or JSON, writes CSV, reports and pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich.progress import track

from worker import offline, tables
from worker.errors import WorkerError
from worker.offline.output_folder import open_output
from worker.service import load_scorers
from worker.settings import Settings


@dataclass(frozen=True)
class ScoreOptions:
    """The command's options, by the names of its parameters."""

    as_json: bool = False
    csv_file: Path | None = None
    out: Path | None = None
    objects: str = "sr,sc"
    algorithm: str | None = None


def score_paths(settings: Settings, paths: Sequence[Path], options: ScoreOptions) -> set[str]:
    """Score files and show the results; return the outcomes that occurred.

    Raises
    ------
    WorkerError
        When there is nothing to score, an option is wrong, or a file cannot be written.
    """
    settings = settings.model_copy(update={"algorithm": options.algorithm or settings.algorithm})
    several = len(settings.algorithms) > 1
    out = open_output(options.out, options.objects, settings.grade_severity, by_algorithm=several)
    files = offline.find_files(paths)
    if not files:
        raise WorkerError("no files found there: name DICOM, PNG or JPEG files, or folders that hold some")
    scorers = load_scorers(settings, explain=out is not None and out.explains)
    stderr = tables.open_console(stderr=True)
    found = track(
        offline.score_files(files, scorers, out),
        description="scoring",
        total=len(files),
        console=stderr,
        disable=not stderr.is_terminal,
    )
    results = [result for results in found for result in results]
    _show(results, options.as_json)
    if options.csv_file:
        offline.write_csv(results, options.csv_file)
    return {result.record["outcome"] for result in results}


def _show(results: Sequence[offline.OfflineResult], as_json: bool) -> None:
    console = tables.open_console()
    if as_json:
        records = [{"path": str(result.path), **result.record} for result in results]
        click.echo(json.dumps(records, indent=2))
    elif len({result.path for result in results}) == 1:
        for result in results:
            tables.print_zones(console, result.record)
    else:
        tables.print_results(console, [(result.path.name, result.record) for result in results])
