"""Train one network, top to bottom: settings, films, network, loop, checkpoint.

    python -m training.train --config training/configs/lungs.toml --data DIR --out runs/lungs

Started again with the same ``--out`` it goes on where it stopped. ``log.jsonl`` in that folder holds one
line an epoch, and TensorBoard reads the folder; the checkpoint of the best validated weights lies there as
``ROLE.json`` and ``ROLE.safetensors``.
"""

from __future__ import annotations

import copy
import logging
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.checkpoint import save_checkpoint
from models.errors import CheckpointError
from training.data.dataset import DataError, Film, read_manifest
from training.data.folds import Fold, with_fold
from training.guesses import with_guesses
from training.learning.batches import Batch, Batches
from training.learning.config import ConfigError, TrainConfig
from training.learning.early_stopping import EarlyStopping
from training.learning.forward import autocast_type, forward
from training.learning.objectives import Objective, build_objective
from training.learning.optimizers import build_optimizer
from training.learning.run_films import training_batches, validation_samples
from training.learning.run_log import RunLog
from training.learning.run_options import RunOptions, parsed, run_parser
from training.learning.run_state import Learner, Progress, load_state, save_state
from training.learning.samples import Samples
from training.learning.start import start_network
from training.learning.validate import validation_figure, validation_pictures

log = logging.getLogger(__name__)

WARM_UP = 0.03

Watch = Callable[[int, float], None]
"""Told of every validation: the epoch, counted from 1, and the figure. May raise to end the run."""


class TrainingError(Exception):
    """A run that cannot go on; the message says why and what to change."""


@dataclass(frozen=True)
class Run:
    """What stays the same throughout a run.

    Parameters
    ----------
    config, options
        See ``train``.
    objective : Objective
        What is learned from a batch.
    batches : Batches
        Training films.
    validation : Samples
        Films that judge.
    """

    config: TrainConfig
    options: RunOptions
    objective: Objective
    batches: Batches
    validation: Samples


