"""Suggest a learning rate: one step at each of 100 rates from 1e-5 to 1, the loss drawn over the rate.

    python -m training.find_learning_rate --config lungs-fpn --data DIR --out runs/rate

Writes ``learning-rate.csv`` and ``learning-rate.png`` and prints the rate at which the loss falls fastest.
Nothing is learned for good.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Generator

import torch
from rich.console import Console

from models.errors import CheckpointError
from training.data.dataset import DataError, read_manifest
from training.learning.batches import Batch, Batches
from training.learning.config import ConfigError, TrainConfig
from training.learning.learning_rate import Curve, NoDescent, rising_rates, sweep, write_curve
from training.learning.objectives import build_objective
from training.learning.run_films import training_batches
from training.learning.run_options import parsed, run_parser
from training.learning.run_state import Learner
from training.train import network_side, new_learner, one_step


def learning_rate_curve(
    config: TrainConfig, learner: Learner, batches: Batches, rates: tuple[float, ...]
) -> Curve:
    """Sweep learning rates over a run's first batches; the learner is left as it was.

    Parameters
    ----------
    config : TrainConfig
        The run's settings.
    learner : Learner
        Network and optimiser.
    batches : Batches
        Training films.
    rates : tuple of float
        Rising learning rates.

    Returns
    -------
    Curve

    Raises
    ------
    training.data.dataset.DataError
        If there are too few films for a batch.
    """
    network, optimizer = (copy.deepcopy(part.state_dict()) for part in (learner.network, learner.optimizer))
    random = torch.get_rng_state()
    objective, stream = build_objective(config), _endless(config, batches)
    objective.weighting.start_epoch()
    learner.network.train()

    def step(rate: float) -> float:
        for group in learner.optimizer.param_groups:
            group["lr"] = rate * group.get("part", 1.0)
        losses, weights = one_step(config, objective, learner, next(stream))
        return sum(weights[name] * loss for name, loss in losses.items())

    try:
        return sweep(step, rates)
    finally:
        stream.close()
        learner.network.load_state_dict(network)
        learner.optimizer.load_state_dict(optimizer)
        torch.set_rng_state(random)


def _endless(config: TrainConfig, batches: Batches) -> Generator[Batch, None, None]:
    epoch = 0
    while True:
        count, some = batches.epoch(epoch, network_side(config), 0)
        if not count:
            raise DataError(f"{len(batches)} training films make no batch of two or more; add films")
        yield from some
        epoch += 1


def main() -> None:
    """Read the command line, sweep, write, print."""
    parser = run_parser("training.find_learning_rate", "Suggest a learning rate.")
    parser.add_argument("--first", type=float, default=1e-5, help="lowest rate (default 1e-5)")
    parser.add_argument("--last", type=float, default=1.0, help="highest rate (default 1)")
    parser.add_argument("--count", type=int, default=100, help="steps in between (default 100)")
    try:
        config, options, more = parsed(parser)
        torch.manual_seed(config.seed)
        if not (0 < more.first < more.last and more.count > 2):
            raise ConfigError("the sweep needs 0 < --first < --last and a --count of 3 or more")  # noqa: TRY301
        batches = training_batches(config, options, read_manifest(options.data))
        learner = new_learner(config, options)
        curve = learning_rate_curve(config, learner, batches, rising_rates(more.first, more.last, more.count))
        table, picture = write_curve(curve, options.out)
        Console().print(f"learning rate {curve.suggestion:.2e}; see {picture} and {table}", soft_wrap=True)
    except (ConfigError, DataError, CheckpointError, NoDescent) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
