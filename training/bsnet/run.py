"""One training, phase after phase; a run that was stopped goes on where it stopped."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from models.bsnet.checkpoint import save_bsnet
from models.bsnet.network import BSNet
from models.bsnet.spec import Pyramid
from training.bsnet import batches as films_of
from training.bsnet.films import BSNetFilm, FilmSets
from training.bsnet.judging import alignment_figures, lung_figures, score_figures
from training.bsnet.objectives import (
    Losses,
    alignment_losses,
    everything_losses,
    heads_losses,
    lungs_losses,
)
from training.bsnet.phases import freeze, parameter_groups, trained_parts
from training.bsnet.pooled_fit import fit_pooled_heads
from training.bsnet.presence_fit import fit_presence
from training.bsnet.settings import PHASES, BSNetTraining, Phase
from training.data.dataset import DataError
from training.learning.optimizers import build_optimizer
from training.learning.run_log import RunLog
from training.learning.run_state import Learner, Progress, load_state, save_state

WEIGHTS = "weights.safetensors"
"""What a phase leaves for the next."""

WARM_UP = 0.05
LEAST_RATE = 0.01
CLIP_NORM = 5.0

Fit = Callable[[BSNet, Sequence[BSNetFilm], BSNetTraining], dict[str, float]]
"""A phase that is fitted at once to cached features, not in epochs."""

log = logging.getLogger(__name__)


class TrainingError(Exception):
    """A run that cannot go on; the message says why and what to change."""


@dataclass(frozen=True)
class PhaseRun:
    """What stays the same throughout a phase.

    Parameters
    ----------
    training : BSNetTraining
        Settings.
    name : str
        Of the phase.
    sets : FilmSets
        Films.
    folder : pathlib.Path
        Of the phase: log, state, weights.
    """

    training: BSNetTraining
    name: str
    sets: FilmSets
    folder: Path

    @property
    def phase(self) -> Phase:
        """The phase's settings."""
        return self.training.phases[self.name]

    @property
    def seed(self) -> int:
        """Seed of the phase."""
        return self.training.seed * len(PHASES) + PHASES.index(self.name)


def run_phases(training: BSNetTraining, network: BSNet, sets: FilmSets, out: Path, only: str = "") -> BSNet:
    """Train a network through its phases.

    Parameters
    ----------
    training : BSNetTraining
        Settings.
    network : BSNet
        What it starts with; changed.
    sets : FilmSets
        Films.
    out : pathlib.Path
        The run's folder; each phase has a folder in it. A phase that is done there is not done again.
    only : str
        The one phase to run; its predecessors must be done. Empty for all.

    Returns
    -------
    BSNet
        In evaluation mode.

    Raises
    ------
    TrainingError
        If the loss is no longer a number, or a predecessor of ``only`` is missing.
    training.data.dataset.DataError
        If there is no film to learn from in a phase.
    """
    for name in phases_of(training, network):
        run = PhaseRun(training, name, sets, out / f"{PHASES.index(name) + 1}-{name}")
        done = run.folder / WEIGHTS
        if not done.is_file():
            if only and name != only:
                raise TrainingError(f"phase {name} is not done in {out}; run it before {only}")
            _run_phase(run, network)
        network.load_state_dict(load_file(done))
        if name == only:
            break
    return network.eval()


def phases_of(training: BSNetTraining, network: BSNet) -> list[str]:
    """Return the phases that a training has, in their order: those with epochs and something to learn."""
    wanted = [name for name in PHASES if name in training.phases and training.phases[name].epochs]
    return [name for name in wanted if trained_parts(network, name)]


def finish(training: BSNetTraining, network: BSNet, out: Path, command: str) -> None:
    """Write the checkpoint that the worker loads, ``bsnet.json`` and ``bsnet.safetensors``."""
    save_bsnet([network], replace(training.spec, training=command), out)


def _run_phase(run: PhaseRun, network: BSNet) -> None:
    run.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(run.seed)
    kept = run.training.encoder_weights != "none"
    freeze(network, run.name, frozen=run.phase.frozen, keep_statistics=kept)
    if run.name == "heads" and run.training.spec.pyramid is Pyramid.POOLED:
        _fit(run, network, fit_pooled_heads)
        return
    if run.name == "presence":
        _fit(run, network, fit_presence)
        return
    learner = _learner(run, network)
    progress = load_state(run.folder, learner)
    log.info("phase %s, epoch %d of %d", run.name, progress.epoch, run.phase.epochs)
    with RunLog(run.folder, run.phase.epochs, progress.epoch) as run_log:
        while progress.epoch < run.phase.epochs:
            _whole_epoch(run, learner, progress, run_log)
    _write(learner.average, run.folder)


def _fit(run: PhaseRun, network: BSNet, fit: Fit) -> None:
    started = time.monotonic()
    figures = fit(network, run.sets.training, run.training)
    figures |= score_figures(network.eval(), run.sets.validation)
    line = {"epoch": 1, "elapsed_s": round(time.monotonic() - started), **figures}
    with RunLog(run.folder, 1, 0) as run_log:
        run_log.epoch(line, {"validation": figures})
    _write(network, run.folder)


