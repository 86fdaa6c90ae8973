"""The picture of an explanation: the film, and beside it what in it speaks for 1, 2 and 3 points of a zone.

Colours are those of Signoroni et al. (2021, Fig. 10): on the lungs, white for what adds nothing, and the more
of a class's colour the more it adds. Orange and red are alike to some eyes and black is lost on a film, so
none of it rests on hue: each class has a panel under its name, with a scale of its own, lungs have an
outline, and what adds at least half of the most is framed. Of the film only fine detail shows through the
colours: broad shadows would pass for them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dicom_node.identity import RESEARCH_LABEL
from dicom_node.rendering.film import Picture, draw_film, draw_outlines, grey_film, resized_mask
from dicom_node.rendering.footer import small_print
from dicom_node.rendering.layout import EDGE
from dicom_node.rendering.pen import BOLD, HEAVY, Pen, Words, wrap
from dicom_node.rendering.style import COLOUR, MONOCHROME, ZONE_LETTERS, Circumstances, Colour, Palette
from models.result import Explanation, SeverityResult

WIDTH_PX = 2400
"""Of the whole picture: four films beside each other on a landscape screen."""
CLASS_COLOURS: tuple[Colour, Colour, Colour] = ((229, 155, 0), (203, 43, 0), (0, 0, 0))
"""Full colour of what speaks for 1, 2 and 3 points (Signoroni et al. 2021, Fig. 10)."""
FRAMED = 0.5
"""Least importance that is framed."""
_GREYS: tuple[Colour, Colour, Colour] = ((0, 0, 0),) * 3
_PANELS = 4
_TALLEST_FILM_PX = 900
_GAP = 1.6
_HEADER = 12.6
_TITLES = 5.4
_SCALE = 4.4
_PRINT, _PRINT_STEP = 0.85, 1.6
_ROOM = 100 - 2 * EDGE
_PANEL = (_ROOM + _GAP) / _PANELS - _GAP
"""Width of a panel, which a narrow film does not fill."""
_LINE = 0.0035
"""Width of a lung's outline as a share of the drawn film's long side."""
_DETAIL = 0.02
"""Width of fine detail as a share of the drawn film's long side."""
_GROUND = 0.94
"""Lightness of plain white, among detail that is lighter and darker."""


@dataclass(frozen=True)
class Panels:
    """Where the film and the three maps lie in a picture.

    Parameters
    ----------
    rows, columns : int
        Of each film as drawn, in pixels.
    top : int
        First row of the films, in pixels.
    lefts : tuple of int
        First column of each, in pixels: the film, then the maps for 1, 2 and 3 points.
    """

    rows: int
    columns: int
    top: int
    lefts: tuple[int, ...]

    @classmethod
    def of(cls, shape: tuple[int, int]) -> Panels:
        """Place films of ``shape`` (rows, columns)."""
        unit = WIDTH_PX / 100
        pitch, widest = (_PANEL + _GAP) * unit, _PANEL * unit
        scale = min(widest / shape[1], _TALLEST_FILM_PX / shape[0])
        rows, columns = max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))
        first = EDGE * unit + (widest - columns) / 2
        lefts = tuple(round(first + number * pitch) for number in range(_PANELS))
        return cls(rows, columns, round((_HEADER + _TITLES) * unit), lefts)

    def place(self, number: int) -> tuple[slice, slice]:
        """Return rows and columns of a panel's film in the picture."""
        left = self.lefts[number]
        return slice(self.top, self.top + self.rows), slice(left, left + self.columns)


