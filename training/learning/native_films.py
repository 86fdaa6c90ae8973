"""Films at their own size, read one at a time: what the paper's augmentation changes before the resize."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file

from models.checkpoint import NetworkSpec
from models.segmenter import windowed
from training.data.dataset import Film, read_mask, read_pixels

Pixels = NDArray[np.uint8]


class NativeFilms(Protocol):
    """Training films, each with its own number of rows and columns."""

    @property
    def layers(self) -> tuple[str, ...]:
        """What each layer of the maps is; see ``training.learning.losses``."""
        ...

    @property
    def labels(self) -> dict[str, torch.Tensor]:
        """float32, (films, ...) each; NaN where a film has no such label."""
        ...

    def __len__(self) -> int:
        """Return the number of films."""
        ...

    def film(self, index: int) -> tuple[Pixels, Pixels]:
        """Return one film, uint8 (rows, columns), and its maps, uint8 (layers, rows, columns)."""
        ...


@dataclass(frozen=True)
class LungFilms:
    """Whole films with their lung masks, read from their image files.

    Parameters
    ----------
    files : tuple of (pathlib.Path, pathlib.Path)
        Image and mask.
    spec : NetworkSpec
        The network, which names the window.
    """

    files: tuple[tuple[Path, Path], ...]
    spec: NetworkSpec
    layers: tuple[str, ...] = ("lungs",)

    @classmethod
    def of(cls, films: Iterable[Film], spec: NetworkSpec) -> LungFilms:
        """Return the films that have a lung mask, with the first if there are two."""
        return cls(tuple((film.image, film.lung_masks[0]) for film in films if film.lung_masks), spec)

    @property
    def labels(self) -> dict[str, torch.Tensor]:
        """No labels: a lung mask says it all."""
        return {}

    def __len__(self) -> int:
        """Return the number of films."""
        return len(self.files)

    def film(self, index: int) -> tuple[Pixels, Pixels]:
        """Return one film and its mask; see ``NativeFilms``."""
        image, mask = self.files[index]
        return grey_bytes(windowed(read_pixels(image), self.spec)), read_mask(mask).astype(np.uint8)[None]


@dataclass(frozen=True)
class CutFilms:
    """Lungs cut out of films at the films' own size, kept in one file and read from it one by one.

    Parameters
    ----------
    path : pathlib.Path
        What ``save`` wrote.
    layers, labels
        See ``NativeFilms``.
    """

    path: Path
    layers: tuple[str, ...]
    labels: dict[str, torch.Tensor]

    @classmethod
    def save(
        cls,
        crops: Sequence[tuple[Pixels, Pixels]],
        layers: tuple[str, ...],
        labels: dict[str, torch.Tensor],
        path: Path,
    ) -> None:
        """Write crops (film, maps) with their labels into one safetensors file, whole or not at all."""
        tensors = {f"label.{name}": value for name, value in labels.items()}
        for number, (film, maps) in enumerate(crops):
            tensors[f"film.{number}"] = torch.from_numpy(np.ascontiguousarray(film))
            tensors[f"maps.{number}"] = torch.from_numpy(np.ascontiguousarray(maps))
        partial = path.with_suffix(f".{os.getpid()}.part")
        save_file(tensors, partial, {"layers": " ".join(layers)})
        partial.replace(path)

    @classmethod
    def open(cls, path: Path) -> CutFilms:
        """Read the labels of a file that ``save`` wrote; the films stay in the file."""
        with safe_open(path, "pt") as file:
            layers = tuple(file.metadata()["layers"].split())
            names = [name for name in file.keys() if name.startswith("label.")]  # noqa: SIM118 - no mapping
            labels = {name.removeprefix("label."): file.get_tensor(name) for name in names}
        return cls(path, layers, labels)

    def __len__(self) -> int:
        """Return the number of films."""
        return len(next(iter(self.labels.values())))

    def film(self, index: int) -> tuple[Pixels, Pixels]:
        """Return one crop and its maps; see ``NativeFilms``."""
        with safe_open(self.path, "np") as file:
            return file.get_tensor(f"film.{index}"), file.get_tensor(f"maps.{index}")


def grey_bytes(view: NDArray[np.float32]) -> Pixels:
    """Return grey values in [0, 1] as uint8 in 0 to 255, rounded."""
    return np.asarray(np.rint(view * 255.0), np.uint8)
