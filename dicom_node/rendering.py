"""The picture of a result: the film, what was found on it, and what it means, readable at any size.

Text stands in margins around the film, never on it; nothing here knows DICOM.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dicom_node.identity import RESEARCH_LABEL
from dicom_node.pixels import shrink
from models.result import NotAssessable, NotAssessableReason, Result, SeverityResult, Side, ZoneInvolvement

LONGEST_FILM_SIDE_PX = 1536
"""The film is drawn at most this long: sharp on a diagnostic screen, 7 MB as an RGB object."""
SHORTEST_FILM_SIDE_PX = 768
"""Small films are enlarged so that lines and letters stay finer than the anatomy."""

REASON_IN_WORDS: dict[NotAssessableReason, str] = {
    NotAssessableReason.NO_LUNGS: "no lungs were found",
    NotAssessableReason.ONE_LUNG: "only one lung was found",
    NotAssessableReason.IMPLAUSIBLE_LUNGS: "the lung outlines are not plausible",
}

_Picture = NDArray[np.uint8]
_Colour = tuple[int, int, int]
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_SMALL_PRINT_LINES = 6


@dataclass(frozen=True)
class Palette:
    """Colours of a picture, RGB.

    Parameters
    ----------
    lung, opacity, involved, text, muted, warning : tuple of int
        Outline of the lungs and zone lines; opacity; labels of involved zones; text; small print; the
        research label and the reason for no score.
    opacity_weight : float
        How much of the opacity's colour covers the film, in [0, 1].
    """

    lung: _Colour = (0, 220, 220)
    opacity: _Colour = (255, 40, 40)
    involved: _Colour = (255, 120, 110)
    text: _Colour = (240, 240, 240)
    muted: _Colour = (185, 185, 185)
    warning: _Colour = (255, 200, 90)
    opacity_weight: float = 0.32


COLOUR = Palette()
MONOCHROME = Palette(
    lung=(255, 255, 255),
    opacity=(255, 255, 255),
    involved=(255, 255, 255),
    warning=(240, 240, 240),
    opacity_weight=0.22,
)


def render_overlay(
    pixels: NDArray[np.float32],
    result: Result,
    captions: tuple[str, ...] = (),
    palette: Palette = COLOUR,
) -> _Picture:
    """Draw a result on its film.

    Parameters
    ----------
    pixels : numpy.ndarray
        float32, shape (rows, columns), in [0, 1], display geometry: patient's right at image left.
    result : SeverityResult or NotAssessable
        Masks of the same shape.
    captions : tuple of str
        Lines for the small print below the film, such as warnings; no patient data.
    palette : Palette
        Colours; ``MONOCHROME`` also outlines the opacity, which colour then no longer shows.

    Returns
    -------
    numpy.ndarray
        uint8, shape (rows, columns, 3), RGB: the film, its long side between
        ``SHORTEST_FILM_SIDE_PX`` and ``LONGEST_FILM_SIDE_PX``, with margins for text around it.
    """
    film = _draw_film(pixels, result, palette)
    layout = _Layout.around(film.shape[0], film.shape[1])
    picture = np.zeros((layout.height, layout.width, 3), np.uint8)
    picture[layout.top : layout.top + layout.rows, layout.side : layout.side + layout.columns] = film
    image = Image.fromarray(picture)
    writer = _Writer(ImageDraw.Draw(image), layout, palette)
    writer.heading(result)
    writer.side_markers()
    if isinstance(result, SeverityResult):
        writer.zones(result)
    writer.small_print((*_small_print(result), *captions))
    return np.asarray(image)


def zone_in_words(zone: ZoneInvolvement, result: SeverityResult) -> str:
    """Return what a zone shows, for labels: ``42 %``, or its score where no area was measured."""
    return f"{zone.percent:.0f} %" if result.measures_opacity else f"score {zone.score}"


def _small_print(result: Result) -> tuple[str, ...]:
    algorithm = result.algorithm
    weights = " ".join(f"{role} {digest[:8]}" for role, digest in sorted(algorithm.weights.items()))
    lines: tuple[str, ...] = (
        f"{algorithm.name} {algorithm.version}, algorithm {algorithm.digest[:8]}, weights {weights}",
    )
    if isinstance(result, SeverityResult) and result.measures_opacity:
        lines += ("Percent: opacified share of the zone's area, whatever its cause.",)
    if isinstance(result, NotAssessable):
        lines = (f"No score was given. {result.message}", *lines)
    return lines + result.warnings


def _draw_film(pixels: NDArray[np.float32], result: Result, palette: Palette) -> _Picture:
    film = _fit(pixels)
    shape = (film.shape[0], film.shape[1])
    picture: _Picture = np.repeat((film * 255 + 0.5).astype(np.uint8)[..., None], 3, axis=2)
    line = max(1, round(max(shape) / 512))
    if isinstance(result, NotAssessable):
        _outline(picture, _resized(result.lung_mask, shape), palette.lung, line)
        return picture
    zones = np.asarray(
        cv2.resize(result.zone_map, shape[::-1], interpolation=cv2.INTER_NEAREST), dtype=np.uint8
    )
    opacity = _resized(result.opacity_mask, shape) & (zones > 0)
    tint = np.array(palette.opacity, np.float32)
    covered = picture[opacity].astype(np.float32)
    picture[opacity] = (covered + palette.opacity_weight * (tint - covered)).astype(np.uint8)
    _outline(picture, opacity, palette.opacity, max(1, line // 2))
    _dash_zone_lines(picture, zones, palette.lung, line)
    for first in (1, 4):
        _outline(picture, (zones >= first) & (zones < first + 3), palette.lung, line)
    return picture


def _fit(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    longest = max(pixels.shape)
    if longest >= SHORTEST_FILM_SIDE_PX:
        return shrink(pixels, LONGEST_FILM_SIDE_PX)
    factor = SHORTEST_FILM_SIDE_PX / longest
    size = (round(pixels.shape[1] * factor), round(pixels.shape[0] * factor))
    enlarged = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(enlarged, 0, 1), dtype=np.float32)


def _resized(mask: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    resized = cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized >= 0.5)


def _outline(picture: _Picture, mask: NDArray[np.bool_], colour: _Colour, width: int) -> None:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, colour, width, cv2.LINE_AA)


def _dash_zone_lines(picture: _Picture, zones: _Picture, colour: _Colour, width: int) -> None:
    """Dash the border between zones of one lung."""
    upper, lower = zones[:-1], zones[1:]
    border = np.zeros(zones.shape, np.uint8)
    border[:-1] = (upper != lower) & (upper > 0) & (lower > 0) & ((upper - 1) // 3 == (lower - 1) // 3)
    period = 12 * width
    border[:, np.arange(zones.shape[1]) % period >= period * 2 // 3] = 0
    picture[cv2.dilate(border, np.ones((width, width), np.uint8)) > 0] = colour


@dataclass(frozen=True)
class _Layout:
    """Where film and margins lie, in pixels."""

    rows: int
    columns: int
    unit: int
    top: int
    side: int
    bottom: int

    @classmethod
    def around(cls, rows: int, columns: int) -> _Layout:
        unit = max(14, round(max(rows, columns) / 46))
        return cls(
            rows, columns, unit, top=round(3.6 * unit), side=round(5.6 * unit), bottom=round(8.6 * unit)
        )

    @property
    def width(self) -> int:
        return self.columns + 2 * self.side

    @property
    def height(self) -> int:
        return self.rows + self.top + self.bottom


@dataclass(frozen=True)
class _Writer:
    """Puts text into the margins."""

    draw: ImageDraw.ImageDraw
    layout: _Layout
    palette: Palette

    def heading(self, result: Result) -> None:
        """Score, or that there is none and why; below it the research label."""
        if isinstance(result, SeverityResult):
            title = f"AI lung opacity severity  {result.score} of {result.score_max}"
            if result.measures_opacity:
                title += f"   ({result.percent:.0f} % of lung area)"
        else:
            title = f"AI lung severity NOT ASSESSABLE: {REASON_IN_WORDS[result.reason]}"
        unit = self.layout.unit
        self._line(0.5 * unit, title, 1.35, self.palette.text)
        self._line(2.15 * unit, RESEARCH_LABEL.upper(), 1.0, self.palette.warning)

    def side_markers(self) -> None:
        """R and L beside the film, by the patient's side."""
        layout = self.layout
        font = _font(1.8 * layout.unit)
        y = layout.top + 0.4 * layout.unit
        self.draw.text((layout.side / 2, y), "R", self.palette.text, font, anchor="ma")
        self.draw.text((layout.width - layout.side / 2, y), "L", self.palette.text, font, anchor="ma")

    def zones(self, result: SeverityResult) -> None:
        """Each zone's share and points beside it, with a thin line to its border."""
        layout = self.layout
        scale = layout.rows / result.zone_map.shape[0]
        heights = _label_heights(result, scale, layout)
        for index, zone in enumerate(result.zones):
            right = zone.side is Side.RIGHT
            edge = _outer_edge(result.zone_map == index + 1, leftmost=right)
            self._zone_label(zone, zone_in_words(zone, result), heights[index])
            if edge is not None:
                x, y = layout.side + edge[0] * scale, layout.top + edge[1] * scale
                start = (
                    layout.side - 0.3 * layout.unit
                    if right
                    else layout.width - layout.side + 0.3 * layout.unit
                )
                width = max(1, layout.unit // 16)
                self.draw.line([(start, heights[index]), (x, y)], self.palette.muted, width)

    def _zone_label(self, zone: ZoneInvolvement, words: str, y: float) -> None:
        layout = self.layout
        colour = self.palette.involved if zone.score else self.palette.text
        right = zone.side is Side.RIGHT
        x = layout.side - 0.5 * layout.unit if right else layout.width - layout.side + 0.5 * layout.unit
        anchor = "r" if right else "l"
        if not zone.area_px:
            words = "n/a"
        self.draw.text((x, y), words, colour, _font(1.3 * layout.unit), anchor=f"{anchor}d")
        points = "no area" if not zone.area_px else f"{zone.level}: {zone.score}"
        self.draw.text((x, y), points, colour, _font(layout.unit), anchor=f"{anchor}a")

    def small_print(self, lines: tuple[str, ...]) -> None:
        """Name below the film what made the result and what to know about it."""
        layout = self.layout
        y = layout.top + layout.rows + 0.5 * layout.unit
        self._line(
            y, f"AI result, {RESEARCH_LABEL}. R and L are the patient's sides.", 1.0, self.palette.text
        )
        font = _font(0.85 * layout.unit)
        wrapped = [part for line in dict.fromkeys(lines) for part in self._wrap(line, font)]
        for number, line in enumerate(wrapped[:_SMALL_PRINT_LINES]):
            self._line(y + (1.45 + 1.1 * number) * layout.unit, line, 0.85, self.palette.muted)

    def _wrap(self, text: str, font: _Font) -> list[str]:
        lines = [""]
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            if self.draw.textlength(longer, font) > self._room and lines[-1]:
                lines.append(word)
            else:
                lines[-1] = longer
        return lines

    @property
    def _room(self) -> float:
        return self.layout.width - 1.2 * self.layout.unit

    def _line(self, y: float, text: str, size: float, colour: _Colour) -> None:
        """Write a line at the left margin, in smaller letters if it would not fit."""
        points = size * self.layout.unit
        length = self.draw.textlength(text, _font(points))
        font = _font(points * min(1.0, self._room / max(length, 1)))
        self.draw.text((0.6 * self.layout.unit, y), text, colour, font)


def _label_heights(result: SeverityResult, scale: float, layout: _Layout) -> list[float]:
    """Heights of the six labels, at the middle of each zone, pushed apart where they would touch."""
    heights: list[float] = []
    for index in range(len(result.zones)):
        rows = np.flatnonzero((result.zone_map == index + 1).any(axis=1))
        place = rows.mean() * scale if rows.size else (0.25 + 0.25 * (index % 3)) * layout.rows
        height = layout.top + place
        if index % 3:
            height = max(height, heights[-1] + 3.2 * layout.unit)
        heights.append(height)
    return heights


def _outer_edge(mask: NDArray[np.bool_], leftmost: bool) -> tuple[float, float] | None:
    """Return (column, row) where the zone's middle row meets the lung's outer border."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return None
    row = int(rows[rows.size // 2])
    columns = np.flatnonzero(mask[row])
    return float(columns[0] if leftmost else columns[-1]), float(row)


def _font(points: float) -> _Font:
    return ImageFont.load_default(points)
