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
