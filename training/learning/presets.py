"""The named training configurations that come with the package.

Eighteen, ``STAGE-ARCHITECTURE``, are the networks of Danilov et al. 2022: nine architectures at both stages,
with their best settings (Tables 5 and 6). ``small-lungs`` and ``small-opacity`` learn from few films in
minutes on a CPU.
"""

from __future__ import annotations

from pathlib import Path

from training.learning.config import ConfigError, TrainConfig, read_config

FOLDER = Path(__file__).parent.parent / "configs" / "presets"
"""Where the TOML files lie."""

ARCHITECTURES = (
    "unet",
    "unetplusplus",
    "deeplabv3",
    "deeplabv3plus",
    "fpn",
    "linknet",
    "pspnet",
    "pan",
    "manet",
)
"""The nine of the paper, in its order, as segmentation-models-pytorch calls them."""

PAPER = tuple(f"{stage}-{architecture}" for stage in ("lungs", "opacity") for architecture in ARCHITECTURES)
"""The eighteen presets of the paper, stage I first."""

SMALL = ("small-lungs", "small-opacity")
"""The two presets for a first try."""


def names() -> tuple[str, ...]:
    """Return the names of all presets: the paper's in its order, then the small ones."""
    return PAPER + SMALL


def path(name: str) -> Path:
    """Return a preset's TOML file.

    Parameters
    ----------
    name : str
        One of ``names()``.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ConfigError
        If there is no such preset.
    """
    if name not in names():
        raise ConfigError(f"there is no preset {name!r}; choose one of {', '.join(names())}")
    return FOLDER / f"{name}.toml"


def read(name: str) -> TrainConfig:
    """Return a preset's settings; ``ConfigError`` if there is no such preset."""
    return read_config(path(name))
