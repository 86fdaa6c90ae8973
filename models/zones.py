"""From a lung mask to the patient's two lungs and their six zones.

Danilov et al. 2022: section "Severity scoring", Algorithm B2 (zones of equal area). Where the published
code and sound practice differ, this module follows the latter and says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.geometry import Box
from models.result import NotAssessableReason

SMALLEST_LUNG = 0.023
"""Share of the frame below which a blob is no lung: 6000 px² of 512², the published limit at that size. The
smallest lung among 451 human masks has 0.045."""

KERNEL = 5 / 512
"""Side of the elliptic structuring element, as a share of the frame's side."""

MERGED_SHARE = 0.25
"""A blob with at least this share of its area on either side of the frame's middle spans both lungs."""

UNEQUAL = 0.4
"""Area of the smaller over the larger lung, below which something is missing; the least seen is 0.615."""


@dataclass(frozen=True)
class Lungs:
    """The patient's two lungs.

    Parameters
    ----------
    right, left : numpy.ndarray
        bool, shape (rows, columns); the right lung lies at the image's left. Never overlapping.
    warnings : tuple of str
        What was forced or left out.
    """

    right: NDArray[np.bool_]
    left: NDArray[np.bool_]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class NoLungs:
    """Why two lungs could not be told.

    Parameters
    ----------
    reason : NotAssessableReason
        Coded.
    message : str
        In words, with figures.
    """

    reason: NotAssessableReason
    message: str


@dataclass(frozen=True)
class Range:
    """Closed range of a plausible figure."""

    least: float
    most: float

    def __contains__(self, value: float) -> bool:
        return self.least <= value <= self.most


# Limits of what a frontal radiograph shows. Beside each: the range over the 451 human lung masks of the
# training and validation films; the limits leave a good margin, since disease hides parts of a lung.
BOTH_LUNGS_SHARE = Range(0.06, 0.72)  # of the frame; seen 0.093 to 0.615
HEIGHT_OVER_WIDTH = Range(0.6, 3.5)  # of each lung's box; seen 0.84 to 2.76
LUNG_HEIGHT = Range(0.2, 1.0)  # of the frame; seen 0.30 to 1.0
COMMON_HEIGHT = Range(0.5, 1.0)  # rows that both boxes share over the lower box's height; seen 0.88 to 1.0
CENTRE_DISTANCE = Range(0.18, 0.65)  # between the centroids, of the frame's width; seen 0.25 to 0.55
BOX_FILL = Range(0.35, 0.92)  # share of its box that a lung covers; seen 0.48 to 0.80


