"""The margins beside the film of a picture: the patient's sides, and what each zone was given."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.prior import Change
from dicom_node.rendering.layout import SIDE, Page
from dicom_node.rendering.pen import BOLD, Pen, Words
from dicom_node.rendering.style import ZONE_LETTERS, Colour, Palette, percent_in_words, signed, zone_score_max
from models.result import SeverityResult, Side, ZoneInvolvement

_SIDE_MARKER = 2.8
SIDE_MARKERS_HEIGHT = 7.0
_PITCH = 13.8
_PITCH_WITH_CHANGE = 18.0
_GAUGE = 1.3
_GAP = 1.0
_NEAR = 4.0


@dataclass(frozen=True)
class _Margin:
    """One side's margin: where its gauges stand and its text ends or begins, in units."""

    side: Side
    gauge_left: float
    text_at: float
    outer: float

    @property
    def right(self) -> bool:
        return self.side is Side.RIGHT

    def words(self, capitals: float, colour: Colour, weight: float = 0.0) -> Words:
        return Words(capitals, colour, weight, "right" if self.right else "left")

    @property
    def room(self) -> float:
        return abs(self.text_at - self.outer)


def least_stage(change: Change | None) -> float:
    """Return the height that three zones and a side marker need beside the film, in units."""
    return SIDE_MARKERS_HEIGHT + 3 * (_PITCH if change is None else _PITCH_WITH_CHANGE)


def draw_side_markers(pen: Pen, palette: Palette, page: Page) -> None:
    """Write RIGHT and LEFT, the patient's sides, beside the film's upper corners."""
    baseline = page.header + _SIDE_MARKER + 0.4
    for margin in _margins(page):
        words = margin.words(_SIDE_MARKER, palette.text, BOLD)
        pen.write(margin.text_at, baseline, margin.side.upper(), words, margin.room)


def draw_zones(
    pen: Pen,
    palette: Palette,
    page: Page,
    result: SeverityResult,
    told: tuple[Change | None, tuple[tuple[int, int] | None, ...]],
) -> None:
    """Draw each zone's gauge at its height beside the film, and its letter, points and share next to it.

    Parameters
    ----------
    pen, palette, page : Pen, Palette, Page
        Where and with what.
    result : SeverityResult
        Whose zones.
    told : tuple
        How it differs from the prior, or None; and first and last row of each zone in the drawn film.
    """
    change, extents = told
    pitch = _PITCH if change is None else _PITCH_WITH_CHANGE
    for number, margin in enumerate(_margins(page)):
        mine = range(3 * number, 3 * number + 3)
        spans = parted([_span(page, extents[index], index % 3) for index in mine])
        centres = _apart([(top + bottom) / 2 for top, bottom in spans], pitch, page)
        moved = any(abs(sum(span) / 2 - centre) > _NEAR for span, centre in zip(spans, centres, strict=True))
        for index, span, centre in zip(mine, spans, centres, strict=True):
            zone = result.zones[index]
            if zone.area_px:
                place = _moved(pen, palette, margin, span, centre) if moved else span
                _gauge(pen, palette, margin, place, (zone.score, zone_score_max(result)))
            lines = _readout(zone, result, change, index)
            _write_readout(pen, palette, margin, centre, lines)


def _margins(page: Page) -> tuple[_Margin, _Margin]:
    left = page.film_left / page.unit
    right = (page.film_left + page.film_columns) / page.unit
    offset = _GAP + _GAUGE + 0.9
    # a narrow film leaves wide margins; the text stays near it
    return (
        _Margin(Side.RIGHT, left - _GAP - _GAUGE, left - offset, left - SIDE + 0.6),
        _Margin(Side.LEFT, right + _GAP, right + offset, right + SIDE - 0.6),
    )


