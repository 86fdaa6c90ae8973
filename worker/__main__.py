"""The command line: ``cxr-worker``, also ``python -m worker``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, NoReturn, ParamSpec, get_args

import click

from dicom_node.errors import DicomNodeError
from models.errors import ModelError
from worker.errors import WorkerError
from worker.logs import configure_logging
from worker.settings import AlgorithmChoice, Settings, load_settings

_EXIT_SCORED, _EXIT_ERROR, _EXIT_NOT_ALL_SCORED = 0, 1, 3
_P = ParamSpec("_P")


def main() -> NoReturn:
    """Run the command; a user's mistake or a missing part ends in one line on stderr and exit code 1."""
    try:
        sys.exit(cli(standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(_EXIT_SCORED)
    except click.UsageError as error:
        hint = f" (try `{error.ctx.command_path} --help`)" if error.ctx else ""
        _fail(f"{error.format_message()}{hint}")
    except click.ClickException as error:
        _fail(error.format_message())
    except click.Abort:
        _fail("stopped")
    except (WorkerError, DicomNodeError, ModelError) as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        _fail(f"{error.name} is not installed: install cxr-severity-worker[scorer] where images are scored")


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"cxr-worker: {' '.join(message.split())}\n")
    sys.exit(_EXIT_ERROR)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="cxr-severity-worker")
def cli() -> None:
    """Score lung opacity on chest radiographs from a PACS (research use, not for diagnosis)."""


def _command(run: Callable[Concatenate[Settings, _P], Any]) -> click.Command:
    """Make a command that starts by reading the settings; its name and help are the function's."""

    @wraps(run)
    def start(*args: _P.args, **kwargs: _P.kwargs) -> Any:
        settings = load_settings(kwargs.pop("config"))  # type: ignore[arg-type]
        configure_logging(settings.log_level, settings.log_format)
        return run(settings, *args, **kwargs)

    config = click.option("--config", type=click.Path(path_type=Path), help="TOML file with settings.")
    return cli.command(name=run.__name__.rstrip("_"))(config(start))


@_command
def serve(settings: Settings) -> None:
    """Run everything in one process: node, scoring, delivery, sweeper."""
    from worker import roles  # noqa: PLC0415 - each command loads what it needs

    roles.serve(settings)


@_command
def listen(settings: Settings) -> None:
    """Run the DICOM node: accept images and queue them."""
    from worker import roles  # noqa: PLC0415

    roles.listen(settings)


@_command
@click.option("--queues", default="score,deliver", show_default=True, help="What this worker does.")
@click.option("--concurrency", type=click.IntRange(min=1), help="Processes; default: the setting.")
def work(settings: Settings, queues: str, concurrency: int | None) -> None:
    """Run a Celery worker that scores and delivers."""
    from worker import roles  # noqa: PLC0415

    roles.work(settings, _queues(queues), concurrency or settings.concurrency)


@_command
def sweep(settings: Settings) -> None:
    """Run the sweeper: what waits too long is rung for again."""
    from worker import roles  # noqa: PLC0415

    roles.sweep_until_stopped(settings)


@_command
def migrate(settings: Settings) -> None:
    """Bring the database's schema up to date (serve does it itself)."""
    from worker import roles  # noqa: PLC0415

    roles.prepare_database(settings)
    click.echo(f"{settings.database.render_as_string()} is up to date")


@_command
@click.argument("role", type=click.Choice(["listen", "work", "sweep"]))
@click.option("--queues", default="score,deliver", show_default=True, help="As given to `work`.")
def health(settings: Settings, role: str, queues: str) -> None:
    """Exit 0 if the role works on this host (for container health checks)."""
    from worker import health as checks  # noqa: PLC0415

    if role == "listen":
        checks.require_listening(settings)
    elif role == "work":
        checks.require_working(settings, _queues(queues))
    else:
        checks.require_sweeping(settings)
    click.echo(f"{role}: healthy")


