"""A search in a database: trials one after the other, or by several processes at once."""

from __future__ import annotations

import logging
import math
import os
import socket
import warnings
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from training.learning.config import ConfigError
from training.learning.run_options import be_quiet
from training.tuning.space import Space, StudySettings

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
FAILURE = "failure"
"""User attribute of a trial: why it failed; empty if it did not."""
BEAT_S = 30

log = logging.getLogger(__name__)
Objective = Callable[[Trial], float]


@dataclass(frozen=True)
class Search:
    """A search that can be opened by any process.

    Parameters
    ----------
    storage : str
        Database URL, e.g. ``sqlite:///runs/tuning.db``.
    name : str
        Of the study in the database.
    settings : StudySettings
        Sampler and brackets.
    space : Space
        What is searched.
    command : int
        Commands that worked on the study before this one.
    """

    storage: str
    name: str
    settings: StudySettings
    space: Space
    command: int = 0

    def open(self) -> optuna.Study:
        """Open the study, or begin it.

        Raises
        ------
        ConfigError
            If the database cannot be opened, or the study has another space.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            study = optuna.create_study(
                storage=_storage(self.storage),
                study_name=self.name,
                direction="maximize",
                load_if_exists=True,
                pruner=brackets(self.settings),
            )
        except (optuna.exceptions.OptunaError, SQLAlchemyError, OSError, ImportError, ValueError) as error:
            raise ConfigError(
                f"the study {self.name} in {self.storage} cannot be opened: {error}; write a database URL "
                "such as sqlite:///runs/tuning.db, in a folder that exists"
            ) from error
        space = {key: list(values) for key, values in self.space.items()}
        known = study.user_attrs.get("space")
        if known is None:
            study.set_user_attr("space", space)
        elif known != space:
            raise ConfigError(
                f"the study {self.name} searches another space; give a new study another --study"
            )
        return study


def finished(study: optuna.Study) -> int:
    """Return how many trials have ended, one way or another."""
    return len(study.get_trials(deepcopy=False, states=FINISHED))


def brackets(settings: StudySettings) -> optuna.pruners.BasePruner:
    """Return the rule that stops weak trials early.

    With 16 epochs, first bracket 4 and reduction factor 2 the brackets are 4 and 8, those that the paper's
    HyperBand has for 16 epochs, two brackets and a factor of 2: a trial that comes to a bracket goes on if it
    is in the best half of all that have come there.
    """
    return optuna.pruners.SuccessiveHalvingPruner(
        min_resource=settings.first_bracket, reduction_factor=settings.reduction_factor
    )


def suggest(trial: Trial, space: Space) -> dict[str, str | int | float | bool]:
    """Return the sampler's choice for each key of the space."""
    return {key: trial.suggest_categorical(key, values) for key, values in space.items()}  # type: ignore[misc]


def run_trials(search: Search, objective: Objective, trials: int, workers: int = 1) -> None:
    """Run trials until the study has ``trials`` that have ended; those of former calls count.

    Parameters
    ----------
    search : Search
        Which study.
    objective : callable
        Turns a trial into a figure that should be high; picklable if there are several workers. Whatever it
        raises makes a failed trial with a reason, and the study goes on.
    trials : int
        Trials in all.
    workers : int
        Processes at once; further commands on the same storage add to them.
    """
    study = search.open()
    fail_abandoned(study)
    search = replace(search, command=study.user_attrs.get("commands", 0))
    study.set_user_attr("commands", search.command + 1)
    if search.settings.sampler == "grid":
        trials = min(trials, math.prod(len(values) for values in search.space.values()))
    if workers == 1:
        while (number := finished(study)) < trials:
            log.info("%s", run_one(search, objective, number, study))
        return
    while finished(study) < trials:
        try:
            _run_in_pool(search, objective, trials - finished(study), workers)
        except BrokenProcessPool:
            log.warning("a worker process was killed; its trials count as failed")
            fail_abandoned(study)


def run_one(search: Search, objective: Objective, number: int, study: optuna.Study | None = None) -> str:
    """Run one trial in this process; return a line about it for people."""
    study, lines = study or search.open(), list[str]()
    study.sampler = _sampler(search, number)
    study.optimize(
        lambda trial: _guarded(objective, trial),
        n_trials=1,
        catch=(Exception,),
        callbacks=[lambda _, trial: lines.append(told(trial))],
    )
    return lines[0]


def told(trial: FrozenTrial) -> str:
    """Return a line about a trial for people."""
    figure = "" if trial.value is None else f" {trial.value:.4f}"
    reason = trial.user_attrs.get(FAILURE, "")
    choice = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in trial.params.items())
    return f"trial {trial.number} {trial.state.name}{figure} ({choice}){': ' + reason if reason else ''}"


def fail_abandoned(study: optuna.Study) -> None:
    """Mark trials of this machine as failed whose process is no more."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        host, _, process = str(trial.user_attrs.get("process", "")).rpartition(":")
        if host == socket.gethostname() and not _alive(int(process)):
            study.tell(trial.number, state=TrialState.FAIL)


def _run_in_pool(search: Search, objective: Objective, trials: int, workers: int) -> None:
    first, submitted = finished(search.open()), 0
    running: set[Future[str]] = set()
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=be_quiet) as pool:
        while True:
            while len(running) < workers and submitted < trials:
                running.add(pool.submit(run_one, search, objective, first + submitted))
                submitted += 1
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for one in done:
                log.info("%s", one.result())


def _guarded(objective: Objective, trial: Trial) -> float:
    # A process that is killed, as the system does when memory runs out, leaves this reason behind.
    trial.set_user_attr("process", f"{socket.gethostname()}:{os.getpid()}")
    trial.set_user_attr(FAILURE, "the process ended without a word: stopped, or killed for want of memory")
    try:
        value = objective(trial)
    except optuna.TrialPruned:
        trial.set_user_attr(FAILURE, "")
        raise
    except BaseException as error:
        trial.set_user_attr(FAILURE, reason(error))
        raise
    trial.set_user_attr(FAILURE, "")
    return value


def reason(error: BaseException) -> str:
    """Return why a trial failed: ``out of memory`` and where, or the error in a line."""
    text = (str(error).strip().splitlines() or [""])[0][:300]
    # torch raises OutOfMemoryError on a GPU and a plain RuntimeError on a CPU.
    if isinstance(error, MemoryError) or "out of memory" in text.lower() or "can't allocate memory" in text:
        return f"out of memory: {text}"
    return f"{type(error).__name__}: {text}"


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _storage(url: str) -> optuna.storages.BaseStorage:
    options = {"connect_args": {"timeout": 100}} if url.startswith("sqlite") else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.storages.RDBStorage(
            url, engine_kwargs=options, heartbeat_interval=BEAT_S, grace_period=6 * BEAT_S
        )


def _sampler(search: Search, number: int) -> optuna.samplers.BaseSampler:
    seed = search.settings.seed + 10_000 * search.command + number
    if search.settings.sampler == "random":
        return optuna.samplers.RandomSampler(seed)
    if search.settings.sampler == "grid":
        return optuna.samplers.GridSampler(search.space, seed)
    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
