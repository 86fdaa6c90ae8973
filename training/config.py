"""Settings of one training run, read from a TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from models.checkpoint import NetworkSpec, Role
from models.geometry import Resize

Section = TypeVar("Section")


class ConfigError(Exception):
    """A training configuration that cannot be used; the message says which key and what to write."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn.

    Parameters
    ----------
    epochs : int
        Passes over the training films.
    batch_size : int
        Films a step.
    learning_rate : float
        Peak of the schedule: linear warm-up over the first 3 %, then a cosine down to 0.
    weight_decay : float
        AdamW's.
    ema_decay : float
        Of the running mean of the weights, which is what is validated and saved.
    resolutions : tuple of (int, float)
        Side of the (square) training input, and the share of the run up to which it is used; the last one
        should be the network's own.
    validate_every : int
        Epochs between two validations.
    mask_repeats : int
        Stage II: how often an epoch shows each film that has a drawn opacity mask.
    """

    epochs: int = 40
    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    ema_decay: float = 0.99
    resolutions: tuple[tuple[int, float], ...] = ((256, 1.0),)
    validate_every: int = 2
    mask_repeats: int = 1


@dataclass(frozen=True)
class Augmentation:
    """How far a training film may be changed; every range is symmetric unless said otherwise.

    Parameters
    ----------
    rotation_degrees, scale, aspect, shift, shear : float
        Of the affine map; scale and aspect in powers of e, shift as a share of the side, shear in radians.
    flip : float
        Probability of a left-right flip (zone labels travel with the pixels).
    gamma, contrast, brightness : float
        Gamma in powers of e; contrast and brightness relative to the range of the view.
    bias, noise, blur, erase : float
        Strength of a smooth additive field; standard deviation of the noise; probability of a blur;
        probability that a rectangle is filled with one grey value.
    """

    rotation_degrees: float = 12.0
    scale: float = 0.15
    aspect: float = 0.1
    shift: float = 0.06
    shear: float = 0.08
    flip: float = 0.5
    gamma: float = 0.4
    contrast: float = 0.3
    brightness: float = 0.15
    bias: float = 0.1
    noise: float = 0.03
    blur: float = 0.2
    erase: float = 0.3


@dataclass(frozen=True)
class OpacityLoss:
    """Weights of the parts of stage II's loss; 0 leaves a part out.

    Parameters
    ----------
    mask, boxes, normal, teacher, score, brixia, presence : float
        See ``training.losses``.
    involvement_threshold, temperature : float
        Of the differentiable zone count, shares of a zone's area.
    """

    mask: float = 1.0
    boxes: float = 0.3
    normal: float = 0.5
    teacher: float = 2.0
    score: float = 0.5
    brixia: float = 0.5
    presence: float = 0.3
    involvement_threshold: float = 0.25
    temperature: float = 0.06


@dataclass(frozen=True)
class TrainConfig:
    """One run.

    Parameters
    ----------
    spec : NetworkSpec
        The network to train, without weights.
    schedule, augmentation, opacity_loss
        See there.
    seed : int
        Of the weights, the order and the augmentation.
    """

    spec: NetworkSpec
    schedule: Schedule = field(default_factory=Schedule)
    augmentation: Augmentation = field(default_factory=Augmentation)
    opacity_loss: OpacityLoss = field(default_factory=OpacityLoss)
    seed: int = 1


def read_config(path: Path) -> TrainConfig:
    """Read a run's settings.

    Parameters
    ----------
    path : pathlib.Path
        A TOML file with the tables ``network``, ``schedule``, ``augmentation`` and ``opacity_loss``, and
        ``seed``.

    Returns
    -------
    TrainConfig

    Raises
    ------
    ConfigError
        If the file is missing, is no TOML, or holds an unknown key or a value of the wrong kind.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}") from error
    unknown = set(content) - {"network", "schedule", "augmentation", "opacity_loss", "seed"}
    if unknown:
        raise ConfigError(f"{path}: unknown key {', '.join(sorted(unknown))}; remove or correct it")
    try:
        return TrainConfig(
            spec=_spec(content.get("network", {})),
            schedule=_section(Schedule, content.get("schedule", {})),
            augmentation=_section(Augmentation, content.get("augmentation", {})),
            opacity_loss=_section(OpacityLoss, content.get("opacity_loss", {})),
            seed=int(content.get("seed", 1)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: {error}; see training/config.py for the keys") from error


def _spec(table: dict[str, Any]) -> NetworkSpec:
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    values["role"] = Role(table["role"])
    values["resize"] = Resize(table.get("resize", "stretch"))
    return _section(NetworkSpec, values)


def _section(kind: type[Section], table: dict[str, Any]) -> Section:
    known = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    unknown = set(table) - known
    if unknown:
        raise ConfigError(f"unknown key {', '.join(sorted(unknown))} for {kind.__name__}")
    if "resolutions" in table:
        table = {
            **table,
            "resolutions": tuple((int(side), float(until)) for side, until in table["resolutions"]),
        }
    return kind(**table)
