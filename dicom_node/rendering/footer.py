"""The bottom of a picture: the total over time, what lines and tints mean, and the small print."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from dicom_node.identity import RESEARCH_LABEL
from dicom_node.rendering.layout import EDGE, LEGEND, SMALL_PRINT, SMALL_PRINT_STEP, TREND
from dicom_node.rendering.pen import BOLD, Pen, Words, length, wrap
from dicom_node.rendering.style import Circumstances, Palette
from models.result import Result, SeverityResult

_LEAST_RESULTS = 3
_MOST_RESULTS = 8
_ROOM = 100 - 2 * EDGE


@dataclass(frozen=True)
class Footer:
    """What stands below the film.

    Parameters
    ----------
    trend : tuple of (datetime or None, int)
        When and how much, oldest first, the present result last; empty for fewer than three.
    lines : tuple of str
        Small print, already wrapped.
    """

    trend: tuple[tuple[datetime | None, int], ...]
    lines: tuple[str, ...]

    @classmethod
    def of(cls, result: Result, circumstances: Circumstances, unit: float) -> Footer:
        """Gather it, wrapped for a page whose unit is so many pixels."""
        lines = [
            part
            for line in dict.fromkeys(small_print(result, circumstances))
            for part in wrap(line, Words(SMALL_PRINT, (0, 0, 0)), unit, _ROOM)
        ]
        return cls(_trend(result, circumstances), tuple(lines))

    def height(self, scored: bool) -> float:
        """In units."""
        return (
            (TREND if self.trend else 0)
            + (LEGEND if scored else 1.6)
            + len(self.lines) * SMALL_PRINT_STEP
            + EDGE
        )

    def draw(self, pen: Pen, palette: Palette, top: float, result: Result) -> None:
        """Draw it below ``top``, in units."""
        if isinstance(result, SeverityResult):
            _legend(pen, palette, top, result)
            top += LEGEND
        else:
            top += 1.6
        if self.trend and isinstance(result, SeverityResult):
            _draw_trend(pen, palette, top, self.trend, result.score_max)
            top += TREND
        for number, line in enumerate(self.lines):
            baseline = top + SMALL_PRINT + number * SMALL_PRINT_STEP
            pen.write(EDGE, baseline, line, Words(SMALL_PRINT, palette.muted))


def small_print(result: Result, circumstances: Circumstances) -> tuple[str, ...]:
    """Return what stands below every picture: algorithm, weights, dates, research use, notes."""
    algorithm = result.algorithm
    weights = ", ".join(f"{role} {digest[:8]}" for role, digest in sorted(algorithm.weights.items()))
    lines = [
        f"{algorithm.name} {algorithm.version}, digest {algorithm.digest[:12]}; weights: {weights}",
        _dates(circumstances),
        f"AI result, {RESEARCH_LABEL}. RIGHT and LEFT are the patient's sides.",
    ]
    if isinstance(result, SeverityResult) and result.measures_opacity:
        lines.append("Percent: opacified share of the area of the zone or of both lungs, whatever its cause.")
    if not isinstance(result, SeverityResult):
        lines.insert(0, f"No score was given. {result.message}")
    if algorithm.licence:
        lines.append(f"Licence of the weights: {algorithm.licence}")
    if circumstances.predecessor is not None:
        uid = circumstances.predecessor.sop_instance_uid
        lines.append(f"Replaces an earlier report of this film, whose UID ends in {uid[-12:]}.")
    lines += [f"Note: {warning}" for warning in (*result.warnings, *circumstances.warnings)]
    return tuple(filter(None, lines))


def _dates(circumstances: Circumstances) -> str:
    dates = (("film of", circumstances.acquired_at), ("result of", circumstances.created_at))
    told = "; ".join(f"{what} {moment:%Y-%m-%d %H:%M}" for what, moment in dates if moment is not None)
    return told[:1].upper() + told[1:]


def _trend(result: Result, circumstances: Circumstances) -> tuple[tuple[datetime | None, int], ...]:
    if not isinstance(result, SeverityResult) or len(circumstances.priors) + 1 < _LEAST_RESULTS:
        return ()
    earlier = [(prior.acquired_at, prior.score) for prior in circumstances.priors]
    return (*earlier[1 - _MOST_RESULTS :], (circumstances.acquired_at, result.score))


def _legend(pen: Pen, palette: Palette, top: float, result: SeverityResult) -> None:
    """Show a sample of each line and tint, with its meaning."""
    baseline, middle = top + 3.1, top + 2.4
    entries = ["lung outline", "zone border"]
    if result.measures_opacity:
        entries.append("opacity (AI)")
    entries.append("points of zone")
    words = Words(1.5, palette.text)
    used = sum(length(entry, words, pen.unit) + 6 for entry in entries)
    gap = (_ROOM - used) / max(1, len(entries) - 1)
    x = EDGE
    for entry in entries:
        _sample(pen, palette, entry, x, middle)
        x += 6 + gap + pen.write(x + 5, baseline, entry, words)


def _sample(pen: Pen, palette: Palette, entry: str, x: float, middle: float) -> None:
    if entry == "lung outline":
        pen.line([(x, middle), (x + 4, middle)], palette.lung, 0.3)
    elif entry == "zone border":
        for start in (0.0, 1.5, 3.0):
            pen.line([(x + start, middle), (x + start + 1, middle)], palette.lung, 0.3)
    elif entry == "opacity (AI)":
        weight = palette.tint_weight
        red, green, blue = (round(80 + weight * (part - 80)) for part in palette.opacity)
        pen.box((x, middle - 1.1, x + 4, middle + 1.1), (red, green, blue), palette.opacity)
        for start in (0.4, 1.6, 2.8):
            pen.line(
                [(x + start, middle + 1.1), (x + min(4, start + 2.2), middle - 1.1)], palette.opacity, 0.1
            )
    else:
        pen.box((x + 1.6, middle - 1.1, x + 2.6, middle + 1.1), palette.opacity, palette.opacity)
        pen.box((x + 3.0, middle - 1.1, x + 4, middle + 1.1), None, palette.muted)


def _draw_trend(
    pen: Pen,
    palette: Palette,
    top: float,
    trend: tuple[tuple[datetime | None, int], ...],
    most: int,
) -> None:
    """Draw the totals in equal steps, each with its date, the days between them told in figures.

    Steps in proportion to time would lay the films of one week on top of each other beside one of years ago.
    """
    left, right = EDGE + 24, 100 - EDGE - 6
    low, high = top + 12.2, top + 4.2
    pen.write(EDGE, top + 3.6, "TOTAL OVER TIME", Words(1.5, palette.text), 17)
    pen.write(EDGE, top + 6.4, "steps not to scale", Words(1.2, palette.muted), 17)
    for value, y in ((0, low), (most, high)):
        pen.line([(left - 3, y), (100 - EDGE, y)], palette.faint, 0.1)
        pen.write(left - 3.8, y + 0.6, str(value), Words(1.3, palette.muted, align="right"))
    step = (right - left) / (len(trend) - 1)
    places = [
        (left + number * step, low - (low - high) * score / most) for number, (_, score) in enumerate(trend)
    ]
    pen.line(places, palette.muted, 0.22)
    for number, ((x, y), (moment, score)) in enumerate(zip(places, trend, strict=True)):
        present = number == len(trend) - 1
        colour = palette.opacity if present else palette.text
        pen.disc(x, y, 0.8, colour if present else (0, 0, 0), colour)
        pen.write(x, y - 1.5, str(score), Words(2.0, colour, BOLD, "middle"))
        label = "this film" if moment is None else f"{moment:%Y-%m-%d}"
        pen.write(x, low + 2.6, label, Words(1.25, colour, align="middle"), step * 0.95)
    for (here, after), ((then, _), (now, _)) in zip(pairwise(places), pairwise(trend), strict=True):
        if then is not None and now is not None:
            middle = (here[0] + after[0]) / 2
            pen.write(middle, low + 4.8, _interval(then, now), Words(1.1, palette.muted, align="middle"))


def _interval(then: datetime, now: datetime) -> str:
    hours = (now - then).total_seconds() / 3600
    return f"{hours:.0f} h" if abs(hours) < 24 else f"{hours / 24:.0f} d"
