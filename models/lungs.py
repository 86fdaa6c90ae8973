"""The two lungs of a film, or why there are none: what both algorithms ask before they score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.result import NotAssessableReason
from models.segmenter import Segmentation, Segmenter, has_contrast
from models.zones import Lungs, NoLungs, clean, implausible, separate

BLANK = NoLungs(
    NotAssessableReason.NO_LUNGS,
    "No lungs can be found: the film has one grey value almost throughout. Check exposure and export.",
)


@dataclass(frozen=True)
class FoundLungs:
    """What stage I made of a film, all in the film's geometry.

    Parameters
    ----------
    mask : numpy.ndarray
        bool, (rows, columns): every pixel that stage I calls lung, before clean-up.
    lungs : Lungs or NoLungs
        The two lungs, or why there are none.
    """

    mask: NDArray[np.bool_]
    lungs: Lungs | NoLungs


def check_pixels(pixels: NDArray[np.float32]) -> None:
    """Check what a scorer is given; see ``SeverityScorer.score``.

    Raises
    ------
    ValueError
        If ``pixels`` is not a non-empty float32 image of finite values in [0, 1].
    """
    if pixels.ndim != 2 or pixels.dtype != np.float32 or min(pixels.shape) < 2:
        raise ValueError(f"pixels are float32 (rows, columns); got {pixels.dtype} of shape {pixels.shape}")
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0.0 and high <= 1.0):
        raise ValueError(f"pixels lie in [0, 1]; got {low:g} to {high:g}: scale them first")


def find_lungs(segmenter: Segmenter, pixels: NDArray[np.float32]) -> FoundLungs:
    """Run stage I, clean its mask, tell the lungs apart and check that they look like lungs.

    Parameters
    ----------
    segmenter : Segmenter
        Stage I.
    pixels : numpy.ndarray
        As for ``SeverityScorer.score``.

    Returns
    -------
    FoundLungs
    """
    if not has_contrast(pixels, segmenter.spec.window_percentiles):
        return FoundLungs(np.zeros(pixels.shape, bool), BLANK)
    return lungs_in(segmenter.segment(pixels), segmenter.spec.probability_threshold)


def lungs_in(answer: Segmentation, threshold: float) -> FoundLungs:
    """Clean a lung map, tell the lungs apart and check that they look like lungs.

    Parameters
    ----------
    answer : Segmentation
        The probability of lung, of the whole film.
    threshold : float
        A pixel is lung if its probability is above this.

    Returns
    -------
    FoundLungs
    """
    mask = answer.at_source() > threshold
    lungs = separate(clean(answer.probability > threshold))
    if isinstance(lungs, NoLungs):
        return FoundLungs(mask, lungs)
    right, left = (_lung_at_source(answer, lung, threshold) for lung in (lungs.right, lungs.left))
    lungs = Lungs(right, left & ~right, lungs.warnings)
    return FoundLungs(mask, implausible(lungs) or lungs)


def _lung_at_source(answer: Segmentation, lung: NDArray[np.bool_], threshold: float) -> NDArray[np.bool_]:
    # The clean-up's decisions are taken at the network's size; the edge comes from the probabilities, which
    # keeps it smooth when it is enlarged.
    low = np.where(answer.probability <= threshold, answer.probability, 0)
    soft = np.where(lung, np.maximum(answer.probability, threshold + 0.05), low).astype(np.float32)
    return answer.geometry.inverse(soft) > threshold
