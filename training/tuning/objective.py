"""One trial of a search: a training run on the search's films, judged by its best validation figure."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import optuna

from models.checkpoint import Role
from training.data.dataset import Film
from training.learning.config import TrainConfig
from training.learning.run_options import RunOptions
from training.train import TrainingError, train
from training.tuning.space import Space, Tuning
from training.tuning.study import suggest


@dataclass(frozen=True)
class TrainingObjective:
    """Trains with what a trial chooses; a callable for ``training.tuning.study.run_trials``.

    The figure is the best validation figure of the run, as ``training.learning.validate`` defines it: for the
    paper's objective the Dice of the refined map at the network's threshold, film by film, mean over the
    films in which something is drawn. (Eq. 4 of Danilov et al. 2022 adds two minimisers, which defines
    nothing; their code, too, maximises validation Dice.)

    Parameters
    ----------
    tuning : Tuning
        Space and fixed settings.
    stage : Role
        Which network.
    options : RunOptions
        ``out`` holds a folder for each trial.
    films : sequence of Film
        With the splits of this search.
    """

    tuning: Tuning
    stage: Role
    options: RunOptions
    films: Sequence[Film]

    def __call__(self, trial: optuna.Trial) -> float:
        """Train one choice.

        Parameters
        ----------
        trial : optuna.Trial
            Chooses, and is told every validation.

        Returns
        -------
        float
            The best validation figure.

        Raises
        ------
        optuna.TrialPruned
            If the trial is too weak at a bracket.
        TrainingError
            If no validation gave a figure.
        """
        space: Space = self.tuning.for_stage(self.stage)
        config = self.tuning.config(self.stage, suggest(trial, space))
        out = self.options.out / f"trial-{trial.number:04d}"
        options = replace(self.options, out=out, cache=self.options.cache or self.options.out / "films")
        try:
            best = train(config, options, self.films, _Watch(trial, config))
        finally:
            for heavy in ("*.safetensors", "*.part", f"{self.stage}.json"):
                for path in out.glob(heavy):
                    path.unlink()  # what is kept of a trial is its log
        if not math.isfinite(best):
            raise TrainingError("no validation of this run gave a figure")
        return best


class _Watch:
    def __init__(self, trial: optuna.Trial, config: TrainConfig) -> None:
        self.trial, self.epochs, self.best = trial, config.schedule.epochs, -math.inf
        self.started = time.monotonic()

    def __call__(self, epoch: int, figure: float) -> None:
        self.best = max(self.best, figure)
        self.trial.report(figure, epoch)
        self.trial.set_user_attr("epochs", epoch)
        self.trial.set_user_attr("seconds", round(time.monotonic() - self.started, 1))
        self.trial.set_user_attr("best", self.best)
        if epoch < self.epochs and self.trial.should_prune():
            raise optuna.TrialPruned