@_command
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list instead of a table.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="Write a line per image.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write a PNG and DICOM objects to.")
@click.option(
    "--objects", default="sr,sc", show_default=True, help="What --out gets: sr, sc, gsps, seg, map."
)
@click.option("--algorithm", type=click.Choice(get_args(AlgorithmChoice)), help="Default: the setting.")
def score(settings: Settings, /, paths: Sequence[Path], **options: Any) -> int:
    """Score DICOM files or folders (PNG and JPEG for research) without a node.

    Films of one patient (same Patient ID, issuer and birth date) are compared with those taken before, as
    far as they are among the files.

    Exit code: 0 all scored, 3 some not assessable or not eligible, 1 an error.
    """
    from worker.offline.command import ScoreOptions, score_paths  # noqa: PLC0415

    outcomes = score_paths(settings, paths, ScoreOptions(**options))
    if "error" in outcomes:
        return _EXIT_ERROR
    return _EXIT_SCORED if outcomes == {"scored"} else _EXIT_NOT_ALL_SCORED


@_command
@click.argument("sop_instance_uid", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def status(settings: Settings, sop_instance_uid: str | None, as_json: bool) -> None:
    """Show the journal: counts per state and the oldest waiting, or one image's whole story."""
    from worker import operate  # noqa: PLC0415

    operate.show_status(settings, sop_instance_uid, as_json)


@_command
@click.argument("uids", nargs=-1, metavar="[SOP_INSTANCE_UID]...")
@click.option("--failed", is_flag=True, help="All images that failed.")
def requeue(settings: Settings, uids: Sequence[str], failed: bool) -> None:
    """Run images again that failed or were rejected."""
    from worker import operate  # noqa: PLC0415

    if failed == bool(uids):
        raise WorkerError("name SOP Instance UIDs, or say --failed for all that failed")
    operate.requeue(settings, None if failed else uids)


@_command
@click.argument("uids", nargs=-1, metavar="[SOP_INSTANCE_UID]...")
@click.option("--all", "everything", is_flag=True, help="All images that have a result.")
@click.option("--since", type=click.DateTime(), help="Those that were received since then (UTC).")
def reprocess(settings: Settings, uids: Sequence[str], everything: bool, since: datetime | None) -> None:
    """Score images again that have a result: a new model or setting makes a report that replaces the last."""
    from worker import reprocessing  # noqa: PLC0415

    if [bool(uids), everything, since is not None].count(True) != 1:
        raise WorkerError("name SOP Instance UIDs, or say --all, or --since DATE")
    reprocessing.reprocess(settings, uids, None if since is None else since.replace(tzinfo=UTC))


@_command
@click.option("--failed", is_flag=True, help="Also of images that failed longer ago than that.")
def purge(settings: Settings, failed: bool) -> None:
    """Remove the files of images whose results were delivered longer ago than the retention time."""
    from worker import operate  # noqa: PLC0415

    operate.purge_now(settings, failed)


@_command
@click.option("--send-test", is_flag=True, help="Also send every destination a picture of no patient.")
def doctor(settings: Settings, send_test: bool) -> int:
    """Check settings, data folder, database, broker, weights, certificates and destinations."""
    from worker import doctor as checks  # noqa: PLC0415

    return _EXIT_SCORED if checks.examine(settings, send_test) else _EXIT_ERROR


@_command
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="Write a line per assessment.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="New folder for pictures and labels to train on."
)
@click.option("--burned-in", is_flag=True, help="With --out: also films said to bear burned-in letters.")
def assessments(settings: Settings, /, **options: Any) -> None:
    """List what readers said of reports, beside the scores, and how far both agree.

    --out writes what `python -m training.prepare manifest` reads: a PNG without header for each film whose
    file is still kept (setting keep_delivered_s), and manifest.csv with the readers' scores; patients and
    films bear keyed hashes. Names burned into the pixels stay in the pictures: look at them before they leave
    the house.
    """
    from worker.assessments.command import AssessmentOptions, show_assessments  # noqa: PLC0415

    show_assessments(settings, AssessmentOptions(**options))


@_command
def conformance(settings: Settings) -> None:
    """Print the DICOM conformance statement of this configuration (Markdown, after PS3.2)."""
    from dicom_node.conformance import conformance_statement  # noqa: PLC0415
    from worker.conformance_facts import describe  # noqa: PLC0415

    click.echo(conformance_statement(describe(settings)), nl=False)


def _queues(text: str) -> tuple[str, ...]:
    queues = tuple(part.strip() for part in text.split(",") if part.strip())
    unknown = set(queues) - {"score", "deliver"}
    if unknown or not queues:
        raise WorkerError(f"--queues {text}: only score and deliver exist")
    return queues


if __name__ == "__main__":
    main()
