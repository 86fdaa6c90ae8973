"""Results drawn on films: lungs, zone cuts, opacity, shares, score (Danilov et al. 2022, Figs 2, 6, 11)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from models.geometry import Box
from models.result import NotAssessable, SeverityResult
from training.judging.figures.observation import Observation

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

CYAN: Colour = (0, 255, 255)
RED: Colour = (255, 0, 0)
YELLOW: Colour = (255, 255, 0)
OPACITY_WEIGHT = 0.41
"""How much of pure red covers opacity, as measured on the paper's Fig. 11."""
MARGIN = 0.04
"""Kept around the lungs' box, as a share of its sides."""


def draw_result(
    pixels: NDArray[np.float32], result: SeverityResult, truth: NDArray[np.bool_] | None
) -> Picture:
    """Draw a result on its film.

    Parameters
    ----------
    pixels : numpy.ndarray
        float32, (rows, columns), in [0, 1].
    result : SeverityResult
        Of the same shape.
    truth : numpy.ndarray or None
        bool, same shape: opacity as drawn by a reader.

    Returns
    -------
    numpy.ndarray
        uint8, (rows, columns, 3), RGB: opacity red and translucent, what a reader drew outlined in yellow,
        lungs outlined in cyan, the cuts between zones dashed in cyan.
    """
    picture = grey_picture(pixels)
    covered = picture[result.opacity_mask].astype(np.float32)
    tint = np.array(RED, np.float32)
    picture[result.opacity_mask] = np.rint(covered + OPACITY_WEIGHT * (tint - covered)).astype(np.uint8)
    width = line_width(picture)
    if truth is not None:
        outline(picture, truth, YELLOW, width)
    for first in (1, 4):
        lung = (result.zone_map >= first) & (result.zone_map < first + 3)
        outline(picture, lung, CYAN, width)
        _dash_cuts(picture, np.where(lung, result.zone_map, 0), width)
    return picture


def draw_readers(pixels: NDArray[np.float32], first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Picture:
    """Outline two readers' masks on a film, the first in cyan, the second in red (Fig. 2a-b).

    Parameters
    ----------
    pixels : numpy.ndarray
        float32, (rows, columns), in [0, 1].
    first, second : numpy.ndarray
        bool, same shape.

    Returns
    -------
    numpy.ndarray
        uint8, (rows, columns, 3), RGB.
    """
    picture = grey_picture(pixels)
    outline(picture, first, CYAN, line_width(picture))
    outline(picture, second, RED, line_width(picture))
    return picture


def show_observation(axes: Axes, observation: Observation, title: str) -> None:
    """Draw one film with its result, cut to the lungs, with each zone's share and the score below.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to.
    observation : Observation
        The film and what the scorer says; without a score, the outline of what was taken for lung is shown.
    title : str
        Above the picture.
    """
    result = observation.result
    axes.set_title(title, fontsize=8)
    axes.set(xticks=[], yticks=[])
    if isinstance(result, NotAssessable):
        picture = grey_picture(observation.pixels)
        outline(picture, result.lung_mask, CYAN, line_width(picture))
        axes.imshow(picture)
        axes.set_xlabel(f"No score: {result.reason}", fontsize=8)
        return
    box = _with_margin(Box.around(result.lung_mask), observation.pixels.shape)
    axes.imshow(draw_result(observation.pixels, result, observation.truth)[box.slices])
    for number, zone in enumerate(result.zones, start=1):
        rows, columns = np.nonzero(result.zone_map[box.slices] == number)
        if len(rows):
            place = float(np.median(columns)), float(np.median(rows))
            text = f"{100 * zone.involved_fraction:.0f}%"
            axes.text(*place, text, color="white", ha="center", va="center", fontsize=8, fontweight="bold")
    axes.set_xlabel(caption(result.score), fontsize=8)


def caption(score: int) -> str:
    """Return the words below a picture, as in the paper's Fig. 11."""
    return f"Severity score: {score} out of 6"


def grey_picture(pixels: NDArray[np.float32]) -> Picture:
    """Return a film as RGB, uint8 (rows, columns, 3)."""
    return np.repeat(np.rint(pixels * 255).astype(np.uint8)[..., None], 3, axis=2)


def line_width(picture: Picture) -> int:
    """Return a line width in pixels that stays visible when the picture is shown small."""
    return max(1, round(max(int(side) for side in picture.shape[:2]) / 300))


def outline(picture: Picture, mask: NDArray[np.bool_], colour: Colour, width: int) -> None:
    """Draw the outline of a mask into a picture."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, colour, width)


def _dash_cuts(picture: Picture, zones: NDArray[np.uint8], width: int) -> None:
    rows = zones.max(axis=1)
    for number in sorted(set(rows[rows > 0].tolist()))[1:]:
        row = int(np.flatnonzero((zones == number).any(axis=1))[0])
        columns = np.flatnonzero(zones[row])
        dashed = columns[(columns - columns[0]) % (10 * width) < 6 * width]
        for offset in range(width):
            picture[min(row + offset, len(picture) - 1), dashed] = CYAN


def _with_margin(box: Box, shape: Sequence[int]) -> Box:
    rows, columns = (round(MARGIN * side) for side in box.shape)
    return Box(
        max(0, box.top - rows),
        max(0, box.left - columns),
        min(shape[0], box.bottom + rows),
        min(shape[1], box.right + columns),
    )