def _write(network: nn.Module, folder: Path) -> None:
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(tensors, folder / WEIGHTS)


def _learner(run: PhaseRun, network: BSNet) -> Learner:
    groups = parameter_groups(network, run.name, run.phase.slow_share, run.phase.frozen)
    optimizer = build_optimizer("adamw", groups, run.phase.learning_rate, run.training.weight_decay)
    average = copy.deepcopy(network).eval()
    return Learner(network, average, optimizer, torch.amp.GradScaler("cpu", enabled=False), None)


def _whole_epoch(run: PhaseRun, learner: Learner, progress: Progress, run_log: RunLog) -> None:
    started = time.monotonic()
    generator = np.random.default_rng([run.seed, progress.epoch])
    losses = _one_epoch(run, learner, progress, run_log, generator)
    progress.epoch += 1
    progress.elapsed_s += time.monotonic() - started
    figures = _figures(run, cast(BSNet, learner.average))
    line = {"epoch": progress.epoch, "elapsed_s": round(progress.elapsed_s), **losses, **figures}
    run_log.epoch(
        {name: round(value, 5) for name, value in line.items()}, {"loss": losses, "validation": figures}
    )
    save_state(run.folder, learner, progress)


def _one_epoch(
    run: PhaseRun, learner: Learner, progress: Progress, run_log: RunLog, generator: np.random.Generator
) -> dict[str, float]:
    count, batches = _batches(run, generator)
    if not count:
        raise DataError(f"no film to learn from in phase {run.name}; add films, or leave the phase out")
    sums: dict[str, float] = {}
    seen: dict[str, int] = {}
    for number, batch in enumerate(run_log.steps(batches, count)):
        _set_rate(run.phase, learner.optimizer, (progress.epoch + number / count) / run.phase.epochs)
        for name, value in _one_step(run, learner, batch, number).items():
            sums[name] = sums.get(name, 0.0) + value
            seen[name] = seen.get(name, 0) + 1
        _follow(learner, run.training.ema_decay, progress.epoch * count + number)
    return {name: value / seen[name] for name, value in sums.items()}


def _batches(run: PhaseRun, generator: np.random.Generator) -> tuple[int, Iterator[Any]]:
    size, augmentation = run.phase.batch_size, run.training.augmentation
    if run.name == "alignment":
        frames = films_of.alignment_frames(run.sets.training)
        pairs = films_of.alignment_batches(frames, size, augmentation, generator)
        return math.ceil(len(frames) / size), pairs
    if run.name == "lungs":
        films = films_of.lung_films(run.sets.training)
    else:
        films = films_of.scored_films(run.sets.training, run.training.films, generator)
    return films_of.batch_count(len(films), size), films_of.film_batches(films, size, augmentation, generator)


def _one_step(run: PhaseRun, learner: Learner, batch: Any, number: int) -> dict[str, float]:
    losses = _losses(run, cast(BSNet, learner.network), batch, number)
    total = torch.stack(list(losses.values())).sum()
    if not torch.isfinite(total):
        raise TrainingError(
            f"the loss is no longer a number in phase {run.name}; "
            f"take a lower phases.{run.name}.learning_rate"
        )
    learner.optimizer.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    learning = [parameter for parameter in learner.network.parameters() if parameter.requires_grad]
    nn.utils.clip_grad_norm_(learning, CLIP_NORM)
    learner.optimizer.step()
    return {name: float(value.detach()) for name, value in losses.items()}


def _losses(run: PhaseRun, network: BSNet, batch: Any, number: int) -> Losses:
    if run.name == "lungs":
        return lungs_losses(network, batch)
    if run.name == "alignment":
        return alignment_losses(network, batch)
    if run.name == "heads":
        return heads_losses(network, batch, run.training.loss)
    with_lungs = number % run.training.films.lungs_every == 0
    return everything_losses(network, batch, run.training.loss, with_lungs=with_lungs)


def _figures(run: PhaseRun, network: BSNet) -> dict[str, float]:
    films = run.sets.validation
    if run.name == "alignment":
        return alignment_figures(network, films, run.training.augmentation)
    lungs = lung_figures(network, films) if network.decoder is not None and run.name != "heads" else {}
    return lungs | ({} if run.name == "lungs" else score_figures(network, films))


def _set_rate(phase: Phase, optimizer: torch.optim.Optimizer, share: float) -> None:
    cosine = 0.5 * (1 + math.cos(math.pi * share)) + LEAST_RATE
    for group in optimizer.param_groups:
        group["lr"] = phase.learning_rate * group["part"] * min(1.0, share / WARM_UP + LEAST_RATE) * cosine


@torch.no_grad()
def _follow(learner: Learner, decay: float, step: int) -> None:
    share = 1 - min(decay, (step + 1) / (step + 10)) if decay else 1.0
    pairs = zip(learner.average.state_dict().values(), learner.network.state_dict().values(), strict=True)
    for mean, value in pairs:
        if mean.is_floating_point():
            mean.lerp_(value, share)
        else:
            mean.copy_(value)
