"""What stage II is shown of a film: all of it, the lungs on black, a crop around both, or a crop a lung."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.geometry import Box
from models.zones import Lungs

CROP_MODES = ("none", "mask", "single", "double")
"""Danilov et al. 2022, public code: ``no_crop``, ``crop``, ``single_crop`` (that of all published networks)
and ``double_crop``."""


@dataclass(frozen=True)
class Crop:
    """One picture for stage II.

    Parameters
    ----------
    name : str
        ``""``, or ``right`` or ``left``: the patient's lung that it shows.
    box : Box
        Where it lies on the film.
    pixels : numpy.ndarray
        uint8, (rows, columns) of the box; black outside the lungs but in mode ``none``.
    opacity : numpy.ndarray
        bool, same shape; nothing outside the lungs but in mode ``none``.
    """

    name: str
    box: Box
    pixels: NDArray[np.uint8]
    opacity: NDArray[np.bool_]


def crops(pixels: NDArray[np.uint8], opacity: NDArray[np.bool_], lungs: Lungs, mode: str) -> tuple[Crop, ...]:
    """Cut a film as one of ``CROP_MODES`` says.

    Unlike the published code, which takes everything inside a lung's rectangle, a crop of one lung shows
    nothing of the other.

    Parameters
    ----------
    pixels : numpy.ndarray
        uint8, (rows, columns).
    opacity : numpy.ndarray
        bool, same shape.
    lungs : Lungs
        Same shape.
    mode : str
        One of ``CROP_MODES``.

    Returns
    -------
    tuple of Crop
        Two in mode ``double``, the patient's right lung first; otherwise one.

    Raises
    ------
    ValueError
        If the mode is unknown.
    """
    whole = Box.whole((pixels.shape[0], pixels.shape[1]))
    both = lungs.right | lungs.left
    if mode == "none":
        return (Crop("", whole, pixels, opacity),)
    if mode == "mask":
        return (_crop("", whole, pixels, opacity, both),)
    if mode == "single":
        return (_crop("", Box.around(both), pixels, opacity, both),)
    if mode == "double":
        named = (("right", lungs.right), ("left", lungs.left))
        return tuple(_crop(name, Box.around(lung), pixels, opacity, lung) for name, lung in named)
    raise ValueError(f"{mode!r} is no crop mode; there are {', '.join(CROP_MODES)}")


def _crop(
    name: str, box: Box, pixels: NDArray[np.uint8], opacity: NDArray[np.bool_], shown: NDArray[np.bool_]
) -> Crop:
    inside = shown[box.slices]
    return Crop(name, box, np.where(inside, pixels[box.slices], np.uint8(0)), opacity[box.slices] & inside)