def render_explanation(
    pixels: NDArray[np.float32],
    result: SeverityResult,
    circumstances: Circumstances | None = None,
    palette: Palette = COLOUR,
) -> Picture:
    """Draw what a result's zone scores rest on.

    Parameters
    ----------
    pixels : numpy.ndarray
        float32, shape (rows, columns), in [0, 1], display geometry: patient's right at image left.
    result : SeverityResult
        With an explanation whose maps have the shape of the film.
    circumstances : Circumstances, optional
        Dates and warnings; earlier results are not drawn.
    palette : Palette
        Colours; with ``MONOCHROME`` all three scales run from white to black.

    Returns
    -------
    numpy.ndarray
        uint8, shape (rows, ``WIDTH_PX``, 3), RGB.

    Raises
    ------
    ValueError
        If the result has no explanation.
    """
    if result.explanation is None:
        raise ValueError("this result has no explanation to draw")
    unit = WIDTH_PX / 100
    panels = Panels.of((pixels.shape[0], pixels.shape[1]))
    lines = _small_print(result, result.explanation, circumstances or Circumstances(), unit)
    bottom = panels.top + panels.rows
    picture = np.zeros(
        (bottom + round((_SCALE + len(lines) * _PRINT_STEP + EDGE) * unit), WIDTH_PX, 3), np.uint8
    )
    colours = _GREYS if palette is MONOCHROME else CLASS_COLOURS
    _draw_films(picture, pixels, result, (panels, palette, colours))
    image = Image.fromarray(picture)
    pen = Pen(ImageDraw.Draw(image), unit)
    _draw_header(pen, palette, result)
    for number in range(_PANELS):
        _draw_titles(pen, palette, result, (panels, number))
    for points, colour in enumerate(colours, 1):
        _draw_scale(pen, palette, (panels, points), colour)
    for number, line in enumerate(lines):
        baseline = bottom / unit + _SCALE + _PRINT + number * _PRINT_STEP
        pen.write(EDGE, baseline, line, Words(_PRINT, palette.muted))
    return np.asarray(image)


