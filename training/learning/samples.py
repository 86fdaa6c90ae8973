"""Films as tensors that stay in memory: views, maps and labels, made with the code that inference uses."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from models.checkpoint import NetworkSpec
from models.geometry import Box, CropResize, Shape
from models.segmenter import network_view
from training.data.dataset import Film, read_mask, read_pixels
from training.learning.native_films import grey_bytes


@dataclass(frozen=True)
class Samples:
    """Training or validation films.

    Parameters
    ----------
    views : torch.Tensor
        uint8, (films, 1, rows, columns): what the network sees, before normalisation, times 255.
    maps : torch.Tensor
        uint8, (films, layers, rows, columns): label images, same geometry.
    layers : tuple of str
        What each layer is; see ``training.learning.losses``.
    labels : dict of str to torch.Tensor
        float32, (films, …) each; NaN where a film has no such label.
    """

    views: torch.Tensor
    maps: torch.Tensor
    layers: tuple[str, ...]
    labels: dict[str, torch.Tensor]

    def __len__(self) -> int:
        """Return the number of films."""
        return self.views.shape[0]

    def layer(self, name: str) -> torch.Tensor:
        """Return one layer of the maps, uint8, (films, 1, rows, columns)."""
        return named_layers(self.maps, self.layers)[name]

    def to(self, device: torch.device) -> Samples:
        """Return the same samples on another device."""
        labels = {name: value.to(device) for name, value in self.labels.items()}
        return Samples(self.views.to(device), self.maps.to(device), self.layers, labels)


def named_layers(maps: torch.Tensor, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return the layers of maps (batch, layers, rows, columns) by name, (batch, 1, rows, columns) each."""
    return {name: maps[:, index : index + 1] for index, name in enumerate(names)}


def lung_samples(films: Sequence[Film], spec: NetworkSpec, shape: Shape) -> Samples:
    """Whole films with their lung masks.

    Of two masks of a film the first counts: two ways to outline a lung teach neither.

    Parameters
    ----------
    films : sequence of Film
        Those without a lung mask are left out.
    spec : NetworkSpec
        The network.
    shape : tuple of int
        (rows, columns) of the tensors.

    Returns
    -------
    Samples
        One layer, ``lungs`` (0 or 1); no labels.
    """
    views, maps = [], []
    for film in films:
        pixels = read_pixels(film.image)
        source = (pixels.shape[0], pixels.shape[1])
        geometry = CropResize(source, Box.whole(source), shape, spec.resize)
        view = grey_bytes(network_view(pixels, spec, geometry))
        if film.lung_masks:
            views.append(view)
            drawn = read_mask(film.lung_masks[0]).astype(np.float32)
            maps.append((geometry.forward(drawn) > 0.5).astype(np.uint8))
    return Samples(stacked(views), stacked(maps), ("lungs",), {})


def save_samples(samples: Samples, path: Path) -> None:
    """Keep samples in a file, whole or not at all, so that a run that goes on need not make them again."""
    tensors = {f"label.{name}": value for name, value in samples.labels.items()}
    tensors |= {"views": samples.views, "maps": samples.maps}
    partial = path.with_suffix(f".{os.getpid()}.part")
    contiguous = {name: value.contiguous() for name, value in tensors.items()}
    save_file(contiguous, partial, {"layers": " ".join(samples.layers)})
    partial.replace(path)


def load_samples(path: Path) -> Samples:
    """Read what ``save_samples`` wrote."""
    with safe_open(path, "pt") as file:
        layers = tuple(file.metadata()["layers"].split())
    tensors = load_file(path)
    views, maps = tensors.pop("views"), tensors.pop("maps")
    return Samples(views, maps, layers, {name.removeprefix("label."): tensors[name] for name in tensors})


def nearest(labels: NDArray[np.uint8], geometry: CropResize) -> NDArray[np.uint8]:
    """Return a label image, uint8 (rows, columns), as ``geometry`` shows it; no label is new."""
    inner, box = geometry.inner, geometry.box
    rows = box.top + ((np.arange(inner.shape[0]) + 0.5) * box.shape[0] / inner.shape[0]).astype(int)
    columns = box.left + ((np.arange(inner.shape[1]) + 0.5) * box.shape[1] / inner.shape[1]).astype(int)
    result = np.zeros(geometry.network_shape, np.uint8)
    result[inner.slices] = labels[np.ix_(rows, columns)]
    return result


def stacked(arrays: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    """Return equal (rows, columns) arrays as one (films, 1, rows, columns) tensor."""
    return torch.from_numpy(np.stack(arrays))[:, None].contiguous()
