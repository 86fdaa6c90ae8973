"""What a presentation state draws on its film: layers, outlines and texts (PS3.3 C.10.5, C.10.7).

Everything is laid out in the display and carried to the stored image, so that it also fits films that
hang differently from how they are stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import highdicom as hd
import numpy as np
from highdicom.pr import GraphicLayer, GraphicObject, TextObject
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node import regions
from dicom_node.identity import RESEARCH_LABEL
from dicom_node.prior import Change
from dicom_node.report_context import ReportContext
from models.result import NotAssessable, SeverityResult, Side, ZoneInvolvement

_Mask = NDArray[np.bool_]
_Points = NDArray[np.float64]
_LONGEST_LINE = 8000
"""Points: an explicit VR of two length bytes holds 16,383 numbers of four bytes (PS3.5 7.1.2)."""
_MARGIN = 0.01
"""Distance of texts from the picture's border and from the lungs, as a share of the picture."""
_LINE = 0.022
"""Height of one line of text, as a share of the picture's height; viewers choose their own letters."""
_NARROWEST = 0.1
"""Width that a zone's text needs, as a share of the picture's width."""


@dataclass(frozen=True)
class Layer:
    """A graphic layer that a viewer can hide, with its colour (RGB) and grey (share of white)."""

    name: str
    description: str
    colour: tuple[int, int, int]
    grey: float
    graphics: list[GraphicObject] = field(default_factory=list)
    texts: list[TextObject] = field(default_factory=list)

    def described(self, order: int) -> GraphicLayer:
        """Return the layer's item of the Graphic Layer Sequence."""
        item = GraphicLayer(self.name, order, self.description, hd.color.CIELabColor.from_rgb(*self.colour))
        item.GraphicLayerRecommendedDisplayGrayscaleValue = round(self.grey * 0xFFFF)
        return item


def layers(context: ReportContext) -> list[Layer]:
    """Return what is drawn, from the lowest layer to the topmost; none is empty."""
    result = context.result
    lungs = Layer("AI LUNGS", "AI: outlines of the lungs", (0, 200, 220), 0.8)
    zones = Layer("AI ZONES", "AI: outlines of the lung zones", (150, 200, 255), 0.6)
    opacity = Layer("AI OPACITY", "AI: outlines of opacity", (255, 140, 0), 1.0)
    figures = Layer("AI FIGURES", "AI: total and zones in figures", (255, 255, 255), 1.0)
    notice = Layer("AI NOTICE", f"AI: {RESEARCH_LABEL}", (255, 200, 90), 1.0)
    draw = _Drawing(context)
    if isinstance(result, SeverityResult):
        for side, first in ((Side.RIGHT, 1), (Side.LEFT, 4)):
            lung = (result.zone_map >= first) & (result.zone_map < first + 3)
            lungs.graphics.extend(draw.outlines(lung, f"{side} lung"))
        for number, zone in enumerate(result.zones, 1):
            zones.graphics.extend(draw.outlines(result.zone_map == number, f"zone {zone.name}"))
        opacity.graphics.extend(draw.outlines(result.opacity_mask & result.lung_mask, "lung opacity"))
        figures.texts.extend(draw.zone_texts(result))
    else:
        lungs.graphics.extend(draw.outlines(result.lung_mask, "lungs as found, not assessable"))
    heading, label = draw.headings(total_texts(context), (research_text(),))
    figures.texts.insert(0, heading)
    notice.texts.append(label)
    return [layer for layer in (lungs, zones, opacity, figures, notice) if layer.graphics or layer.texts]


def total_texts(context: ReportContext) -> tuple[str, ...]:
    """Return the lines that tell the total, or why there is none, and the change since the last film."""
    result = context.result
    if isinstance(result, NotAssessable):
        return ("AI severity NOT ASSESSABLE", result.message)
    total = f"AI severity {result.score} of {result.score_max}"
    if result.measures_opacity:
        total += f", {result.percent:.1f} % of lung area"
    return (total, change_text(context.change)) if context.change else (total,)


def change_text(change: Change) -> str:
    """Return how total and share differ from the prior's: ``change since 2026-01-02: +1, +12.5 % points``."""
    words = f"change since {change.prior.acquired_at:%Y-%m-%d}: {change.score:+d}"
    return words if change.percent is None else f"{words}, {change.percent:+.1f} % points"


def zone_texts(zone: ZoneInvolvement, result: SeverityResult) -> tuple[str, ...]:
    """Return the lines beside a zone: name, points, share, exactly as they are reported."""
    if not zone.area_px:
        return (zone.name, "not assessable")
    points = f"{zone.score} of {result.score_max // len(result.zones)}"
    return (zone.name, points, f"{zone.percent:.1f} %") if result.measures_opacity else (zone.name, points)


def research_text() -> str:
    """Return the label that every presentation state carries."""
    return f"AI result, {RESEARCH_LABEL}"


@dataclass(frozen=True)
class _Box:
    """Where a text goes, in pixels of the display: left, top, right, bottom."""

    left: float
    top: float
    right: float
    bottom: float


