"""Supervisely's bitmaps: base64 of zlib of a PNG, with the corner at which it lies on the film."""

from __future__ import annotations

import base64
import binascii
import io
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.geometry import Box

MOST_BYTES = 256 << 20
"""Largest PNG that a bitmap may inflate to."""

CLEAN_UP_SHARE, CLEAN_UP_ROUNDS = 0.01, 3


def decode_bitmap(data: str) -> NDArray[np.bool_]:
    """Return the mask of a bitmap.

    Parameters
    ----------
    data : str
        base64(zlib(PNG)).

    Returns
    -------
    numpy.ndarray
        bool, (rows, columns) of the object's rectangle. With an alpha plane its opaque pixels, otherwise
        those that are not 0 (palette files: whose index is not 0).

    Raises
    ------
    ValueError
        If the data are no such bitmap.
    """
    try:
        inflater = zlib.decompressobj()
        png = inflater.decompress(base64.b64decode(data, validate=True), MOST_BYTES)
        values = np.asarray(Image.open(io.BytesIO(png)))
    except (binascii.Error, zlib.error, OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"bitmap data cannot be decoded ({error})") from error
    if values.ndim == 3:
        plane = values[..., -1] if values.shape[2] in (2, 4) else values.max(axis=2)
        return np.asarray(plane > 0)
    return np.asarray(values > 0)


def encode_bitmap(mask: NDArray[np.bool_]) -> tuple[str, tuple[int, int]]:
    """Return a mask as a bitmap and its origin.

    Parameters
    ----------
    mask : numpy.ndarray
        bool, (rows, columns), not empty.

    Returns
    -------
    tuple of (str, (int, int))
        The data, and (x, y) of the first column and row of the object's rectangle.

    Raises
    ------
    ValueError
        If the mask is empty.
    """
    box = Box.around(mask)
    plane = np.where(mask[box.slices], np.uint8(255), np.uint8(0))
    buffer = io.BytesIO()
    Image.fromarray(np.repeat(plane[..., None], 4, axis=2)).save(buffer, "PNG", optimize=True)
    return base64.b64encode(zlib.compress(buffer.getvalue())).decode("ascii"), (box.left, box.top)


def opened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return an object's bitmap after the published clean-up.

    Danilov et al. 2022, public code: an opening with an ellipse whose side is 1 % of the bitmap's shorter
    side, at least one pixel, three times.

    Parameters
    ----------
    mask : numpy.ndarray
        bool, (rows, columns) of the object's rectangle.

    Returns
    -------
    numpy.ndarray
        bool, same shape.
    """
    side = max(1, int(CLEAN_UP_SHARE * min(mask.shape)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    result = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, kernel, iterations=CLEAN_UP_ROUNDS)
    return np.asarray(result, np.uint8) > 0
