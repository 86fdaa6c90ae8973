"""The films of a run, by stage, objective and augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from models.checkpoint import Role
from models.geometry import Shape
from training.data.dataset import DataError, Film
from training.learning.batches import Batches, FilmBatches, TensorBatches
from training.learning.config import ConfigError, TrainConfig
from training.learning.crops import opacity_samples, save_opacity_films
from training.learning.native_films import CutFilms, LungFilms
from training.learning.run_options import RunOptions
from training.learning.samples import Samples, load_samples, lung_samples, save_samples

STORE_MARGIN = 1.15  # views are stored larger than the network's input: scaling up then loses nothing


def training_batches(config: TrainConfig, options: RunOptions, films: Sequence[Film]) -> Batches:
    """Return the films that a run learns from.

    Parameters
    ----------
    config : TrainConfig
        Settings.
    options : RunOptions
        Where things are.
    films : sequence of Film
        All films; those of the split ``train`` are taken, with ``options.everything`` also ``val``.

    Returns
    -------
    Batches
        On the run's device.

    Raises
    ------
    training.data.dataset.DataError
        If no film has the labels that the objective needs.
    training.learning.config.ConfigError
        If stage II is to be cut and no stage I is named.
    """
    splits = ("train", "val") if options.everything else ("train",)
    learned = _taught([film for film in films if film.split in splits], config, "to train")
    if config.schedule.augmentation == "paper":
        return FilmBatches(_native(learned, config, options), config, torch.device(options.device))
    rows, columns = config.spec.input_shape
    store = (round(rows * STORE_MARGIN), round(columns * STORE_MARGIN))
    samples = _samples(learned, config, options, ("train", store))
    return TensorBatches(samples.to(torch.device(options.device)), config)


def validation_samples(config: TrainConfig, options: RunOptions, films: Sequence[Film]) -> Samples:
    """Return the films of the split ``val`` in the network's shape; arguments as ``training_batches``.

    Raises
    ------
    training.data.dataset.DataError
        Also if no film has opacity drawn, which the figure of ``two_task`` needs.
    training.learning.config.ConfigError
        As ``training_batches``.
    """
    held_out = _taught([film for film in films if film.split == "val"], config, "to validate")
    samples = _samples(held_out, config, options, ("val", config.spec.input_shape))
    if config.objective.kind == "two_task" and not samples.layer(str(config.spec.role)).any():
        raise DataError(
            f"no film of the split val has {config.spec.role} drawn, so that no figure can be computed; move "
            "some that have a mask there"
        )
    return samples.to(torch.device(options.device))


def _taught(films: list[Film], config: TrainConfig, purpose: str) -> list[Film]:
    if config.spec.role is Role.LUNGS:
        chosen, needed = [film for film in films if film.lung_masks], "a lung mask"
    elif config.objective.kind == "two_task":
        chosen = [film for film in films if film.opacity_mask or film.normal]
        needed = "an opacity mask or are called normal"
    else:
        chosen, needed = films, "a label"
    if not chosen:
        raise DataError(f"no films {purpose} on: of {len(films)} in the split, none have {needed}")
    return chosen


def _samples(
    films: list[Film], config: TrainConfig, options: RunOptions, which: tuple[str, Shape]
) -> Samples:
    split, shape = which
    if config.spec.role is Role.LUNGS:
        return lung_samples(films, config.spec, shape)
    kept = _kept(options, f"views-{split}-{shape[0]}x{shape[1]}.safetensors")
    if not kept.is_file():
        save_samples(opacity_samples(films, config.spec, shape, _stage_one(options)), kept)
    return load_samples(kept)


def _native(films: list[Film], config: TrainConfig, options: RunOptions) -> LungFilms | CutFilms:
    if config.spec.role is Role.LUNGS:
        return LungFilms.of(films, config.spec)
    kept = _kept(options, "films-train.safetensors")
    if not kept.is_file():
        save_opacity_films(films, config.spec, _stage_one(options), kept)
    return CutFilms.open(kept)


def _kept(options: RunOptions, name: str) -> Path:
    folder = options.cache or options.out
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def _stage_one(options: RunOptions) -> Path:
    if options.lungs is None:
        raise ConfigError("stage II is cut with stage I's network: name its checkpoint folder with --lungs")
    return options.lungs
