"""What a picture is drawn with: colours, words, and what is known around a result.

The colours are of the set of Okabe and Ito (2008, "Color Universal Design"), made to be told apart by people
without one kind of cone. No class is told by hue alone: lungs have a plain outline, zone borders are dashed,
opacity is hatched.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dicom_node.instance import InstanceReference
from dicom_node.prior import Change, PriorResult, change_since
from models.result import NotAssessableReason, Result, SeverityResult

Colour = tuple[int, int, int]

ZONE_LETTERS = "ABCDEF"
"""Letters of the six zones in ``ZONE_ORDER``, as in the Brixia score (Borghesi and Maroldi 2020)."""

REASON_IN_WORDS: dict[NotAssessableReason, str] = {
    NotAssessableReason.NO_LUNGS: "no lungs found",
    NotAssessableReason.ONE_LUNG: "only one lung found",
    NotAssessableReason.IMPLAUSIBLE_LUNGS: "lung outlines not plausible",
}


@dataclass(frozen=True)
class Palette:
    """Colours of a picture, RGB.

    Parameters
    ----------
    lung, opacity, text, muted, faint, warning : tuple of int
        Outline of the lungs and zone borders; opacity and points given; text; small print; frames and
        points not given; the research label.
    tint_weight, hatch_weight : float
        How much of the opacity's colour covers the film between and on the lines of its hatch, in [0, 1].
    """

    lung: Colour = (86, 180, 233)
    opacity: Colour = (230, 159, 0)
    text: Colour = (245, 245, 245)
    muted: Colour = (190, 190, 190)
    faint: Colour = (95, 95, 95)
    warning: Colour = (240, 228, 66)
    tint_weight: float = 0.22
    hatch_weight: float = 0.6


COLOUR = Palette()
MONOCHROME = Palette(
    lung=(255, 255, 255),
    opacity=(225, 225, 225),
    warning=(245, 245, 245),
    tint_weight=0.12,
    hatch_weight=0.6,
)


@dataclass(frozen=True)
class Circumstances:
    """What is known around a result and printed beside it; no patient data.

    Parameters
    ----------
    created_at, acquired_at : datetime.datetime, optional
        When the result was made and the film taken, in the local time of the study.
    priors : tuple of PriorResult
        Earlier results of the same patient by the same algorithm and scheme, oldest first.
    predecessor : InstanceReference, optional
        The report of the same film that this one replaces.
    warnings : tuple of str
        What was assumed when reading or scoring.
    """

    created_at: datetime | None = None
    acquired_at: datetime | None = None
    priors: tuple[PriorResult, ...] = ()
    predecessor: InstanceReference | None = None
    warnings: tuple[str, ...] = ()

    def change(self, result: Result) -> Change | None:
        """Return how a result differs from the latest prior, or None without one."""
        if not self.priors or not isinstance(result, SeverityResult):
            return None
        return change_since(self.priors[-1], result)


def zone_score_max(result: SeverityResult) -> int:
    """Return the most points one zone can have: 1 of the 0-6 score, 3 of the Brixia score."""
    return result.score_max // len(result.zones)


def percent_in_words(percent: float) -> str:
    """Return a share as every object tells it: one decimal."""
    return f"{percent:.1f} %"


def signed(number: float) -> str:
    """Return a difference with its sign, none as ``±0``."""
    return f"{number:+}" if number else "±0"