def _span(page: Page, extent: tuple[int, int] | None, level: int) -> tuple[float, float]:
    """Return where a zone begins and ends on the page, in units; a third of the film if it has no area."""
    rows = page.film_rows
    first, last = extent or (level * rows // 3, (level + 1) * rows // 3 - 1)
    return (page.film_top + first) / page.unit + 0.2, (page.film_top + last + 1) / page.unit - 0.2


def parted(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Let each span end where the next begins: of zones with sloping borders, some rows belong to both.

    Parameters
    ----------
    spans : list of tuple of float
        First and last place of each, from above.
    """
    cut = list(spans)
    for upper in range(len(cut) - 1):
        (top, bottom), (begin, end) = cut[upper], cut[upper + 1]
        if bottom > begin:
            border = (bottom + begin) / 2
            cut[upper], cut[upper + 1] = (top, border - 0.2), (border + 0.2, end)
    return cut


def _apart(centres: list[float], pitch: float, page: Page) -> list[float]:
    """Push readouts apart that would touch, within the height of the stage."""
    first = page.header + SIDE_MARKERS_HEIGHT + pitch / 2
    placed: list[float] = []
    for centre in centres:
        placed.append(max(centre, placed[-1] + pitch if placed else first))
    # what had to give way did so downwards; share it out
    shift = min(sum(placed) - sum(centres), len(placed) * (placed[0] - first)) / len(placed)
    placed = [centre - max(0.0, shift) for centre in placed]
    last = page.header + page.stage - pitch / 2 + 0.8
    for index in reversed(range(len(placed))):
        placed[index] = min(placed[index], last - (len(placed) - 1 - index) * pitch)
    return placed


def _moved(
    pen: Pen, palette: Palette, margin: _Margin, span: tuple[float, float], centre: float
) -> tuple[float, float]:
    """Draw a line from a zone to its readout, which had to move; return where its gauge stands then."""
    middle = sum(span) / 2
    film = margin.gauge_left + (_GAUGE + 0.75 * _GAP if margin.right else -0.75 * _GAP)
    gauge = margin.gauge_left + (_GAUGE + 0.2 if margin.right else -0.2)
    pen.line([(film, middle), (gauge, centre)], palette.muted)
    return centre - 5.4, centre + 5.6


def _gauge(
    pen: Pen, palette: Palette, margin: _Margin, span: tuple[float, float], points: tuple[int, int]
) -> None:
    """Draw a zone's points as a bar along its height, filled from below."""
    (top, bottom), (score, most) = span, points
    gap = min(0.4, (bottom - top) / (4 * most))
    step = (bottom - top + gap) / most
    for point in range(most):
        low = bottom - point * step
        corners = (margin.gauge_left, low - step + gap, margin.gauge_left + _GAUGE, low)
        filled = point < score
        pen.box(corners, palette.opacity if filled else None, palette.opacity if filled else palette.muted)


def _readout(
    zone: ZoneInvolvement, result: SeverityResult, change: Change | None, index: int
) -> tuple[str, str, str, str]:
    """Return name, points, share and change of a zone."""
    name = f"{ZONE_LETTERS[index]} {zone.level}"
    if not zone.area_px:
        return name, "n/a", "no area", ""
    percent = percent_in_words(zone.percent) if result.measures_opacity else ""
    differs = ""
    if change is not None:
        figures = change.zones[index]
        differences = [one for one in (figures.score, figures.percent) if one is not None]
        differs = ", ".join(map(signed, differences)) if any(differences) else "unchanged" * bool(differences)
    return name, f"{zone.score}/{zone_score_max(result)}", percent, differs


def _write_readout(
    pen: Pen, palette: Palette, margin: _Margin, centre: float, lines: tuple[str, str, str, str]
) -> None:
    name, points, percent, differs = lines
    given = not points.startswith(("0", "n"))
    colour = palette.opacity if given else palette.text
    top = centre - (7.9 if differs else 5.9)
    pen.write(margin.text_at, top + 2.0, name, margin.words(2.0, palette.text), margin.room)
    pen.write(margin.text_at, top + 7.6, points, margin.words(4.4, colour, BOLD), margin.room)
    pen.write(margin.text_at, top + 11.4, percent, margin.words(2.4, colour), margin.room)
    if differs:
        pen.write(margin.text_at, top + 14.1, differs, margin.words(1.6, palette.text), margin.room)
        pen.write(margin.text_at, top + 16.0, "since prior", margin.words(1.1, palette.muted), margin.room)
