"""The six optimisers of the two-stage workflow (Danilov et al. 2022, Table C1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from torch import nn, optim

from training.learning.config import ConfigError

OPTIMIZERS: Mapping[str, Callable[..., optim.Optimizer]] = MappingProxyType(
    {
        "sgd": optim.SGD,
        "rmsprop": optim.RMSprop,
        "adam": optim.Adam,
        "adamw": optim.AdamW,
        "adam_amsgrad": partial(optim.Adam, amsgrad=True),
        "adamw_amsgrad": partial(optim.AdamW, amsgrad=True),
    }
)
"""By the names that a configuration uses; what is not set is the library's default."""


def build_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
    learning_rate: float,
    weight_decay: float | None = None,
) -> optim.Optimizer:
    """Build an optimiser.

    Parameters
    ----------
    name : str
        A key of ``OPTIMIZERS``.
    parameters : iterable of torch.nn.Parameter or of parameter groups
        What it changes.
    learning_rate : float
        Above 0.
    weight_decay : float, optional
        The library's default if left out: 0.01 for AdamW, 0 for the others.

    Returns
    -------
    torch.optim.Optimizer

    Raises
    ------
    ConfigError
        If there is no such optimiser, or a number is out of range.
    """
    if name not in OPTIMIZERS:
        raise ConfigError(f"there is no optimizer {name!r}; choose one of {', '.join(OPTIMIZERS)}")
    if not learning_rate > 0:
        raise ConfigError(f"the learning rate {learning_rate} is not above 0; try 1e-3")
    options: dict[str, Any] = {} if weight_decay is None else {"weight_decay": weight_decay}
    try:
        return OPTIMIZERS[name](parameters, lr=learning_rate, **options)
    except ValueError as error:
        raise ConfigError(f"the optimizer {name} cannot be used: {error}; correct the setting") from error