def train(
    config: TrainConfig,
    options: RunOptions,
    films: Sequence[Film] | None = None,
    watch: Watch | None = None,
) -> float:
    """Run a training to its end and leave the checkpoint of its best weights in ``options.out``.

    Parameters
    ----------
    config : TrainConfig
        Settings.
    options : RunOptions
        Where the data are and what to do with them.
    films : sequence of Film, optional
        Films with their splits, in place of those of the data folder.
    watch : callable, optional
        See ``Watch``.

    Returns
    -------
    float
        The best validation figure.

    Raises
    ------
    training.data.dataset.DataError
        If the data folder cannot be used.
    training.learning.config.ConfigError
        If the configuration cannot be used.
    models.errors.CheckpointError
        If the configuration names a network that cannot be built, or weights that cannot be had.
    TrainingError
        If the loss is no longer a number.
    """
    torch.manual_seed(config.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    learner = new_learner(config, options)
    objective = build_objective(config)
    films = read_manifest(options.data) if films is None else films
    films = with_fold(films, options.fold) if options.fold else films
    films = with_guesses(films, options.guesses) if options.guesses else films
    batches = training_batches(config, options, films)
    run = Run(config, options, objective, batches, validation_samples(config, options, films))
    log.info("%d training samples, %d validation samples", len(run.batches), len(run.validation))

    torch.manual_seed(config.seed)  # again: cutting films may have built stage I's network, or not
    progress = load_state(options.out, learner)
    with RunLog(options.out, config.schedule.epochs, progress.epoch) as run_log:
        while not progress.stopped and (share := share_done(run, progress)) < 1.0:
            figure = whole_epoch(run, learner, progress, run_log, share)
            if watch and figure is not None:
                watch(progress.epoch, figure)
    return progress.best


def whole_epoch(
    run: Run, learner: Learner, progress: Progress, run_log: RunLog, share: float
) -> float | None:
    """Learn for an epoch, judge if it is due, log it and keep the state; return the figure, None if not due.

    ``share`` is how much of the run was done before.
    """
    config, started = run.config, time.monotonic()
    groups = one_epoch(run, learner, progress, run_log)
    progress.epoch += 1
    progress.elapsed_s += time.monotonic() - started
    line = {"epoch": progress.epoch, "share": round(share, 3), "elapsed_s": round(progress.elapsed_s)}
    due = progress.epoch % config.schedule.validate_every == 0 or share_done(run, progress) >= 1.0
    figure = validate(run, learner, progress, groups) if due else None
    if due:
        run_log.pictures(progress.epoch, validation_pictures(learner.average, run.validation, config))
    line |= {name: round(value, 6) for group in groups.values() for name, value in group.items()}
    run_log.epoch(line, groups)
    save_state(run.options.out, learner, progress)
    return figure


def one_epoch(run: Run, learner: Learner, progress: Progress, run_log: RunLog) -> dict[str, dict[str, float]]:
    """Show the network every film once; return the means of the losses and of their weights, and the rate."""
    config, schedule = run.config, run.config.schedule
    share = share_done(run, progress)
    side = next((side for side, until in schedule.resolutions if share < until), network_side(config))
    count, batches = run.batches.epoch(progress.epoch, side, run.options.steps)
    if not count:
        raise DataError(f"{len(run.batches)} training films make no batch of two or more; add films")
    sums: dict[str, dict[str, float]] = {"loss": {}, "weight": {}}
    run.objective.weighting.start_epoch()
    learner.network.train()
    for number, batch in enumerate(run_log.steps(batches, count)):
        rate = learning_rate(config, min(1.0, share + number / count / schedule.epochs))
        for group in learner.optimizer.param_groups:
            group["lr"] = rate * group["part"]
        losses, weights = one_step(config, run.objective, learner, batch)
        if not all(math.isfinite(loss) for loss in losses.values()):
            raise TrainingError(
                f"the loss is no longer a number in epoch {progress.epoch + 1} ({losses}); take a lower "
                "optimizer.learning_rate, or schedule.precision float32"
            )
        if schedule.ema_decay:
            follow(learner.average, learner.network, schedule.ema_decay)
        for kind, values in (("loss", losses), ("weight", weights)):
            for name, value in values.items():
                sums[kind][name] = sums[kind].get(name, 0.0) + value / count
    if not schedule.ema_decay:
        follow(learner.average, learner.network, 0.0)
    weights = sums["weight"] if config.objective.weighting == "dynamic" else {}
    shown = {f"weight_{name}": value for name, value in weights.items()}
    return {"loss": sums["loss"], "weight": shown, "schedule": {"rate": rate, "side": side}}


def one_step(
    config: TrainConfig, objective: Objective, learner: Learner, batch: Batch
) -> tuple[dict[str, float], dict[str, float]]:
    """Learn from one batch; return each loss before that, and its weight."""
    losses = objective.losses(forward(learner.network, batch.views, config), batch)
    weights = objective.weighting.weights(losses)
    total = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
    learner.optimizer.zero_grad(set_to_none=True)
    learner.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
    if config.optimizer.clip_norm:
        learner.scaler.unscale_(learner.optimizer)
        nn.utils.clip_grad_norm_(learner.network.parameters(), config.optimizer.clip_norm)
    learner.scaler.step(learner.optimizer)
    learner.scaler.update()
    return {name: float(loss.detach()) for name, loss in losses.items()}, weights


def validate(run: Run, learner: Learner, progress: Progress, groups: dict[str, dict[str, float]]) -> float:
    """Judge the averaged weights, keep them if they are the best so far, and see whether to go on."""
    figure, groups["validation"] = validation_figure(learner.average, run.validation, run.config)
    if figure > progress.best:
        progress.best = figure
        spec = replace(run.config.spec, training=_provenance(run.options))
        save_checkpoint(learner.average, spec, run.options.out)
    if learner.stopping:
        progress.stopped = learner.stopping.step(figure)
    return figure


def share_done(run: Run, progress: Progress) -> float:
    """Return how much of the run is done, 0 to 1, by epochs or by time, whichever is further."""
    return max(progress.epoch / run.config.schedule.epochs, progress.elapsed_s / 60 / run.options.minutes)


def learning_rate(config: TrainConfig, share: float) -> float:
    """Return the learning rate when ``share`` of the run is done."""
    peak = config.optimizer.learning_rate
    if config.optimizer.schedule == "constant":
        return peak
    if share < WARM_UP:
        return peak * (share + 0.002) / (WARM_UP + 0.002)
    cosine = math.cos(math.pi * min(1.0, (share - WARM_UP) / (1 - WARM_UP)))
    return peak * (0.5 * (1 + cosine) + 1e-3)


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the averaged weights towards the network's: average = decay · average + (1 - decay) · network."""
    for mean, value in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point() and decay:
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def network_side(config: TrainConfig) -> int:
    """Return the side of the training input at the end of a run, which is the network's own."""
    resolutions = config.schedule.resolutions
    return resolutions[-1][0] if resolutions else config.spec.input_shape[0]


def new_learner(config: TrainConfig, options: RunOptions) -> Learner:
    """Return what a run starts with; raises as ``start_network`` and ``build_optimizer`` do."""
    network, schedule = start_network(config, options), config.schedule
    settings, device = config.optimizer, torch.device(options.device)
    groups = parameter_groups(network, settings.encoder_rate)
    optimizer = build_optimizer(settings.name, groups, settings.learning_rate, settings.weight_decay)
    scaled = autocast_type(schedule.precision, device) is torch.float16
    return Learner(
        network=network,
        average=copy.deepcopy(network).eval(),
        optimizer=optimizer,
        scaler=torch.amp.GradScaler(device.type, enabled=scaled),
        stopping=EarlyStopping(schedule.patience, schedule.min_delta) if schedule.patience else None,
    )


def parameter_groups(network: nn.Module, encoder_rate: float) -> list[dict[str, Any]]:
    """Return the encoder's parameters and the others, each with its ``part`` of the learning rate."""
    encoder: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        (encoder if name.startswith("encoder.") else others).append(parameter)
    return [{"params": encoder, "part": encoder_rate}, {"params": others, "part": 1.0}]


def _provenance(options: RunOptions) -> str:
    lungs = " --lungs LUNGS" if options.lungs else ""
    return (
        f"python -m training.train --config CONFIG --data DATA{lungs}; see models/MODEL_CARD.md for data and "
        "licences: non-commercial research, share-alike"
    )


def main() -> None:
    """Read the command line and train."""
    parser = run_parser("training.train", "Train one network; a run that was stopped goes on.")
    parser.add_argument("--minutes", type=float, default=math.inf, help="shorten the schedule to this long")
    parser.add_argument("--everything", action="store_true", help="learn from the validation films too")
    parser.add_argument(
        "--fold", type=Fold.parse, metavar="K/N", help="hold out this part of train and val, by patient"
    )
    parser.add_argument("--guesses", type=Path, help="guessed opacity masks; see training.guesses")
    parser.add_argument("--steps", type=int, default=0, help="steps an epoch, for a quick check (0: all)")
    try:
        config, options, _ = parsed(parser)
        log.info("best validation figure %.4f", train(config, options))
    except (ConfigError, DataError, CheckpointError, TrainingError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on after the last whole epoch")


if __name__ == "__main__":
    main()
