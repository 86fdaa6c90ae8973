"""The top of a picture: that it is research, the score in large figures, its scale, what changed."""

from __future__ import annotations

from dicom_node.codes import BRIXIA_MAX
from dicom_node.identity import RESEARCH_LABEL
from dicom_node.prior import Change
from dicom_node.rendering.layout import BANNER, EDGE
from dicom_node.rendering.pen import BOLD, HEAVY, Pen, Words, wrap
from dicom_node.rendering.style import (
    REASON_IN_WORDS,
    Circumstances,
    Palette,
    percent_in_words,
    signed,
)
from models.result import NotAssessable, Result, SeverityResult

_LABEL = 2.9
_SCORE = 10.5
_NO_SCORE = 7.2
_SCORED_HEIGHT = BANNER + 17.8
_WITH_CHANGE = 3.8
_ROOM = 100 - 2 * EDGE
_TITLES = {6: "AI lung opacity severity", BRIXIA_MAX: "AI Brixia score"}


def header_height(result: Result, unit: float, changed: bool) -> float:
    """Return the height of the part above the film, in units."""
    if isinstance(result, SeverityResult):
        return _SCORED_HEIGHT + changed * _WITH_CHANGE
    return BANNER + 3.2 + len(_statement(result, unit)) * 1.42 * _NO_SCORE


def draw_header(pen: Pen, palette: Palette, result: Result, circumstances: Circumstances) -> None:
    """Draw the part above the film."""
    label = RESEARCH_LABEL.replace(",", " -").upper()
    pen.write(50, BANNER - 2.1, label, Words(_LABEL, palette.warning, BOLD, "middle"), _ROOM)
    pen.line([(EDGE, BANNER), (100 - EDGE, BANNER)], palette.faint)
    if isinstance(result, NotAssessable):
        for number, line in enumerate(_statement(result, pen.unit)):
            baseline = BANNER + 2.2 + _NO_SCORE + number * 1.42 * _NO_SCORE
            pen.write(EDGE, baseline, line, Words(_NO_SCORE, palette.text, HEAVY), _ROOM)
        return
    score = f"{result.score}/{result.score_max}"
    change = circumstances.change(result)
    baseline = BANNER + 3.4 + _SCORE + (_WITH_CHANGE / 2 if change else 0)
    written = pen.write(EDGE, baseline, score, Words(_SCORE, palette.text, HEAVY))
    _explain(pen, palette, result, change, EDGE + written + 8)


def _statement(result: NotAssessable, unit: float) -> list[str]:
    """Return that there is no score and why, in lines as large as a score."""
    reason = REASON_IN_WORDS[result.reason].upper()
    return ["NOT ASSESSABLE", *wrap(reason, Words(_NO_SCORE, (0, 0, 0), HEAVY), unit, _ROOM)]


def _explain(pen: Pen, palette: Palette, result: SeverityResult, change: Change | None, left: float) -> None:
    """Write beside the score what it means: name, scale, share of the lungs, change."""
    room = 100 - EDGE - left
    pen.write(left, BANNER + 4.4, _TITLES[result.score_max], Words(2.2, palette.text), room)
    _scale(pen, palette, result, change, (left, BANNER + 7.0, room))
    if result.measures_opacity:
        words = f"{percent_in_words(result.percent)} of lung area opacified"
        pen.write(left, BANNER + 15.0, words, Words(2.2, palette.text), room)
    if change is not None:
        told, since = _change_in_words(change)
        pen.write(left, BANNER + 17.9, told, Words(1.7, palette.text), room)
        pen.write(left, BANNER + 20.4, since, Words(1.4, palette.muted), room)


def _change_in_words(change: Change) -> tuple[str, str]:
    """Return the change, and what it is counted from."""
    prior = change.prior
    told = f"change {signed(change.score)}" if change.score else "total unchanged"
    if change.percent is not None:
        told += f", {signed(change.percent)} percentage points"
    since = f"since {prior.acquired_at:%Y-%m-%d}: {prior.score}/{prior.score_max}"
    return told, since if prior.percent is None else f"{since}, {percent_in_words(prior.percent)}"


def _scale(
    pen: Pen,
    palette: Palette,
    result: SeverityResult,
    change: Change | None,
    place: tuple[float, float, float],
) -> None:
    """Draw the total as filled boxes of the largest possible one; a mark below says where the prior stood."""
    left, top, room = place
    most, height = result.score_max, 2.2
    step = room / most
    gap = min(0.5, step / 5)
    for point in range(most):
        filled = point < result.score
        corners = (left + point * step, top, left + (point + 1) * step - gap, top + height)
        pen.box(corners, palette.opacity if filled else None, palette.opacity if filled else palette.faint)
    every = 1 if most <= 6 else 3
    for value in range(0, most + 1, every):
        x = min(max(left + value * step - gap / 2, left), left + room)
        align = Words(
            1.3, palette.muted, align="left" if not value else "right" if value == most else "middle"
        )
        pen.write(x, top + height + 2.1, str(value), align)
    if change is not None:
        x = min(max(left + change.prior.score * step - gap / 2, left + 0.8), left + room - 0.8)
        tip = top - 0.1
        pen.polygon([(x - 0.75, tip - 1.1), (x + 0.75, tip - 1.1), (x, tip)], palette.text)
        pen.write(x - 1.1, tip - 0.1, "prior", Words(1.0, palette.text, align="right"))
