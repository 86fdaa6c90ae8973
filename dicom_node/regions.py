"""Masks to outlines: closed polylines for the report, hulls for the whole."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_TOLERANCE = 0.0015
"""Allowed deviation of an outline from the mask, as a share of the image's long side."""


def outline(mask: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """Return the outline of the largest connected part of a mask.

    Parameters
    ----------
    mask : numpy.ndarray
        bool, shape (rows, columns).

    Returns
    -------
    numpy.ndarray or None
        float64, shape (n, 2), order (column, row), closed (last point = first point), in pixels with
        the origin at the image's corner, so that the first pixel's centre is (0.5, 0.5); None for an
        empty mask.
    """
    contours = _contours(mask)
    if not contours:
        return None
    largest = max(contours, key=cv2.contourArea)
    return _closed(cv2.approxPolyDP(largest, _TOLERANCE * max(mask.shape), True))


def outlines(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], ...]:
    """Return the outlines of all connected parts of a mask, each in the form of ``outline``."""
    tolerance = _TOLERANCE * max(mask.shape)
    return tuple(_closed(cv2.approxPolyDP(part, tolerance, True)) for part in _contours(mask))


def hull(mask: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """Return the convex hull of everything in a mask, in the form of ``outline``."""
    contours = _contours(mask)
    return _closed(cv2.convexHull(np.concatenate(contours))) if contours else None


def anchored_left(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the same closed outline, beginning on its left side at a quarter of its height from above.

    Viewers write what was measured beside an outline's first two points and a little below, to the right.

    Parameters
    ----------
    points : numpy.ndarray
        As of ``outline``, in the geometry of the image shown.
    """
    height = 0.75 * points[:, 1].min() + 0.25 * points[:, 1].max()
    starts, ends = points[:-1], points[1:]
    crossing = np.flatnonzero((starts[:, 1] <= height) != (ends[:, 1] <= height))
    if not len(crossing):
        return points
    shares = (height - starts[crossing, 1]) / (ends[crossing, 1] - starts[crossing, 1])
    anchors = starts[crossing] + shares[:, None] * (ends[crossing] - starts[crossing])
    first = int(anchors[:, 0].argmin())
    return _beginning(points, int(crossing[first]), anchors[first])


def anchored_low(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the same closed outline, beginning at the lowest point of its left half.

    As ``anchored_left``, for an outline that holds others.
    """
    centre = (points[:, 0].min() + points[:, 0].max()) / 2
    heights = np.where(points[:-1, 0] <= centre, points[:-1, 1], -np.inf)
    index = int(heights.argmax())
    return _beginning(points, index, points[index])


def _beginning(points: NDArray[np.float64], edge: int, anchor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn a closed outline so that it begins at an anchor on one edge; a second point follows closely."""
    ring = np.roll(points[:-1], -(edge + 1), axis=0)
    onward = ring[0] - anchor
    length = float(np.hypot(*onward))
    second = anchor + onward * (min(1.0, length / 2) / length if length else 0.0)
    if np.array_equal(ring[-1], anchor):
        ring = ring[:-1]
    return np.concatenate([[anchor, second], ring, [anchor]])


def frame(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the border of the whole image, shape (rows, columns), in the form of ``outline``."""
    rows, columns = shape
    return np.array([(0, 0), (columns, 0), (columns, rows), (0, rows), (0, 0)], dtype=np.float64)


def _contours(mask: NDArray[np.bool_]) -> list[NDArray[Any]]:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return list(contours)


def _closed(contour: NDArray[Any]) -> NDArray[np.float64]:
    points = contour.reshape(-1, 2).astype(np.float64) + 0.5
    if len(points) < 3:
        # A region of one or two pixels still needs an outline with an inside.
        column, row = points.min(axis=0) - 0.5
        right, lower = points.max(axis=0) + 0.5
        points = np.array([(column, row), (right, row), (right, lower), (column, lower)])
    return np.concatenate([points, points[:1]])
