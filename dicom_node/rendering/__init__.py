"""The picture of a result: the film, what was found on it, and what it means, readable at any size.

A page has four parts: above the film the research label and the total, large enough for a thumbnail of 256
pixels; beside the film the patient's sides and the six zones; below it the total over time, the legend and
the small print; the film in the middle carries contours and never text. An explanation is a page of its
own, see ``rendering.explanation``. Nothing here knows DICOM.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dicom_node.rendering.explanation import render_explanation
from dicom_node.rendering.film import Picture, draw_film
from dicom_node.rendering.footer import Footer
from dicom_node.rendering.header import draw_header, header_height
from dicom_node.rendering.layout import Page, film_size, page_width
from dicom_node.rendering.pen import Pen
from dicom_node.rendering.style import COLOUR, MONOCHROME, Circumstances, Palette
from dicom_node.rendering.zones import SIDE_MARKERS_HEIGHT, draw_side_markers, draw_zones, least_stage
from models.result import Result, SeverityResult

__all__ = [
    "COLOUR",
    "MONOCHROME",
    "Circumstances",
    "Palette",
    "page_of",
    "render_explanation",
    "render_overlay",
]


def render_overlay(
    pixels: NDArray[np.float32],
    result: Result,
    circumstances: Circumstances | None = None,
    palette: Palette = COLOUR,
) -> Picture:
    """Draw a result on its film.

    Parameters
    ----------
    pixels : numpy.ndarray
        float32, shape (rows, columns), in [0, 1], display geometry: patient's right at image left.
    result : SeverityResult or NotAssessable
        Masks of the same shape.
    circumstances : Circumstances, optional
        Dates, earlier results, warnings.
    palette : Palette
        Colours; with ``MONOCHROME`` the picture is grey and says the same.

    Returns
    -------
    numpy.ndarray
        uint8, shape (rows, columns, 3), RGB: the film with margins, ``rendering.layout.NARROWEST_PX`` to
        ``WIDEST_PX`` wide.
    """
    known = circumstances or Circumstances()
    page, footer = _plan((pixels.shape[0], pixels.shape[1]), result, known)
    film = draw_film(pixels, result, palette, (page.film_rows, page.film_columns))
    picture = np.zeros((page.height, page.width, 3), np.uint8)
    top, left = page.film_top, page.film_left
    picture[top - 1 : top + page.film_rows + 1, left - 1 : left + page.film_columns + 1] = palette.faint
    picture[top : top + page.film_rows, left : left + page.film_columns] = film.picture
    image = Image.fromarray(picture)
    pen = Pen(ImageDraw.Draw(image), page.unit)
    draw_header(pen, palette, result, known)
    draw_side_markers(pen, palette, page)
    if isinstance(result, SeverityResult):
        draw_zones(pen, palette, page, result, (known.change(result), film.extents))
    footer.draw(pen, palette, page.header + page.stage, result)
    return np.asarray(image)


def page_of(shape: tuple[int, int], result: Result, circumstances: Circumstances | None = None) -> Page:
    """Return where film and margins lie in the picture that ``render_overlay`` draws.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the film's pixels.
    result : SeverityResult or NotAssessable
        What is drawn.
    circumstances : Circumstances, optional
        As for ``render_overlay``.
    """
    return _plan(shape, result, circumstances or Circumstances())[0]


def _plan(shape: tuple[int, int], result: Result, circumstances: Circumstances) -> tuple[Page, Footer]:
    size = film_size(*shape)
    width = page_width(size)
    unit = width / 100
    scored = isinstance(result, SeverityResult)
    footer = Footer.of(result, circumstances, unit)
    change = circumstances.change(result)
    least = least_stage(change) if scored else SIDE_MARKERS_HEIGHT
    page = Page(
        width,
        *size,
        header=header_height(result, unit, change is not None),
        stage=max(least, (size[0] + 2) / unit),
        footer=footer.height(scored),
    )
    return page, footer
