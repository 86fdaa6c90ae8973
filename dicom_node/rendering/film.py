"""The film of a picture: what was found is drawn on it, and nothing is written on it."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from dicom_node.rendering.style import Colour, Palette
from models.result import Result, SeverityResult

Picture = NDArray[np.uint8]
_LINE = 0.0030
"""Width of a lung's outline as a share of the film's long side; the dark halo adds as much in all."""
_HATCH_PERIOD = 0.020
_DASH = 0.018


@dataclass(frozen=True)
class DrawnFilm:
    """A film with its contours.

    Parameters
    ----------
    picture : numpy.ndarray
        uint8, shape (rows, columns, 3), RGB.
    extents : tuple
        First and last row of each zone in it, in ``ZONE_ORDER``; None for a zone without area; empty
        where no zones were told apart.
    """

    picture: Picture = field(repr=False)
    extents: tuple[tuple[int, int] | None, ...] = ()


def draw_film(
    pixels: NDArray[np.float32], result: Result, palette: Palette, size: tuple[int, int]
) -> DrawnFilm:
    """Draw lungs, zones and opacity on a film.

    Every line has a dark halo, so that it stands out from bright bone as well as from dark lung.

    Parameters
    ----------
    pixels : numpy.ndarray
        float32, shape (rows, columns), in [0, 1].
    result : SeverityResult or NotAssessable
        Masks of the same shape.
    palette : Palette
        Colours.
    size : tuple of int
        Rows and columns to be drawn.
    """
    picture = grey_film(pixels, size)
    line = max(2, round(_LINE * max(size)))
    if not isinstance(result, SeverityResult):
        draw_outlines(picture, [(resized_mask(result.lung_mask, size), palette.lung, line)])
        return DrawnFilm(picture)
    zones = np.asarray(
        cv2.resize(result.zone_map, size[::-1], interpolation=cv2.INTER_NEAREST), dtype=np.uint8
    )
    opacity = resized_mask(result.opacity_mask, size) & (zones > 0)
    _hatch(picture, opacity, palette)
    lungs = [resized_mask((result.zone_map >= k) & (result.zone_map < k + 3), size) for k in (1, 4)]
    _dash_zone_borders(picture, zones, palette.lung, line)
    draw_outlines(
        picture,
        [(opacity, palette.opacity, max(2, line * 3 // 4)), *((lung, palette.lung, line) for lung in lungs)],
    )
    return DrawnFilm(picture, tuple(_rows(zones == index + 1) for index in range(len(result.zones))))


def grey_film(pixels: NDArray[np.float32], size: tuple[int, int]) -> Picture:
    """Return a film of values in [0, 1] as an RGB picture of ``size`` rows and columns."""
    smaller = size[0] < pixels.shape[0]
    film = pixels
    if size != pixels.shape:
        method = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
        film = np.asarray(cv2.resize(pixels, size[::-1], interpolation=method), dtype=np.float32)
    grey = cv2.convertScaleAbs(np.clip(film, 0, 1), alpha=255)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), dtype=np.uint8)


def resized_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a mask in ``size`` rows and columns."""
    grey = cv2.resize(mask.astype(np.uint8) * 255, size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(grey >= 128)


def _hatch(picture: Picture, opacity: NDArray[np.bool_], palette: Palette) -> None:
    """Tint the opacity so that what lies below can be seen; hatch it in pairs of light and dark lines."""
    period = max(6, round(_HATCH_PERIOD * max(opacity.shape)))
    width = max(1, period // 12)
    shades = (
        (palette.opacity, palette.hatch_weight),
        ((0, 0, 0), palette.hatch_weight),
        (palette.opacity, palette.tint_weight),
    )
    grey = np.arange(256, dtype=np.float32)[:, None]
    # the film is grey still, so every grey of every kind of line is worked out once
    table = np.stack([grey + weight * (np.array(colour) - grey) + 0.5 for colour, weight in shades])
    rows, columns = np.nonzero(opacity)
    line = np.minimum((rows + columns) % period // width, 2)
    picture[rows, columns] = table.astype(np.uint8)[line, picture[rows, columns, 0]]


def draw_outlines(picture: Picture, outlines: list[tuple[NDArray[np.bool_], Colour, int]]) -> None:
    """Draw all halos, then all lines, so that no line is cut by another's halo."""
    found = [
        (cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], colour, width)
        for mask, colour, width in outlines
    ]
    for contours, _, width in found:
        cv2.drawContours(picture, contours, -1, (0, 0, 0), width + 2 * _halo(width), cv2.LINE_AA)
    for contours, colour, width in found:
        cv2.drawContours(picture, contours, -1, colour, width, cv2.LINE_AA)


def _dash_zone_borders(picture: Picture, zones: Picture, colour: Colour, width: int) -> None:
    """Dash the border between zones of one lung."""
    upper, lower = zones[:-1], zones[1:]
    border = np.zeros(zones.shape, np.uint8)
    border[:-1] = (upper != lower) & (upper > 0) & (lower > 0) & ((upper - 1) // 3 == (lower - 1) // 3)
    period = max(6, round(_DASH * max(zones.shape)))
    border[:, np.arange(zones.shape[1]) % period >= period * 5 // 8] = 0
    around = width + 2 * _halo(width)
    picture[cv2.dilate(border, np.ones((around, around), np.uint8)) > 0] = 0
    picture[cv2.dilate(border, np.ones((width, width), np.uint8)) > 0] = colour


def _halo(width: int) -> int:
    return max(1, width // 2)


def _rows(zone: NDArray[np.bool_]) -> tuple[int, int] | None:
    rows = np.flatnonzero(zone.any(axis=1))
    return (int(rows[0]), int(rows[-1])) if rows.size else None
