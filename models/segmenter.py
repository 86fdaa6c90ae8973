"""One network on one radiograph: pixels in, probability map at the radiograph's size out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.checkpoint import NetworkSpec
from models.geometry import Box, CropResize

Forward = Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], float | None]]
"""A network as a function of arrays: float32 (1, channels, rows, columns), normalised, to the logits of the
mask, float32 (rows, columns), and the logit of the classification head (None without one)."""


LEAST_CONTRAST = 0.02
"""Share of the grey scale below which a film shows nothing; stretching it would draw its noise."""


def windowed(pixels: NDArray[np.float32], spec: NetworkSpec) -> NDArray[np.float32]:
    """Stretch a film's grey values so that two percentiles of them become 0 and 1.

    Percentiles are read from every n-th row and column, n chosen to leave about 512 of each.

    Parameters
    ----------
    pixels : numpy.ndarray
        float32, shape (rows, columns), in [0, 1], the whole film.
    spec : NetworkSpec
        Names the percentiles.

    Returns
    -------
    numpy.ndarray
        float32, same shape, in [0, 1]; the film itself where it has a single grey value.
    """
    low, high = _window(pixels, spec.window_percentiles)
    if high <= low:
        return pixels
    stretched = (pixels - np.float32(low)) / np.float32(high - low)
    return np.asarray(np.clip(stretched, 0.0, 1.0), np.float32)


def has_contrast(pixels: NDArray[np.float32], percentiles: tuple[float, float]) -> bool:
    """Say whether a film (as for ``windowed``) has grey values apart enough to be stretched."""
    low, high = _window(pixels, percentiles)
    return high - low > LEAST_CONTRAST


def _window(pixels: NDArray[np.float32], percentiles: tuple[float, float]) -> tuple[float, float]:
    step = max(1, max(pixels.shape) // 512)
    low, high = np.percentile(pixels[::step, ::step], percentiles)
    return float(low), float(high)


def network_view(
    pixels: NDArray[np.float32],
    spec: NetworkSpec,
    geometry: CropResize,
    keep: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Return what a network sees of a film, before normalisation: the only place where that is made.

    Training and inference both call this. Grey values are windowed on the whole film, pixels outside ``keep``
    become 0, then the box is cut and resized (Danilov et al. 2022, section "Workflow").

    Parameters
    ----------
    pixels : numpy.ndarray
        float32, shape (rows, columns), in [0, 1], MONOCHROME2 sense.
    spec : NetworkSpec
        The network.
    geometry : CropResize
        Which part, and to which shape (training may ask for another than ``spec.input_shape``).
    keep : numpy.ndarray, optional
        bool, shape (rows, columns): the lungs, for stage II.

    Returns
    -------
    numpy.ndarray
        float32, shape ``geometry.network_shape``, in [0, 1].
    """
    film = windowed(pixels, spec)
    if keep is not None:
        film = film * keep
    return geometry.forward(film)


def normalised(views: torch.Tensor, spec: NetworkSpec) -> torch.Tensor:
    """Repeat grey views to the network's channels, subtract the mean and divide by the deviation.

    Parameters
    ----------
    views : torch.Tensor
        float32, (batch, 1, rows, columns), in [0, 1].
    spec : NetworkSpec
        Names mean and deviation of each channel.

    Returns
    -------
    torch.Tensor
        float32, (batch, channels, rows, columns).
    """
    mean = views.new_tensor(spec.channel_mean).view(1, -1, 1, 1)
    std = views.new_tensor(spec.channel_std).view(1, -1, 1, 1)
    return (views - mean) / std


@dataclass(frozen=True)
class TorchForward:
    """A torch network as a ``Forward``.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode, on ``device``.
    device : torch.device
        Where it runs.
    """

    network: nn.Module
    device: torch.device

    def __call__(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], float | None]:
        """Run the network on a batch of one; see ``Forward``."""
        with torch.inference_mode():
            answer = self.network(torch.from_numpy(batch).to(self.device))
        mask, label = answer if isinstance(answer, tuple) else (answer, None)
        logits = mask[0, 0].float().cpu().numpy()
        return logits, None if label is None else float(label.float().cpu().reshape(()))


@dataclass(frozen=True)
class Segmentation:
    """A network's answer, still in the network's geometry.

    Parameters
    ----------
    probability : numpy.ndarray
        float32, shape ``geometry.network_shape``, in [0, 1]; not refined by the classification head.
    presence : float or None
        Probability that there is anything at all; None without a classification head.
    geometry : CropResize
        The way back to the radiograph.
    presence_threshold : float
        Least ``presence`` at which the map counts.
    """

    probability: NDArray[np.float32]
    presence: float | None
    geometry: CropResize
    presence_threshold: float = 0.5

    @property
    def refined(self) -> NDArray[np.float32]:
        """The map, or zeros if the classification head says "nothing" (Danilov et al. 2022, Eq. 1-2)."""
        if self.presence is not None and self.presence < self.presence_threshold:
            return np.zeros_like(self.probability)
        return self.probability

    def at_source(self) -> NDArray[np.float32]:
        """Return the refined map at the radiograph's size, float32 (rows, columns), 0 outside the crop."""
        return self.geometry.inverse(self.refined)


@dataclass(frozen=True)
class Segmenter:
    """A network with its spec.

    Parameters
    ----------
    spec : NetworkSpec
        What the network expects.
    forward : Forward
        The network as a function of arrays.
    """

    spec: NetworkSpec
    forward: Forward

    def segment(
        self,
        pixels: NDArray[np.float32],
        box: Box | None = None,
        keep: NDArray[np.bool_] | None = None,
    ) -> Segmentation:
        """Run the network on a film, or on a part of it.

        Parameters
        ----------
        pixels : numpy.ndarray
            float32, shape (rows, columns), in [0, 1], MONOCHROME2 sense.
        box : Box, optional
            The part to look at; the whole film if left out.
        keep : numpy.ndarray, optional
            bool, shape (rows, columns): pixels that are not True are shown as 0.

        Returns
        -------
        Segmentation
        """
        shape = (pixels.shape[0], pixels.shape[1])
        geometry = CropResize(shape, box or Box.whole(shape), self.spec.input_shape, self.spec.resize)
        view = network_view(pixels, self.spec, geometry, keep)
        batch = normalised(torch.from_numpy(view)[None, None], self.spec).contiguous().numpy()
        logits, label = self._answer(batch)
        presence = None if label is None else float(_sigmoid(np.float32(label)))
        return Segmentation(_sigmoid(logits), presence, geometry, self.spec.presence_threshold)

    def _answer(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], float | None]:
        logits, label = self.forward(batch)
        if not self.spec.mirrored:
            return logits, label
        mirrored, mirrored_label = self.forward(np.ascontiguousarray(batch[..., ::-1]))
        mean = np.asarray((logits + mirrored[:, ::-1]) / 2, np.float32)
        if label is None or mirrored_label is None:
            return mean, None
        return mean, (label + mirrored_label) / 2


def _sigmoid(logits: NDArray[np.float32] | np.float32) -> NDArray[np.float32]:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -60, 60))), np.float32)
