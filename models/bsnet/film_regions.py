"""The six regions in the film's own geometry, by way of the transform to the standard frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.geometry import Shape
from models.zones import Lungs, zone_map

MOST_ROTATION = 20.0
"""Degrees up to which the paper found the score to hold (Signoroni et al. 2021, Fig. 11)."""


@dataclass(frozen=True)
class FilmRegions:
    """The six regions on a film.

    Parameters
    ----------
    zones : numpy.ndarray
        uint8, (rows, columns): 0 outside the lungs, k + 1 inside ``models.result.ZONE_ORDER[k]``; no zone is
        empty unless its lung has fewer than three rows.
    warnings : tuple of str
        What a reader should know of the alignment.
    """

    zones: NDArray[np.uint8]
    warnings: tuple[str, ...]


def film_regions(lungs: Lungs, theta: NDArray[np.float32]) -> FilmRegions:
    """Part the lungs into upper, middle and lower thirds of the standard frame's height.

    Which lung a pixel belongs to is known from the lungs themselves, so that a shifted heart does not give
    part of one lung to the other's regions. Where the transform leaves a region without area, the lungs are
    parted into thirds of equal area instead.

    Parameters
    ----------
    lungs : Lungs
        In the film's geometry.
    theta : numpy.ndarray
        float32, (2, 3): the standard frame's normalised (x, y, 1) to the film's (x, y).

    Returns
    -------
    FilmRegions
    """
    shape = (lungs.right.shape[0], lungs.right.shape[1])
    heights = frame_heights(theta, shape)
    zones = None if heights is None else _zones(lungs, heights)
    if zones is None or np.bincount(zones.ravel(), minlength=7)[1:].min() == 0:
        warning = "the lungs could not be aligned: the regions drawn are thirds of equal area"
        return FilmRegions(zone_map(lungs), (warning,))
    turn = rotation(theta, shape)
    if abs(turn) <= MOST_ROTATION:
        return FilmRegions(zones, ())
    warning = f"the chest appears turned by {abs(turn):.0f}°: the score is tried up to {MOST_ROTATION:.0f}°"
    return FilmRegions(zones, (warning,))


def frame_heights(theta: NDArray[np.float32], shape: Shape) -> NDArray[np.float32] | None:
    """Return how far down the standard frame each pixel of a film lies.

    Parameters
    ----------
    theta : numpy.ndarray
        float32, (2, 3).
    shape : tuple of int
        (rows, columns) of the film.

    Returns
    -------
    numpy.ndarray or None
        float32, ``shape``: 0 at the frame's upper edge, 1 at its lower; beyond these outside the frame. None
        for a transform that mirrors, or that shrinks the frame to next to nothing.
    """
    linear, shift = theta[:, :2].astype(np.float64), theta[:, 2].astype(np.float64)
    if np.linalg.det(linear) < 0.01:
        return None
    across, down = np.linalg.inv(linear)[1]
    x, y = _centres(shape[1]) - shift[0], _centres(shape[0]) - shift[1]
    height = (across * x[None, :] + down * y[:, None] + 1) / 2
    return np.asarray(height, np.float32)


def rotation(theta: NDArray[np.float32], shape: Shape) -> float:
    """Estimate how far the chest is turned on a film.

    Parameters
    ----------
    theta : numpy.ndarray
        float32, (2, 3).
    shape : tuple of int
        (rows, columns) of the film, whose pixels are square.

    Returns
    -------
    float
        Degrees, clockwise as seen: the mean of the turns of the frame's two axes.
    """
    pixels = theta[:, :2].astype(np.float64) * np.array([[shape[1]], [shape[0]]])
    across, down = (axis / np.linalg.norm(axis) for axis in pixels.T)
    return float(np.degrees(np.arctan2(across[1] - down[0], across[0] + down[1])))


def _zones(lungs: Lungs, heights: NDArray[np.float32]) -> NDArray[np.uint8]:
    third = np.clip(np.floor(3 * heights), 0, 2).astype(np.uint8)
    return np.where(lungs.right, 1 + third, np.where(lungs.left, 4 + third, 0)).astype(np.uint8)


def _centres(count: int) -> NDArray[np.float64]:
    return (2 * np.arange(count) + 1) / count - 1
