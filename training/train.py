"""Train one network, top to bottom: settings, films, network, loop, checkpoint.

    python -m training.train --config training/configs/lungs.toml --data DIR --out runs/lungs

Started again with the same ``--out`` it goes on where it stopped. ``log.jsonl`` in that folder holds one
line an epoch; the checkpoint of the best validated weights lies there as ``ROLE.json`` and
``ROLE.safetensors``.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models.checkpoint import Role, build_network, load_checkpoint, save_checkpoint
from models.geometry import Shape
from models.segmenter import normalised
from training.augment import Augmenter
from training.config import TrainConfig, read_config
from training.crops import opacity_samples
from training.data_folder import add_data_argument
from training.dataset import Film, read_manifest
from training.losses import mask_loss, opacity_losses
from training.run_state import Progress, load_state, save_state
from training.samples import Samples, load_samples, lung_samples, named_layers, save_samples
from training.validate import validation_figure

log = logging.getLogger(__name__)

WARM_UP = 0.03
STORE_MARGIN = 1.15  # views are stored larger than the network's input: scaling up then loses nothing


@dataclass(frozen=True)
class RunOptions:
    """What the command line adds to the configuration.

    Parameters
    ----------
    data, out : pathlib.Path
        Data folder and the run's folder.
    lungs : pathlib.Path or None
        Checkpoint folder of stage I, which cuts stage II's views; None for stage I itself.
    init : pathlib.Path or None
        Checkpoint folder whose weights a run starts from, of either role.
    device : str
        ``cpu`` or ``cuda``.
    minutes : float
        The schedule is shortened to end after this long.
    everything : bool
        Learn from the validation films too (the figures then say nothing); for a last refit.
    steps : int
        Stop each epoch after so many steps; 0 for all of them.
    """

    data: Path
    out: Path
    lungs: Path | None
    init: Path | None
    device: str
    minutes: float
    everything: bool
    steps: int


def train(config: TrainConfig, options: RunOptions) -> float:
    """Run a training to its end and leave the checkpoint of its best weights in ``options.out``.

    Parameters
    ----------
    config : TrainConfig
        Settings.
    options : RunOptions
        Where the data are and what to do with them.

    Returns
    -------
    float
        The best validation figure.

    Raises
    ------
    training.dataset.DataError
        If the data folder cannot be used.
    models.errors.CheckpointError
        If the configuration names a network that cannot be built.
    """
    torch.manual_seed(config.seed)
    device = torch.device(options.device)
    options.out.mkdir(parents=True, exist_ok=True)

    films = read_manifest(options.data)
    learned = [
        film for film in films if film.split == "train" or (options.everything and film.split == "val")
    ]
    rows, columns = config.spec.input_shape
    store = (round(rows * STORE_MARGIN), round(columns * STORE_MARGIN))
    training = _samples(config, options, learned, store).to(device)
    held_out = [film for film in films if film.split == "val"]
    validation = _samples(config, options, held_out, config.spec.input_shape, training=False).to(device)
    log.info("%d training samples, %d validation samples", len(training), len(validation))

    network = build_network(config.spec).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if options.init:
        _start_from(network, options.init)
    average = copy.deepcopy(network).eval()
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.schedule.learning_rate, weight_decay=config.schedule.weight_decay
    )
    progress = load_state(options.out, network, average, optimizer)

    while (share := _share_done(progress, config, options)) < 1.0:
        started = time.monotonic()
        figures = _one_epoch(config, options, progress, training, (network, average, optimizer))
        progress.epoch += 1
        progress.elapsed_s += time.monotonic() - started
        if (
            progress.epoch % config.schedule.validate_every == 0
            or _share_done(progress, config, options) >= 1.0
        ):
            figure, details = validation_figure(average, validation, config)
            figures |= details
            if figure > progress.best:
                progress.best = figure
                save_checkpoint(average, replace(config.spec, training=_provenance(options)), options.out)
        save_state(options.out, network, average, optimizer, progress)
        line = {
            "epoch": progress.epoch,
            "share": round(share, 3),
            "elapsed_s": round(progress.elapsed_s),
            **figures,
        }
        with (options.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        log.info("%s", line)
    return progress.best


def _samples(
    config: TrainConfig, options: RunOptions, films: list[Film], shape: Shape, training: bool = True
) -> Samples:
    if config.spec.role is Role.LUNGS:
        return lung_samples(films, config.spec, shape, both_masks=training)
    if options.lungs is None:
        raise SystemExit("stage II is cut with stage I's network: name its checkpoint folder with --lungs")
    kept = options.out / f"views-{'train' if training else 'val'}.safetensors"
    if not kept.is_file():
        save_samples(opacity_samples(films, config.spec, shape, options.lungs), kept)
    return load_samples(kept)


def _start_from(network: nn.Module, folder: Path) -> None:
    role = Role.LUNGS if (folder / "lungs.json").is_file() else Role.OPACITY
    other, _ = load_checkpoint(folder, role)
    missing, unexpected = network.load_state_dict(other.state_dict(), strict=False)
    log.info("started from %s; new here: %s; left behind: %s", folder, missing, unexpected)


def _share_done(progress: Progress, config: TrainConfig, options: RunOptions) -> float:
    return max(progress.epoch / config.schedule.epochs, progress.elapsed_s / 60 / options.minutes)


def _one_epoch(
    config: TrainConfig,
    options: RunOptions,
    progress: Progress,
    samples: Samples,
    parts: tuple[nn.Module, nn.Module, torch.optim.Optimizer],
) -> dict[str, float]:
    network, average, optimizer = parts
    schedule = config.schedule
    augment = Augmenter(config.augmentation, config.seed * 100_003 + progress.epoch)
    batches = _batches(config, samples, progress.epoch)
    batches = batches[: options.steps or len(batches)]
    share = _share_done(progress, config, options)
    ahead = 1.0 / max(1, schedule.epochs)
    side = next((side for side, until in schedule.resolutions if share < until), schedule.resolutions[-1][0])
    sums: dict[str, float] = {}
    network.train()
    for number, batch in enumerate(batches):
        rate = _rate(min(1.0, share + ahead * number / len(batches))) * schedule.learning_rate
        for group in optimizer.param_groups:
            group["lr"] = rate
        index = batch.to(samples.views.device)
        views, maps = augment(samples.views[index], samples.maps[index], side)
        inputs = normalised(views, config.spec).contiguous(memory_format=torch.channels_last)
        with torch.autocast(inputs.device.type, torch.bfloat16):
            answer = network(inputs)
        losses = _losses(config, answer, named_layers(maps, samples.layers), samples, index)
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        _follow(average, network, schedule.ema_decay)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
    return {"rate": rate, "side": side} | {
        name: round(value / len(batches), 4) for name, value in sums.items()
    }


def _batches(config: TrainConfig, samples: Samples, epoch: int) -> list[torch.Tensor]:
    # Films with a drawn opacity mask are few; they come round more than once an epoch.
    numbers = np.arange(len(samples))
    if "has_mask" in samples.labels:
        drawn = samples.labels["has_mask"].cpu().numpy() > 0
        numbers = np.concatenate([numbers, np.repeat(numbers[drawn], config.schedule.mask_repeats - 1)])
    shuffled = np.random.default_rng((config.seed, epoch)).permutation(numbers)
    size = config.schedule.batch_size
    batches = [torch.from_numpy(shuffled[start : start + size]) for start in range(0, len(shuffled), size)]
    return [batch for batch in batches if len(batch) > 1]


def _losses(
    config: TrainConfig,
    answer: torch.Tensor | tuple[torch.Tensor, torch.Tensor],
    maps: dict[str, torch.Tensor],
    samples: Samples,
    index: torch.Tensor,
) -> dict[str, torch.Tensor]:
    if isinstance(answer, torch.Tensor):
        return {"lungs": mask_loss(answer.float(), maps["lungs"].float()).mean()}
    labels = {name: value[index] for name, value in samples.labels.items()}
    return opacity_losses((answer[0].float(), answer[1].float()), maps, labels, config.opacity_loss)


def _rate(share: float) -> float:
    if share < WARM_UP:
        return (share + 0.002) / (WARM_UP + 0.002)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (share - WARM_UP) / (1 - WARM_UP)))) + 1e-3


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    for mean, value in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def _provenance(options: RunOptions) -> str:
    lungs = " --lungs LUNGS" if options.lungs else ""
    return (
        f"python -m training.train --config CONFIG --data DATA{lungs}; see models/MODEL_CARD.md for data and "
        "licences: non-commercial research, share-alike"
    )


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description="Train one network.")
    parser.add_argument(
        "--config", type=Path, required=True, help="TOML file, e.g. training/configs/lungs.toml"
    )
    add_data_argument(parser)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the run; goes on if it holds a state"
    )
    parser.add_argument("--lungs", type=Path, help="checkpoint folder of stage I (for stage II)")
    parser.add_argument("--init", type=Path, help="checkpoint folder whose weights to start from")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--minutes", type=float, default=math.inf, help="shorten the schedule to this long")
    parser.add_argument("--everything", action="store_true", help="learn from the validation films too")
    parser.add_argument("--steps", type=int, default=0, help="steps an epoch, for a quick check (0: all)")
    options = vars(parser.parse_args())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    config = read_config(options.pop("config"))
    log.info("best validation figure %.4f", train(config, RunOptions(**options)))


if __name__ == "__main__":
    main()