def _draw_films(
    picture: Picture,
    pixels: NDArray[np.float32],
    result: SeverityResult,
    form: tuple[Panels, Palette, tuple[Colour, Colour, Colour]],
) -> None:
    """Draw the film with its zones, and once for each class with the lungs in white and colour."""
    panels, palette, colours = form
    size = panels.rows, panels.columns
    picture[panels.place(0)] = draw_film(pixels, result, palette, size).picture
    film = grey_film(pixels, size)
    lungs = resized_mask(result.lung_mask, size)
    sides = [resized_mask((result.zone_map >= k) & (result.zone_map < k + 3), size) for k in (1, 4)]
    line = max(2, round(_LINE * max(size)))
    maps = () if result.explanation is None else result.explanation.maps
    for points, (colour, importance) in enumerate(zip(colours, maps, strict=True), 1):
        shares = cv2.resize(importance, size[::-1], interpolation=cv2.INTER_LINEAR)
        shares = np.clip(np.asarray(shares, np.float32), 0, 1) * lungs
        painted = _painted(film, lungs, shares, colour)
        framed = (shares >= FRAMED, palette.text, max(1, line // 2))
        draw_outlines(painted, [framed, *((side, palette.lung, line) for side in sides)])
        picture[panels.place(points)] = painted


def _painted(film: Picture, lungs: NDArray[np.bool_], shares: NDArray[np.float32], colour: Colour) -> Picture:
    """Return the film with white to full colour on the lungs, its fine detail showing through."""
    grey = film[..., 0].astype(np.float32) / 255
    detail = grey - cv2.GaussianBlur(grey, (0, 0), max(1.0, _DETAIL * max(grey.shape)))
    light = np.clip(_GROUND + detail, 0, 1)[lungs][:, None]
    tints = 255 + shares[lungs][:, None] * (np.array(colour, np.float32) - 255)
    painted = film.copy()
    painted[lungs] = np.round(tints * light).astype(np.uint8)
    return painted


def _draw_header(pen: Pen, palette: Palette, result: SeverityResult) -> None:
    label = RESEARCH_LABEL.replace(",", " -").upper()
    pen.write(50, 2.7, label, Words(1.6, palette.warning, BOLD, "middle"), _ROOM)
    pen.line([(EDGE, 3.9), (100 - EDGE, 3.9)], palette.faint)
    score = f"{result.score}/{result.score_max}"
    left = EDGE + pen.write(EDGE, 9.8, score, Words(4.2, palette.text, HEAVY)) + 3
    room = 100 - EDGE - left
    pen.write(left, 7.2, "What the AI's zone scores rest on", Words(1.6, palette.text), room)
    told = ", ".join(
        f"{letter} {zone.score if zone.area_px else 'n/a'}"
        for letter, zone in zip(ZONE_LETTERS, result.zones, strict=True)
    )
    pen.write(left, 9.8, f"Points of the zones: {told}", Words(1.15, palette.muted), room)


def _draw_titles(pen: Pen, palette: Palette, result: SeverityResult, where: tuple[Panels, int]) -> None:
    """Write above a film which class it is about, and the patient's sides."""
    (panels, number), unit = where, pen.unit
    left, right = panels.lefts[number] / unit, (panels.lefts[number] + panels.columns) / unit
    middle, room = (left + right) / 2, 0.45 * (right - left)
    title, which = (
        _class_in_words(result, number) if number else ("FILM", "zones, from above: A B C and D E F")
    )
    pen.write(middle, _HEADER + 1.3, title, Words(1.5, palette.text, BOLD, "middle"), _PANEL)
    pen.write(middle, _HEADER + 3.1, which, Words(0.95, palette.muted, align="middle"), _PANEL)
    baseline = _HEADER + _TITLES - 0.6
    pen.write(left, baseline, "RIGHT", Words(1.1, palette.text, BOLD), room)
    pen.write(right, baseline, "LEFT", Words(1.1, palette.text, BOLD, "right"), room)


def _class_in_words(result: SeverityResult, points: int) -> tuple[str, str]:
    """Return the name of a class, and which zones were given it."""
    zones = zip(ZONE_LETTERS, result.zones, strict=True)
    given = [letter for letter, zone in zones if zone.area_px and zone.score == points]
    which = f"zone{'s' if len(given) > 1 else ''} {', '.join(given)}" if given else "no zone"
    return f"{points} POINT{'S' if points > 1 else ''}", f"given to {which}"


def _draw_scale(pen: Pen, palette: Palette, where: tuple[Panels, int], colour: Colour) -> None:
    """Draw below a film how its colours run from nothing to the most."""
    (panels, number), unit = where, pen.unit
    top = (panels.top + panels.rows) / unit + 0.9
    steps, step = 32, 0.35
    left = (panels.lefts[number] + panels.columns / 2) / unit - steps * step / 2
    for index in range(steps):
        share = index / (steps - 1)
        red, green, blue = (round(255 + share * (part - 255)) for part in colour)
        pen.box((left + index * step, top, left + (index + 1) * step, top + 1.1), (red, green, blue))
    pen.box((left, top, left + steps * step, top + 1.1), None, palette.muted)
    pen.write(left - 0.5, top + 0.95, "nothing", Words(0.85, palette.muted, align="right"))
    pen.write(left + steps * step + 0.5, top + 0.95, "most", Words(0.85, palette.muted))


def _small_print(
    result: SeverityResult, explanation: Explanation, circumstances: Circumstances, unit: float
) -> list[str]:
    """Return how to read the colours, how they came about, and what stands below every picture."""
    facts = explanation.parameters
    most = (
        "The most: the probability of the class, summed over the six zones, falls by "
        f"{facts.get('largest_drop', 'the largest amount')}; one scale for all three maps."
        if explanation.maps.any()
        else "No class became less probable by it: all is white."
    )
    lines = [
        "The maps show which parts of the lungs made this algorithm more certain of a score, whether rightly "
        "or not; they are no outline of disease and no measure of opacity. White: adds nothing. Framed: at "
        "least half of the most.",
        f"{facts.get('occlusions', 'All')} pieces of the lungs were blacked out, one at a time. {most}",
        *small_print(result, circumstances),
    ]
    words = Words(_PRINT, (0, 0, 0))
    return [part for line in dict.fromkeys(lines) for part in wrap(line, words, unit, _ROOM)]
