"""What is searched, and what stays fixed: a tuning file as values."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from models.checkpoint import Role
from training.learning.config import ConfigError, TrainConfig, config_from, read_toml
from training.learning.objectives import build_objective
from training.learning.optimizers import OPTIMIZERS

Choice = str | int | float | bool
Space = dict[str, tuple[Choice, ...]]
"""Values to choose from, by the dotted name of a key of a training configuration."""

SAMPLERS = ("tpe", "random", "grid")
HEAD_ONLY = "objective.classification"
LARGEST_GRID = 100_000


@dataclass(frozen=True)
class StudySettings:
    """How the search goes.

    Parameters
    ----------
    sampler : str
        ``tpe`` (Bayesian optimisation), ``random`` or ``grid``.
    seed : int
        Of the sampler and of the choice of films.
    first_bracket, reduction_factor : int
        A trial that has learned for ``first_bracket`` epochs, and again after ``reduction_factor`` times as
        many, goes on only if it is among the best 1/``reduction_factor`` of the trials that came so far.
    validation_share : float
        Share of the chosen films that a trial is judged by.
    film_share : Mapping of str to float
        Share of the training and validation films that is used at all, by stage.
    """

    sampler: str = "tpe"
    seed: int = 11
    first_bracket: int = 4
    reduction_factor: int = 2
    validation_share: float = 0.2
    film_share: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Tuning:
    """A tuning file.

    Parameters
    ----------
    study : StudySettings
        How the search goes.
    space : Space
        What is searched.
    base : Mapping
        Tables of a training configuration: what stays fixed.
    encoders : Mapping
        Network keys that go with an encoder, by its name.
    """

    study: StudySettings
    space: Space
    base: Mapping[str, Any]
    encoders: Mapping[str, Mapping[str, Any]]

    def for_stage(self, stage: Role) -> Space:
        """Return what is searched at a stage: stage I has no classification head, hence no loss for it."""
        return {
            key: values for key, values in self.space.items() if stage is Role.OPACITY or key != HEAD_ONLY
        }

    def config(self, stage: Role, chosen: Mapping[str, Choice]) -> TrainConfig:
        """Return the training configuration of one choice.

        Parameters
        ----------
        stage : Role
            ``lungs`` or ``opacity``; the latter gets a classification head.
        chosen : Mapping of str to str, int, float or bool
            A value for each key of ``for_stage``.

        Returns
        -------
        TrainConfig

        Raises
        ------
        ConfigError
            If the result is no training configuration.
        """
        content = copy.deepcopy(dict(self.base))
        network = content.setdefault("network", {})
        network["role"] = str(stage)
        if stage is Role.OPACITY:
            network.setdefault("classification_head", True)
            network.setdefault("involvement_threshold", 0.25)
        for key, value in chosen.items():
            table, _, name = key.rpartition(".")
            (content.setdefault(table, {}) if table else content)[name] = value
        network |= self.encoders.get(network.get("encoder", ""), {})
        return config_from(content, "tuning")


def read_tuning(path: Path) -> Tuning:
    """Read a tuning file.

    Parameters
    ----------
    path : pathlib.Path
        A TOML file with the tables ``study``, ``space``, ``base`` and ``encoders``; see
        ``training/configs/tuning.toml``.

    Returns
    -------
    Tuning

    Raises
    ------
    ConfigError
        If the file cannot be read, a key is unknown, or a value cannot be used.
    """
    content = read_toml(path)
    unknown = set(content) - {"study", "space", "base", "encoders"}
    unknown |= {f"study.{key}" for key in content.get("study", {})} - {
        f"study.{item.name}" for item in fields(StudySettings)
    }
    if unknown:
        raise ConfigError(f"{path}: unknown key {', '.join(sorted(unknown))}; remove or correct it")
    space = {
        key: tuple(values) for key, values in content.get("space", {}).items() if isinstance(values, list)
    }
    if not space or len(space) < len(content["space"]) or not all(space.values()):
        raise ConfigError(f"{path}: [space] needs keys with a list of one or more values each")
    study = StudySettings(**content.get("study", {}))
    _check_study(study, path)
    return Tuning(study, space, content.get("base", {}), content.get("encoders", {}))


def check(tuning: Tuning, stage: Role) -> None:
    """Try every value of the space once, beside the first ones of all others.

    Raises
    ------
    ConfigError
        If one makes no training configuration, or names a loss or an optimiser that does not exist.
    """
    space = tuning.for_stage(stage)
    first = {key: values[0] for key, values in space.items()}
    for key, values in space.items():
        for value in values:
            config = tuning.config(stage, {**first, key: value})
            build_objective(config)
            if config.optimizer.name not in OPTIMIZERS:
                known = ", ".join(OPTIMIZERS)
                raise ConfigError(f"there is no optimizer {config.optimizer.name!r}; choose one of {known}")
    combinations = math.prod(len(values) for values in space.values())
    if tuning.study.sampler == "grid" and combinations > LARGEST_GRID:
        raise ConfigError(
            f"a grid of {combinations} combinations is too large; shorten the lists under [space] to "
            f"{LARGEST_GRID} at most, or take the sampler tpe"
        )


def _check_study(study: StudySettings, path: Path) -> None:
    if study.sampler not in SAMPLERS:
        raise ConfigError(f"{path}: sampler is {study.sampler!r}; write one of {', '.join(SAMPLERS)}")
    if study.first_bracket < 1 or study.reduction_factor < 2:
        raise ConfigError(f"{path}: first_bracket must be 1 or more, reduction_factor 2 or more")
    shares = {"validation_share": study.validation_share, **study.film_share}
    for name, share in shares.items():
        if not 0 < share <= 1:
            raise ConfigError(f"{path}: {name} is {share}; write a share above 0, at most 1")
