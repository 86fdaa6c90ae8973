"""Settings of one training run, read from a TOML file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from models.checkpoint import NetworkSpec, Role
from models.geometry import Resize
from training.learning.settings import (
    CHOICES,
    Augmentation,
    Initial,
    Objective,
    OpacityLoss,
    OptimizerSettings,
    Schedule,
)

Section = TypeVar("Section")


class ConfigError(Exception):
    """A training configuration that cannot be used; the message says which key and what to write."""


@dataclass(frozen=True)
class TrainConfig:
    """One run.

    Parameters
    ----------
    spec : NetworkSpec
        The network to train, without weights.
    initial, objective, optimizer, schedule, augmentation, opacity_loss
        See there.
    seed : int
        Of the weights, the order and the augmentation.
    """

    spec: NetworkSpec
    initial: Initial = field(default_factory=Initial)
    objective: Objective = field(default_factory=Objective)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    schedule: Schedule = field(default_factory=Schedule)
    augmentation: Augmentation = field(default_factory=Augmentation)
    opacity_loss: OpacityLoss = field(default_factory=OpacityLoss)
    seed: int = 1


def read_config(path: Path) -> TrainConfig:
    """Read a run's settings.

    Parameters
    ----------
    path : pathlib.Path
        A TOML file with the tables ``network``, ``initial``, ``objective``, ``optimizer``, ``schedule``,
        ``augmentation`` and ``opacity_loss``, and ``seed``.

    Returns
    -------
    TrainConfig

    Raises
    ------
    ConfigError
        If the file is missing, is no TOML, or holds an unknown key or a value of the wrong kind.
    """
    return config_from(read_toml(path), str(path))


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file as plain values; ``ConfigError`` if it is missing or no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}") from error


def config_from(content: Mapping[str, Any], source: str) -> TrainConfig:
    """Turn the content of a TOML file into a run's settings.

    Parameters
    ----------
    content : Mapping
        Tables by name, as in ``read_config``.
    source : str
        Where the content comes from, for messages.

    Returns
    -------
    TrainConfig

    Raises
    ------
    ConfigError
        As in ``read_config``.
    """
    known = {item.name for item in fields(TrainConfig)} - {"spec"} | {"network"}
    unknown = set(content) - known
    if unknown:
        raise ConfigError(f"{source}: unknown key {', '.join(sorted(unknown))}; remove or correct it")
    try:
        config = TrainConfig(
            spec=_spec(content.get("network", {})),
            initial=_section(Initial, content.get("initial", {})),
            objective=_section(Objective, content.get("objective", {})),
            optimizer=_section(OptimizerSettings, content.get("optimizer", {})),
            schedule=_section(Schedule, content.get("schedule", {})),
            augmentation=_section(Augmentation, content.get("augmentation", {})),
            opacity_loss=_section(OpacityLoss, content.get("opacity_loss", {})),
            seed=int(content.get("seed", 1)),
        )
        _check(config)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{source}: {error}; see training/learning/config.py for the keys") from error
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error
    return config


def _check(config: TrainConfig) -> None:
    schedule, (rows, columns) = config.schedule, config.spec.input_shape
    for name, least in (("epochs", 1), ("batch_size", 2), ("validate_every", 1), ("mask_repeats", 1)):
        if getattr(schedule, name) < least:
            raise ConfigError(f"schedule.{name} is {getattr(schedule, name)}; write {least} or more")
    if config.optimizer.learning_rate <= 0:
        raise ConfigError(f"optimizer.learning_rate is {config.optimizer.learning_rate}; write one above 0")
    if schedule.augmentation == "tensor" and rows != columns:
        raise ConfigError(
            f'augmentation "tensor" makes square inputs, network.input_shape is [{rows}, {columns}]'
        )
    if schedule.resolutions and schedule.augmentation != "tensor":
        raise ConfigError('schedule.resolutions needs augmentation "tensor"; remove one of them')


def _spec(table: Mapping[str, Any]) -> NetworkSpec:
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    values["role"] = Role(table["role"])
    values["resize"] = Resize(table.get("resize", "stretch"))
    if isinstance(table.get("input_shape"), int):
        values["input_shape"] = (table["input_shape"], table["input_shape"])
    return _section(NetworkSpec, values)


def _section(kind: type[Section], table: Mapping[str, Any]) -> Section:
    known = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    unknown = set(table) - known
    if unknown:
        raise ConfigError(f"unknown key {', '.join(sorted(unknown))} for {kind.__name__}")
    for name, value in table.items():
        choices = CHOICES.get((kind.__name__, name))
        if choices and value not in choices:
            raise ConfigError(f"{name} is {value!r}; write one of {', '.join(choices)}")
    if "resolutions" in table:
        sides = tuple((int(side), float(until)) for side, until in table["resolutions"])
        table = {**table, "resolutions": sides}
    return kind(**table)


def config_text(config: TrainConfig) -> str:
    """Return a run's settings as TOML that ``read_config`` reads back as the same settings.

    Parameters
    ----------
    config : TrainConfig
        Settings.

    Returns
    -------
    str
    """
    lines = [f"seed = {config.seed}"]
    for item in fields(TrainConfig):
        if item.name == "seed":
            continue
        lines.append(f"\n[{'network' if item.name == 'spec' else item.name}]")
        section = getattr(config, item.name)
        values = {part.name: getattr(section, part.name) for part in fields(section)}
        lines += [f"{name} = {_toml(value)}" for name, value in values.items() if value not in (None, "")]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(part)}" for key, part in value.items()) + " }"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(part) for part in value) + "]"
    # Numbers, truth values and strings are written in JSON as in TOML.
    return json.dumps(value, ensure_ascii=False)
