"""Text and shapes on a picture, measured in hundredths of its width so that it looks the same at any size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from PIL import ImageDraw, ImageFont

from dicom_node.rendering.style import Colour

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Align = Literal["left", "middle", "right"]

_CAPITALS = 0.72
"""Height of capitals and figures as a share of the size of Pillow's own font (Aileron)."""
BOLD = 0.045
HEAVY = 0.03
"""Weights for small and for large letters."""
_BEFORE: dict[Align, float] = {"left": 0.0, "middle": 0.5, "right": 1.0}


@dataclass(frozen=True)
class Words:
    """How words are written.

    Parameters
    ----------
    capitals : float
        Height of capitals in units.
    colour : tuple of int
        RGB.
    weight : float
        What is added on each side of a stroke, as a share of the capitals' height; the font has one weight.
    align : str
        Which end of the words the place given is.
    """

    capitals: float
    colour: Colour
    weight: float = 0.0
    align: Align = "left"


@dataclass(frozen=True)
class Pen:
    """Draws on a picture; every length is in units.

    Parameters
    ----------
    draw : PIL.ImageDraw.ImageDraw
        Where to.
    unit : float
        Pixels of one unit: a hundredth of the picture's width.
    """

    draw: ImageDraw.ImageDraw
    unit: float

    def write(self, x: float, baseline: float, text: str, words: Words, room: float | None = None) -> float:
        """Write a line, in smaller letters where it would be longer than ``room``; return its length."""
        capitals, whole = words.capitals, length(text, words, self.unit)
        if room is not None and whole > room:
            capitals, whole = capitals * room / whole, room
        font = _font(round(capitals * self.unit / _CAPITALS, 1))
        left, top = (x - _BEFORE[words.align] * whole) * self.unit, baseline * self.unit
        if not words.weight:
            self.draw.text((left, top), text, words.colour, font, anchor="ls")
            return whole
        thicker = capitals * self.unit * words.weight
        stroke = max(1, round(thicker))
        # letter by letter, since thicker strokes would grow together
        for number, letter in enumerate(text):
            along = left + stroke + font.getlength(text[:number]) + 2 * number * thicker
            self.draw.text((along, top), letter, words.colour, font, anchor="ls", stroke_width=stroke)
        return whole

    def box(
        self, corners: tuple[float, float, float, float], fill: Colour | None, outline: Colour | None = None
    ) -> None:
        """Draw a rectangle (left, top, right, bottom), filled or not, with a border inside it or not."""
        left, top, right, bottom = (round(value * self.unit) for value in corners)
        border = max(1, round(0.14 * self.unit))
        self.draw.rectangle(
            (left, top, max(left, right - 1), max(top, bottom - 1)), fill, outline, border if outline else 0
        )

    def line(self, points: list[tuple[float, float]], colour: Colour, width: float = 0.16) -> None:
        """Draw a broken line."""
        drawn = [(x * self.unit, y * self.unit) for x, y in points]
        self.draw.line(drawn, colour, max(1, round(width * self.unit)), joint="curve")

    def polygon(self, points: list[tuple[float, float]], colour: Colour) -> None:
        """Fill a polygon."""
        self.draw.polygon([(x * self.unit, y * self.unit) for x, y in points], colour)

    def disc(self, x: float, y: float, radius: float, fill: Colour, outline: Colour) -> None:
        """Draw a filled circle with a border."""
        unit = self.unit
        box = ((x - radius) * unit, (y - radius) * unit, (x + radius) * unit, (y + radius) * unit)
        self.draw.ellipse(box, fill, outline, max(1, round(0.25 * unit)))


def length(text: str, words: Words, unit: float) -> float:
    """Return how long a line is, in units of so many pixels."""
    thin = float(_font(round(words.capitals * unit / _CAPITALS, 1)).getlength(text)) / unit
    return thin + 2 * len(text) * words.capitals * words.weight


def wrap(text: str, words: Words, unit: float, room: float) -> list[str]:
    """Return the lines into which a text falls where ``room`` units are to be had."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and length(longer, words, unit) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


@lru_cache(maxsize=128)
def _font(points: float) -> Font:
    return ImageFont.load_default(points)
