"""What a scorer says about one radiograph: a severity score, or why there is none.

This module is all that the DICOM side knows of the models; it loads nothing but the standard library.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Side(StrEnum):
    """The patient's side, never the side of the picture."""

    RIGHT = "right"
    LEFT = "left"


class Level(StrEnum):
    """Height of a lung zone, from the apex down."""

    UPPER = "upper"
    MIDDLE = "middle"
    LOWER = "lower"


ZONE_ORDER: tuple[tuple[Side, Level], ...] = tuple((side, level) for side in Side for level in Level)
"""Right upper, right middle, right lower, left upper, left middle, left lower."""


class NotAssessableReason(StrEnum):
    """Why an eligible radiograph got no score."""

    NO_LUNGS = "no-lungs"
    ONE_LUNG = "one-lung"
    IMPLAUSIBLE_LUNGS = "implausible-lungs"


@dataclass(frozen=True)
class AlgorithmId:
    """Which algorithm made a result, exactly enough to tell two results apart.

    Parameters
    ----------
    name : str
        Name used in settings and reports, e.g. ``two-stage``.
    version : str
        Version of the algorithm's code.
    weights : Mapping[str, str]
        SHA-256 of each weight file by the network's role (``lungs``, ``opacity``).
    parameters : Mapping[str, str]
        Every setting that changes a result, as text (thresholds, score scheme, precision).
    licence : str
        What the weights may be used for, where that is less than anything; no part of ``digest``.
    """

    name: str
    version: str
    weights: Mapping[str, str]
    parameters: Mapping[str, str]
    licence: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 (hexadecimal) over name, version, weights and parameters."""
        content = {
            "name": self.name,
            "version": self.version,
            "weights": dict(self.weights),
            "parameters": dict(self.parameters),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class ZoneInvolvement:
    """How much of one lung zone is opacified.

    Parameters
    ----------
    side, level : Side, Level
        The zone, named by the patient's side.
    area_px : int
        Lung pixels of the zone, in the geometry of the radiograph.
    opacity_area_px : int
        Opacified pixels among them.
    score : int
        The zone's part of the total: 0 or 1 for the 0-6 score (Danilov et al. 2022, Algorithm B3), 0 to 3 for
        the Brixia score.
    confidence : float or None
        In [0, 1]: the probability of this score among the zone's score classes (Signoroni et al. 2021,
        Fig. 4); None from a scorer without class probabilities.
    """

    side: Side
    level: Level
    area_px: int
    opacity_area_px: int
    score: int
    confidence: float | None = None

    @property
    def name(self) -> str:
        """The zone in words: ``right upper``."""
        return f"{self.side} {self.level}"

    @property
    def involved_fraction(self) -> float:
        """Opacified share of the zone's area, in [0, 1]; 0 for a zone without area."""
        return self.opacity_area_px / self.area_px if self.area_px else 0.0

    @property
    def percent(self) -> float:
        """``involved_fraction`` in percent, as it is reported: see ``reported_percent``."""
        return reported_percent(self.involved_fraction)


@dataclass(frozen=True)
class Explanation:
    """What in the film speaks for each score class (Signoroni et al. 2021, section "Explainability").

    Parameters
    ----------
    maps : numpy.ndarray
        float32, shape (3, rows, columns), geometry of ``Radiograph.pixels``, in [0, 1]: how much of the
        probability of classes 1, 2 and 3 hangs on a pixel's super-pixel; 0 outside the lungs.
    parameters : Mapping[str, str]
        How the maps were made, as text.
    """

    maps: NDArray[np.float32] = field(repr=False)
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class SeverityResult:
    """The severity of one radiograph.

    Parameters
    ----------
    algorithm : AlgorithmId
        What made the result.
    score, score_max : int
        Sum of the zone scores, and the largest value the scheme allows (6, or 18 for the Brixia score).
    zones : tuple of ZoneInvolvement
        Six zones in ``ZONE_ORDER``.
    zone_map : numpy.ndarray
        uint8, shape (rows, columns), geometry of ``Radiograph.pixels``: 0 outside the lungs, k + 1
        inside ``zones[k]``.
    opacity_mask : numpy.ndarray
        bool, same shape: opacity within the lungs (what lies outside them was never looked at).
    warnings : tuple of str
        What a reader should know, in plain words (orientation assumed, lungs separated by force).
    region_probabilities : numpy.ndarray or None
        float32, shape (3, 2, 4): rows upper, middle, lower; columns image left (the patient's right), image
        right; score classes 0 to 3. None from a scorer without class probabilities.
    explanation : Explanation or None
        None unless the scorer was asked for one.
    """

    algorithm: AlgorithmId
    score: int
    score_max: int
    zones: tuple[ZoneInvolvement, ...]
    zone_map: NDArray[np.uint8] = field(repr=False)
    opacity_mask: NDArray[np.bool_] = field(repr=False)
    warnings: tuple[str, ...] = ()
    region_probabilities: NDArray[np.float32] | None = field(default=None, repr=False)
    explanation: Explanation | None = None

    @property
    def lung_mask(self) -> NDArray[np.bool_]:
        """Both lungs, bool, shape (rows, columns)."""
        return self.zone_map > 0

    @property
    def involved_fraction(self) -> float:
        """Opacified share of both lungs' area, in [0, 1]."""
        area = sum(zone.area_px for zone in self.zones)
        return sum(zone.opacity_area_px for zone in self.zones) / area if area else 0.0

    @property
    def percent(self) -> float:
        """``involved_fraction`` in percent, as it is reported: see ``reported_percent``."""
        return reported_percent(self.involved_fraction)

    @property
    def measures_opacity(self) -> bool:
        """Whether areas of opacity were measured; a scorer without opacity weights gives scores only."""
        return "opacity" in self.algorithm.weights or bool(self.opacity_mask.any())


@dataclass(frozen=True)
class NotAssessable:
    """An eligible radiograph that cannot be scored; never the same as a score of 0.

    Parameters
    ----------
    algorithm : AlgorithmId
        What looked at the image.
    reason : NotAssessableReason
        The coded reason.
    message : str
        The reason in a sentence that a technician understands, with the figures that led to it.
    lung_mask : numpy.ndarray
        bool, shape (rows, columns), geometry of ``Radiograph.pixels``: what stage I found.
    warnings : tuple of str
        As in ``SeverityResult``.
    """

    algorithm: AlgorithmId
    reason: NotAssessableReason
    message: str
    lung_mask: NDArray[np.bool_] = field(repr=False)
    warnings: tuple[str, ...] = ()


Result = SeverityResult | NotAssessable


def reported_percent(fraction: float) -> float:
    """Return a share as it is reported everywhere: in percent, one decimal.

    The only place where a measured number is rounded; reports, pictures, headers and JSON all show this
    one, so that they cannot disagree in the last digit.

    Parameters
    ----------
    fraction : float
        In [0, 1].
    """
    return round(100 * fraction, 1)
