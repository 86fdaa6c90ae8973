"""Search for the hyperparameters of one stage; a search that was stopped goes on.

    python -m training.tune --data DIR --storage sqlite:///runs/tuning.db --study lungs --trials 50

What is searched stands in ``training/configs/tuning.toml``, or in the copy that ``--config`` names. Further
commands with the same ``--storage`` and ``--study``, also on other machines that reach the database, work
on the same search. Afterwards the folder ``--out`` holds every trial (``trials.csv``), the best configuration
(``best.toml``, for ``python -m training.train``), and how much each hyperparameter matters.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import optuna
from rich.console import Console
from rich.table import Table

from models.checkpoint import Role
from models.errors import CheckpointError
from training.data.data_folder import add_data_argument
from training.data.dataset import DataError, read_manifest
from training.learning.config import ConfigError
from training.learning.run_options import RunOptions, default_device, start_logging
from training.tuning.objective import TrainingObjective
from training.tuning.report import trial_table, write_report
from training.tuning.space import Tuning, check, read_tuning
from training.tuning.study import Search, run_trials
from training.tuning.subset import tuning_films

SHIPPED = Path(__file__).parent / "configs" / "tuning.toml"


def tune(
    tuning: Tuning, search: Search, objective: TrainingObjective, trials: int, workers: int
) -> list[Path]:
    """Search, then write the report.

    Parameters
    ----------
    tuning : Tuning
        What is searched.
    search : Search
        Where.
    objective : TrainingObjective
        What a trial does.
    trials, workers : int
        See ``run_trials``.

    Returns
    -------
    list of pathlib.Path
        What was written.

    Raises
    ------
    ConfigError
        If the storage cannot be used, or no trial was completed.
    """
    run_trials(search, objective, trials, workers)
    return write_report(search.open(), tuning, objective.stage, objective.options.out)


def _objective(tuning: Tuning, options: argparse.Namespace) -> TrainingObjective:
    stage = Role(options.stage)
    if stage is Role.OPACITY and options.lungs is None:
        raise ConfigError("stage II is cut with stage I's network: name its checkpoint folder with --lungs")
    check(tuning, stage)
    share = tuning.study.film_share.get(options.stage, 1.0)
    study = tuning.study
    films = tuning_films(read_manifest(options.data), stage, share, study.validation_share, study.seed)
    run = RunOptions(
        data=options.data,
        out=options.out or Path("runs") / "tuning" / options.study,
        lungs=options.lungs,
        encoder_weights=options.encoder_weights,
        device=options.device,
    )
    return TrainingObjective(tuning, stage, run, films)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.tune", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--config", type=Path, default=SHIPPED, help=f"tuning file (default {SHIPPED.name})")
    add_data_argument(parser)
    parser.add_argument("--storage", required=True, help="database URL, e.g. sqlite:///runs/tuning.db")
    parser.add_argument("--study", required=True, help="name of the search in the database")
    parser.add_argument(
        "--trials", type=int, required=True, help="trials in all, those of former calls included"
    )
    parser.add_argument("--stage", choices=tuple(map(str, Role)), default=str(Role.LUNGS))
    parser.add_argument("--workers", type=int, default=1, help="processes at once (default 1)")
    parser.add_argument("--lungs", type=Path, help="checkpoint folder of stage I (for stage II)")
    parser.add_argument("--out", type=Path, help="folder of the report (default runs/tuning/STUDY)")
    parser.add_argument(
        "--encoder-weights", metavar="FILE|imagenet|none", help="in place of the tuning file's"
    )
    parser.add_argument("--device", default=default_device())
    return parser


def _print(console: Console, study: optuna.Study, written: list[Path]) -> None:
    table, shown = trial_table(study), Table("trial", "figure", "choice", title=f"best of {study.study_name}")
    counts = table["state"].value_counts().to_dict()
    for _, row in table.sort_values("figure", ascending=False).head(5).iterrows():
        trial = study.trials[int(row["number"])]
        choice = ", ".join(str(value) for value in trial.params.values())
        shown.add_row(str(trial.number), f"{row['figure']:.4f}", choice)
    console.print(shown)
    console.print(f"{counts}; written: {', '.join(map(str, written))}", soft_wrap=True)


def main() -> None:
    """Read the command line, search, report."""
    options = _parser().parse_args()
    start_logging()
    try:
        if options.trials < 1 or options.workers < 1:
            raise ConfigError("--trials and --workers must be 1 or more")  # noqa: TRY301
        tuning = read_tuning(options.config)
        objective = _objective(tuning, options)
        search = Search(options.storage, options.study, tuning.study, tuning.for_stage(objective.stage))
        written = tune(tuning, search, objective, options.trials, options.workers)
        _print(Console(), search.open(), written)
    except (ConfigError, DataError, CheckpointError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on with the next trial")


if __name__ == "__main__":
    main()
