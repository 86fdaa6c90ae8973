"""What BS-Net sees of a film: the only place where that is made, for training and inference alike.

The paper's chain (Signoroni et al. 2021, section "Data"): scale to [0, 1], CLAHE, median 3 x 3, clip to two
percentiles, resize. ``BSNetSpec.reduce_first`` resizes before the rest: a departure that takes tens of
milliseconds instead of seconds, and looks at noise and contrast at the size that the network sees.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.bsnet.spec import BSNetSpec, Preprocessing
from models.geometry import Box, CropResize

CLIP_LIMIT = 0.01
"""Of CLAHE in scikit-image's normalised sense: the share of a tile's pixels that one of 256 grey values may
have. OpenCV's figure for the same is 2.56."""

EQUALIZATION_BINS = 4096
"""Of the published loader's histogram equalisation: one for each grey value of 12 bits."""


def preprocess(pixels: NDArray[np.float32], spec: BSNetSpec) -> NDArray[np.float32]:
    """Make the network's view of a film.

    Parameters
    ----------
    pixels : numpy.ndarray
        float32, shape (rows, columns), in [0, 1], 0 = black, MONOCHROME2 sense, the patient's right at the
        image's left.
    spec : BSNetSpec
        Names the chain, the order and the size.

    Returns
    -------
    numpy.ndarray
        float32, ``spec.input_shape``, in [0, 1]; the whole film, stretched. All 0 for a film of one grey
        value.
    """
    shape = (pixels.shape[0], pixels.shape[1])
    geometry = CropResize(shape, Box.whole(shape), spec.input_shape)
    if spec.reduce_first:
        return _prepared(geometry.forward(pixels), spec)
    return np.clip(geometry.forward(_prepared(pixels, spec)), 0, 1)


def _prepared(film: NDArray[np.float32], spec: BSNetSpec) -> NDArray[np.float32]:
    low, high = float(film.min()), float(film.max())
    if high <= low:
        return np.zeros_like(film)
    if spec.preprocessing is Preprocessing.PERCENTILES:
        return _windowed(film, spec.window_percentiles)
    from skimage import exposure  # noqa: PLC0415 - takes a second; whoever only reads a spec needs it not

    if spec.preprocessing is Preprocessing.EQUALIZE:
        flat = exposure.equalize_hist(film, nbins=EQUALIZATION_BINS)  # type: ignore[no-untyped-call]
        return np.asarray(flat, np.float32)
    local = exposure.equalize_adapthist(film / high, clip_limit=CLIP_LIMIT)
    median = cv2.medianBlur(np.asarray(local, np.float32), 3)
    return _windowed(np.asarray(median, np.float32), spec.window_percentiles)


def _windowed(film: NDArray[np.float32], percentiles: tuple[float, float]) -> NDArray[np.float32]:
    low, high = (np.float32(value) for value in np.percentile(film, percentiles))
    if high <= low:  # nearly all of one grey value: whatever differs from it is all there is
        low, high = film.min(), film.max()
    return np.asarray(np.clip((film - low) / (high - low), 0, 1), np.float32)
