"""Where film, margins and text lie in a picture; lengths in units, hundredths of the picture's width."""

from __future__ import annotations

from dataclasses import dataclass

WIDEST_PX = 1536
"""A page of this width fills a 3-megapixel screen in portrait, pixel by pixel."""
NARROWEST_PX = 1024
"""Small films are enlarged so that lines and letters stay finer than the anatomy."""
LONGEST_FILM_PX = 1240

EDGE = 2.4
"""Free space round the page, in units."""
SIDE = 17.0
"""Width of the margins beside the film, in units: room for ``100.0 %`` to be read on a thumbnail."""
BANNER = 6.4
SMALL_PRINT = 1.3
"""Height of the small print's capitals, in units."""
SMALL_PRINT_STEP = 2.35
LEGEND = 5.2
TREND = 20.4


@dataclass(frozen=True)
class Page:
    """The places of a picture.

    Parameters
    ----------
    width : int
        Of the picture, in pixels.
    film_rows, film_columns : int
        Of the film as drawn, in pixels.
    header, stage, footer : float
        Heights of the parts above, beside and below the film, in units; the film stands in the middle
        of the stage.
    """

    width: int
    film_rows: int
    film_columns: int
    header: float
    stage: float
    footer: float

    @property
    def unit(self) -> float:
        """Pixels of one unit."""
        return self.width / 100

    @property
    def height(self) -> int:
        """Of the picture, in pixels."""
        return round((self.header + self.stage + self.footer) * self.unit)

    @property
    def film_left(self) -> int:
        """First column of the film, in pixels."""
        return (self.width - self.film_columns) // 2

    @property
    def film_top(self) -> int:
        """First row of the film, in pixels."""
        return round(self.header * self.unit + (self.stage * self.unit - self.film_rows) / 2)


def film_size(rows: int, columns: int) -> tuple[int, int]:
    """Return rows and columns in which a film is drawn.

    It is reduced to fit beside the margins of the widest page, and enlarged only up to the narrowest.
    """
    widest = WIDEST_PX * (1 - 2 * SIDE / 100)
    scale = min(widest / columns, LONGEST_FILM_PX / rows)
    if scale > 1:
        scale = max(1.0, scale * NARROWEST_PX / WIDEST_PX)
    return max(1, round(rows * scale)), max(1, round(columns * scale))


def page_width(size: tuple[int, int]) -> int:
    """Return the width of the page round a film of ``size`` rows and columns, in pixels."""
    rows, columns = size
    narrowest = max(NARROWEST_PX, round(0.85 * rows))
    return min(WIDEST_PX, max(narrowest, round(columns / (1 - 2 * SIDE / 100))))