class _Drawing:
    """Lays out on the display, writes in the stored image's coordinates."""

    def __init__(self, context: ReportContext) -> None:
        self._context = context
        self._shape = (context.radiograph.pixels.shape[0], context.radiograph.pixels.shape[1])
        result = context.result
        self._lungs = result.lung_mask
        self._rows = np.flatnonzero(self._lungs.any(axis=1))

    def outlines(self, mask: _Mask, name: str) -> list[GraphicObject]:
        """Return one closed polyline for each part of a mask."""
        return [
            GraphicObject(
                graphic_type="POLYLINE",
                graphic_data=self._stored(part),
                units="PIXEL",
                tracking_id=f"AI {name}"[:64],
                tracking_uid=self._context.uid(f"tracking {name}"),
            )
            for part in map(_shortened, regions.outlines(mask))
        ]

    def headings(self, *texts: Sequence[str]) -> list[TextObject]:
        """Return texts one below the other, above or below the lungs, wherever there is more room."""
        rows, columns = self._shape
        heights = [len(lines) * _LINE * rows for lines in texts]
        above = int(self._rows[0]) if self._rows.size else rows
        below = rows - int(self._rows[-1]) if self._rows.size else 0
        top = _MARGIN * rows
        if above < sum(heights) + 2 * top and below > above:
            top = max(0.0, rows - top - sum(heights))
        found = []
        for lines, height in zip(texts, heights, strict=True):
            box = _Box(_MARGIN * columns, top, (1 - _MARGIN) * columns, top + height)
            found.append(self._text(lines, box, "LEFT"))
            top += height
        return found

    def zone_texts(self, result: SeverityResult) -> list[TextObject]:
        """Return the texts beside the lungs, each tied to the outer border of its zone."""
        found = []
        lowest = 0.0
        for index, zone in enumerate(result.zones):
            if index % 3 == 0:
                lowest = 0.0
            lines = zone_texts(zone, result)
            mask = result.zone_map == index + 1
            box = self._beside(mask, zone.side, index % 3, lowest, len(lines))
            lowest = box.bottom
            justification = "LEFT" if zone.side is Side.RIGHT else "RIGHT"
            found.append(self._text(lines, box, justification, _outer_edge(mask, zone.side)))
        return found

    def _beside(self, mask: _Mask, side: Side, level: int, lowest: float, lines: int) -> _Box:
        """Return a box between the lungs and the picture's border, level with a zone, below ``lowest``."""
        rows, columns = self._shape
        occupied = np.flatnonzero(mask.any(axis=1))
        middle = float(occupied.mean()) if occupied.size else (0.25 + 0.25 * level) * rows
        height = lines * _LINE * rows
        top = min(max(middle - height / 2, lowest), rows - height)
        beside = np.flatnonzero(self._lungs[int(top) : int(top + height) + 1].any(axis=0))
        margin = _MARGIN * columns
        if side is Side.RIGHT:
            edge = float(beside[0]) if beside.size else columns / 3
            return _Box(margin, top, max(edge - margin, _NARROWEST * columns), top + height)
        edge = float(beside[-1]) if beside.size else columns * 2 / 3
        left = min(edge + margin, (1 - _NARROWEST) * columns)
        return _Box(left, top, columns - margin, top + height)

    def _text(
        self, lines: Sequence[str], box: _Box, justification: str, anchor: _Points | None = None
    ) -> TextObject:
        text = TextObject(
            text_value="\r\n".join(lines)[:1024],
            units="PIXEL",
            bounding_box=(0.0, 0.0, 1.0, 1.0),
            text_justification=justification,
        )
        # From the corner that is the top left on the display to the bottom right: the text then runs
        # upright however the image is turned (PS3.3 C.10.5.1.1). highdicom only takes unturned boxes.
        corners = self._stored(np.array([(box.left, box.top), (box.right, box.bottom)]))
        text.BoundingBoxTopLeftHandCorner, text.BoundingBoxBottomRightHandCorner = corners.tolist()
        if anchor is not None:
            text.AnchorPoint = self._stored(anchor)[0].tolist()
            text.AnchorPointAnnotationUnits = "PIXEL"
            text.AnchorPointVisibility = "Y"
        return text

    def _stored(self, points: _Points) -> _Points:
        return self._context.radiograph.orientation.points_to_stored(points, self._shape)


def _outer_edge(mask: _Mask, side: Side) -> _Points | None:
    """Return where the middle row of a zone meets the lung's outer border, shape (1, 2)."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return None
    row = int(rows[rows.size // 2])
    columns = np.flatnonzero(mask[row])
    column = columns[0] if side is Side.RIGHT else columns[-1]
    return np.array([(column + 0.5, row + 0.5)])


def _shortened(part: _Points) -> _Points:
    """Leave out points of an outline that is too long for one element."""
    if len(part) <= _LONGEST_LINE:
        return part
    step = -(-len(part) // _LONGEST_LINE)
    return np.concatenate([part[:-1:step], part[:1]])


def spatial_transformation(context: ReportContext) -> tuple[int, bool]:
    """Return clockwise rotation in degrees, and whether a horizontal flip follows it (PS3.3 C.10.6)."""
    turn = context.radiograph.orientation
    if turn.transposed:
        # turning clockwise by 90 degrees is transposing, then reversing the columns
        return (270, turn.columns_flipped) if turn.rows_flipped else (90, not turn.columns_flipped)
    return (180, not turn.columns_flipped) if turn.rows_flipped else (0, turn.columns_flipped)


def displayed_corners(context: ReportContext) -> tuple[list[int], list[int]]:
    """Return the stored pixels (column, row, from 1) that are displayed top left and bottom right."""
    shape = context.radiograph.pixels.shape[:2]
    ends = np.array([(0.5, 0.5), (shape[1] - 0.5, shape[0] - 0.5)])
    stored = context.radiograph.orientation.points_to_stored(ends, (shape[0], shape[1]))
    top_left, bottom_right = (np.floor(stored).astype(int) + 1).tolist()
    return top_left, bottom_right


def graphic_annotations(drawn: Sequence[Layer], source: Dataset) -> list[hd.pr.GraphicAnnotation]:
    """Return the items of the Graphic Annotation Sequence, one a layer."""
    return [
        hd.pr.GraphicAnnotation(
            [source],
            layer.described(order),
            graphic_objects=layer.graphics or None,
            text_objects=layer.texts or None,
        )
        for order, layer in enumerate(drawn, 1)
    ]
