"""The published code's zones, to compare with its scores; nothing here is used unless asked for.

Where it differs from ``models.zones``: of several blobs it takes the first two in raster order; a lung is
everything in its blob's rectangle; a single blob counts as both lungs; the cuts are the last row that a
binary search probes; zones are numbered from the base up, the lung at the image's left first.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.geometry import Box

SIDE = 512
"""Rows and columns to which the lungs' box is stretched before anything is measured."""


def legacy_shares(lungs: NDArray[np.bool_], opacity: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the opacified share of six zones as the published code measures them.

    Parameters
    ----------
    lungs, opacity : numpy.ndarray
        bool, (rows, columns), a whole film.

    Returns
    -------
    numpy.ndarray
        float64, (6,): ``lung_segment_1`` to ``lung_segment_6``, lower to upper, image-left lung first; zeros
        for a film without lungs.
    """
    if not lungs.any():
        return np.zeros(6)
    box = Box.around(lungs)
    mask, disease = _stretched(lungs[box.slices]), _stretched(opacity[box.slices])
    shares = []
    for lung in legacy_lungs(mask):
        # From the base up, which is what a turn by 90 degrees clockwise makes of the rows.
        upturned, diseased = lung[::-1], (disease & lung)[::-1]
        first, second = legacy_cuts(upturned)
        for rows in (slice(0, first), slice(first, second), slice(second, None)):
            shares.append(diseased[rows].sum() / max(float(upturned[rows].sum()), 1e-14))
    return np.array(shares)


def legacy_lungs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the published code's two lungs, that at the image's left first.

    Parameters
    ----------
    mask : numpy.ndarray
        bool, (rows, columns), not empty.

    Returns
    -------
    tuple of numpy.ndarray
        bool, same shape each: whatever the mask has in the rectangles of the first two 8-connected blobs in
        raster order; twice the same for a single blob.
    """
    count, _, statistics, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    chosen = [1, 2] if count > 2 else [1, 1]
    chosen.sort(key=lambda label: int(centres[label][0]))
    lungs = []
    for left, top, columns, rows in (statistics[label][:4] for label in chosen):
        part = np.zeros_like(mask)
        part[top : top + rows, left : left + columns] = mask[top : top + rows, left : left + columns]
        lungs.append(part)
    return lungs[0], lungs[1]


def legacy_cuts(lung: NDArray[np.bool_]) -> tuple[int, int]:
    """Return the two rows at which the published code cuts a lung: the last ones its binary searches probe.

    Parameters
    ----------
    lung : numpy.ndarray
        bool, (rows, columns), in the order in which zones are counted.

    Returns
    -------
    tuple of int
        First row of the second and of the third zone.
    """
    above = np.concatenate(([0], np.cumsum(lung.sum(axis=1, dtype=np.int64))))
    total = int(above[-1])
    return _last_probe(above, total // 3), _last_probe(above, 2 * total // 3)


def _last_probe(above: NDArray[np.int64], target: int) -> int:
    low, high, middle = 0, len(above) - 1, 0
    while low <= high:
        middle = (low + high) // 2
        if above[middle] <= target:
            low = middle + 1
        else:
            high = middle - 1
    return middle


def _stretched(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    resized = cv2.resize(mask.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized > 0.5)