def clean(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Remove small blobs, then open (twice) and close (once) with an ellipse.

    The published limits are pixels at one size; here they scale with the frame.

    Parameters
    ----------
    mask : numpy.ndarray
        bool, shape (rows, columns), a whole frame.

    Returns
    -------
    numpy.ndarray
        bool, same shape.
    """
    labels, areas = _components(mask)
    large = np.flatnonzero(areas >= SMALLEST_LUNG * mask.size) + 1
    kept = np.isin(labels, large).astype(np.uint8)
    size = (_odd(mask.shape[1] * KERNEL), _odd(mask.shape[0] * KERNEL))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, size)
    opened = cv2.morphologyEx(kept, cv2.MORPH_OPEN, kernel, iterations=2)
    return np.asarray(cv2.morphologyEx(opened, cv2.MORPH_CLOSE, kernel), np.uint8) > 0


def separate(mask: NDArray[np.bool_]) -> Lungs | NoLungs:
    """Tell the right lung from the left in a cleaned mask.

    The two largest 8-connected blobs are the lungs (the published code takes the first two in raster
    order). A blob that spans both halves of the frame is cut where it is lowest, within the middle third of
    its box.

    Parameters
    ----------
    mask : numpy.ndarray
        bool, shape (rows, columns), a whole frame, the patient's right at the image's left.

    Returns
    -------
    Lungs or NoLungs
        ``no-lungs`` for an empty mask, ``one-lung`` where only one can be told.
    """
    labels, areas = _components(mask)
    order = np.argsort(-areas, kind="stable")
    order = order[areas[order] >= SMALLEST_LUNG * mask.size]
    if order.size == 0:
        return NoLungs(NotAssessableReason.NO_LUNGS, "No lungs were found on this image.")
    largest = labels == order[0] + 1
    lonely = order.size == 1 or areas[order[1]] < UNEQUAL * areas[order[0]]
    if lonely and _spans_both_halves(largest):
        return _cut(largest)
    if order.size == 1:
        share = 100 * areas[order[0]] / mask.size
        message = f"Only one lung was found; it covers {share:.0f} % of the image."
        return NoLungs(NotAssessableReason.ONE_LUNG, message)
    right, left = sorted((largest, labels == order[1] + 1), key=_centre_column)
    warnings = () if order.size == 2 else (f"{order.size - 2} further lung-like region(s) were left out",)
    return Lungs(right, left, warnings)


def implausible(lungs: Lungs) -> NoLungs | None:
    """Check that two blobs look like the lungs of a frontal radiograph.

    Parameters
    ----------
    lungs : Lungs
        In the radiograph's geometry.

    Returns
    -------
    NoLungs or None
        The first check that fails, with its figure; None if all pass.
    """
    rows, columns = lungs.right.shape
    areas = [int(lung.sum()) for lung in (lungs.right, lungs.left)]
    if min(areas) == 0:
        return NoLungs(NotAssessableReason.ONE_LUNG, "Only one lung was found.")
    if min(areas) < UNEQUAL * max(areas):
        ratio = min(areas) / max(areas)
        message = f"One lung has only {100 * ratio:.0f} % of the other's area: it is hidden or was not found."
        return NoLungs(NotAssessableReason.ONE_LUNG, message)
    boxes = [Box.around(lung) for lung in (lungs.right, lungs.left)]
    heights = [box.shape[0] for box in boxes]
    common = min(box.bottom for box in boxes) - max(box.top for box in boxes)
    aspects = [box.shape[0] / box.shape[1] for box in boxes]
    fills = [area / (box.shape[0] * box.shape[1]) for area, box in zip(areas, boxes, strict=True)]
    distance = (_centre_column(lungs.left) - _centre_column(lungs.right)) / columns
    checks = (
        ("share of the image that both lungs cover", sum(areas) / (rows * columns), BOTH_LUNGS_SHARE),
        ("height of the lower lung over the image's height", min(heights) / rows, LUNG_HEIGHT),
        ("height over width of a lung", min(aspects), HEIGHT_OVER_WIDTH),
        ("height over width of a lung", max(aspects), HEIGHT_OVER_WIDTH),
        ("height that both lungs share", common / min(heights), COMMON_HEIGHT),
        ("distance between the lungs over the image's width", distance, CENTRE_DISTANCE),
        ("share of its box that a lung fills", min(fills), BOX_FILL),
        ("share of its box that a lung fills", max(fills), BOX_FILL),
    )
    for name, value, allowed in checks:
        if value not in allowed:
            message = (
                f"What was found does not look like two lungs: {name} is {value:.2f}, "
                f"expected {allowed.least:g} to {allowed.most:g}."
            )
            return NoLungs(NotAssessableReason.IMPLAUSIBLE_LUNGS, message)
    return None


def zone_map(lungs: Lungs) -> NDArray[np.uint8]:
    """Mark the six zones, thirds of equal area of each lung (Danilov et al. 2022, Algorithm B2).

    Parameters
    ----------
    lungs : Lungs
        In any geometry; the zones do not change with scale, shift or stretching.

    Returns
    -------
    numpy.ndarray
        uint8, shape (rows, columns): 0 outside, 1 to 3 right upper, middle, lower, 4 to 6 the left.
    """
    result = np.zeros_like(lungs.right, np.uint8)
    row_numbers = np.arange(len(result))
    for first, lung in ((1, lungs.right), (4, lungs.left)):
        level = np.searchsorted(thirds(lung), row_numbers, side="right")
        result += lung * (first + level)[:, None].astype(np.uint8)
    return result


def thirds(lung: NDArray[np.bool_]) -> tuple[int, int]:
    """Find the two cuts that part a mask into an upper, middle and lower third of its area.

    Parameters
    ----------
    lung : numpy.ndarray
        bool, shape (rows, columns).

    Returns
    -------
    tuple of int
        The first row of the middle and of the lower third. Of all rows, those that miss a third least; the
        upper one of two that miss it equally.
    """
    above = np.concatenate(([0], np.cumsum(lung.sum(axis=1, dtype=np.int64))))
    total = int(above[-1])
    upper, lower = (int(np.argmin(np.abs(3 * above - part * total))) for part in (1, 2))
    return upper, lower


def _components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return np.asarray(labels, np.int32), np.asarray(statistics[1:, cv2.CC_STAT_AREA], np.int64)


def _odd(side: float) -> int:
    return max(3, round(side) | 1)


def _centre_column(blob: NDArray[np.bool_]) -> float:
    per_column = blob.sum(axis=0, dtype=np.int64)
    return float(per_column @ np.arange(blob.shape[1]) / per_column.sum())


def _spans_both_halves(blob: NDArray[np.bool_]) -> bool:
    share = blob[:, : blob.shape[1] // 2].sum() / blob.sum()
    return bool(MERGED_SHARE <= share <= 1 - MERGED_SHARE)


def _cut(blob: NDArray[np.bool_]) -> Lungs:
    box = Box.around(blob)
    third = box.shape[1] // 3
    first = box.left + third
    heights = blob[:, first : box.right - third].sum(axis=0)
    column = first + int(np.median(np.flatnonzero(heights == heights.min())))
    right, left = blob.copy(), blob.copy()
    right[:, column:] = False
    left[:, : column + 1] = False
    return Lungs(right, left, ("the lungs touched each other in the image and were separated by force",))
