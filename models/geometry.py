"""Boxes, and the way from a radiograph to a network's input and back.

All arrays are (rows, columns); all boxes are half-open.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int]


class Resize(StrEnum):
    """How a crop meets the network's shape."""

    STRETCH = "stretch"
    LETTERBOX = "letterbox"


@dataclass(frozen=True)
class Box:
    """A half-open rectangle of pixels: rows ``top`` to ``bottom - 1``, columns ``left`` to ``right - 1``.

    Parameters
    ----------
    top, left, bottom, right : int
        Edges in pixels.

    Raises
    ------
    ValueError
        If the box is empty or starts before the first row or column.
    """

    top: int
    left: int
    bottom: int
    right: int

    def __post_init__(self) -> None:
        if self.top < 0 or self.left < 0 or self.bottom <= self.top or self.right <= self.left:
            raise ValueError(f"{self} is no box: it needs 0 <= top < bottom and 0 <= left < right")

    @classmethod
    def whole(cls, shape: Shape) -> Box:
        """Return the box of a whole frame of ``shape`` (rows, columns)."""
        return cls(0, 0, shape[0], shape[1])

    @classmethod
    def around(cls, mask: NDArray[np.bool_]) -> Box:
        """Return the smallest box that holds every True pixel.

        Parameters
        ----------
        mask : numpy.ndarray
            bool, shape (rows, columns).

        Returns
        -------
        Box

        Raises
        ------
        ValueError
            If the mask is empty.
        """
        rows = np.flatnonzero(mask.any(axis=1))
        columns = np.flatnonzero(mask.any(axis=0))
        if rows.size == 0:
            raise ValueError("an empty mask has no bounding box: check for lungs first")
        return cls(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)

    @property
    def shape(self) -> Shape:
        """(rows, columns) of the box."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the box in an array of (rows, columns)."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True)
class CropResize:
    """Cut a box out of a radiograph and bring it to a network's shape; and bring a map back.

    Shrinking averages areas (antialiased), enlarging is bilinear. Letterboxing keeps the aspect ratio,
    centres the crop and fills with 0.

    Parameters
    ----------
    source_shape : tuple of int
        (rows, columns) of the radiograph.
    box : Box
        The part that the network sees.
    network_shape : tuple of int
        (rows, columns) of the network's input.
    resize : Resize
        ``stretch`` or ``letterbox``.

    Raises
    ------
    ValueError
        If the box reaches beyond the source.
    """

    source_shape: Shape
    box: Box
    network_shape: Shape
    resize: Resize = Resize.STRETCH

    def __post_init__(self) -> None:
        if self.box.bottom > self.source_shape[0] or self.box.right > self.source_shape[1]:
            raise ValueError(f"{self.box} reaches beyond an image of {self.source_shape} (rows, columns)")

    @property
    def inner(self) -> Box:
        """The part of the network's frame that the crop fills."""
        if self.resize is Resize.STRETCH:
            return Box.whole(self.network_shape)
        rows, columns = self.box.shape
        scale = min(self.network_shape[0] / rows, self.network_shape[1] / columns)
        height = min(self.network_shape[0], max(1, round(rows * scale)))
        width = min(self.network_shape[1], max(1, round(columns * scale)))
        top = (self.network_shape[0] - height) // 2
        left = (self.network_shape[1] - width) // 2
        return Box(top, left, top + height, left + width)

    def forward(self, source: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what the network sees of ``source``.

        Parameters
        ----------
        source : numpy.ndarray
            float32, shape ``source_shape``.

        Returns
        -------
        numpy.ndarray
            float32, shape ``network_shape``; range of the source, 0 in a letterbox's borders.

        Raises
        ------
        ValueError
            If the shape of ``source`` is not ``source_shape``.
        """
        if source.shape != self.source_shape:
            raise ValueError(f"this geometry is for {self.source_shape}, the array has {source.shape}")
        result = np.zeros(self.network_shape, np.float32)
        result[self.inner.slices] = _resized(source[self.box.slices], self.inner.shape)
        return result

    def inverse(self, network_map: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a map of the network in the geometry of the source.

        Parameters
        ----------
        network_map : numpy.ndarray
            float32, shape ``network_shape``.

        Returns
        -------
        numpy.ndarray
            float32, shape ``source_shape``; 0 outside the box.

        Raises
        ------
        ValueError
            If the shape of ``network_map`` is not ``network_shape``.
        """
        if network_map.shape != self.network_shape:
            raise ValueError(f"this geometry is for {self.network_shape}, the map has {network_map.shape}")
        result = np.zeros(self.source_shape, np.float32)
        result[self.box.slices] = _resized(network_map[self.inner.slices], self.box.shape)
        return result


def _resized(array: NDArray[np.float32], shape: Shape) -> NDArray[np.float32]:
    if array.shape == shape:
        return array
    shrinks = shape[0] <= array.shape[0] and shape[1] <= array.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(np.ascontiguousarray(array), (shape[1], shape[0]), interpolation=interpolation)
    return np.asarray(resized, np.float32)
