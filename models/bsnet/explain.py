"""Which parts of a film a Brixia score rests on: occlusion of super-pixels (Signoroni et al. 2021, 5.4).

A film is cut into quick-shift super-pixels (Vedaldi and Soatto 2008), each is set to 0 in turn, and what the
class probabilities lose by it is its importance. The paper prints E = sum_i S_i (p_i - p_0), by which what
supports a class is negative; here the sign is turned, importance = p_0 - p_i. What the paper leaves open is
decided so: gains count as none, the six regions are summed for each class, super-pixels are those of the
network's view before alignment, the three maps share one scale, and lungs and alignment stay those of the
whole film, so that an occlusion cannot move the regions that it is judged in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import quickshift

Judge: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Views, float32 (n, 1, H, W), to class probabilities of the regions, float32 (n, 3, 2, 4)."""

EXPLAINED_CLASSES = (1, 2, 3)
"""Points of a region; that a region is healthy (0) is not explained."""
_ANSWER = (3, 2, 4)
_SEED = 42
_SHRINK = 0.75


@dataclass(frozen=True)
class ExplanationSettings:
    """How a film is cut up, and what counts; lengths are shares, so that views of any size are cut alike.

    Parameters
    ----------
    kernel_share : float
        Width of quick shift's Gaussian kernel as a share of the view's longer side: 4 of 384 pixels.
    contrast_kernels : float
        How many kernel widths apart black and white count in quick shift's joint space.
    distance_kernels : float
        Kernel widths beyond which two points are never of one super-pixel.
    most_superpixels : int
        More than these on the lungs, and the view is cut more coarsely: bounds the time a film takes.
    least_drop : float
        What takes away less than this, in probability summed over the regions, counts as nothing: rounding
        that differs from batch to batch would be stretched to full colour on a film that explains nothing.
    batch_size : int
        Occluded views judged at once.
    """

    kernel_share: float = 4 / 384
    contrast_kernels: float = 5.0
    distance_kernels: float = 2.5
    most_superpixels: int = 200
    least_drop: float = 0.01
    batch_size: int = 8

    def __post_init__(self) -> None:
        """Refuse what cannot be worked with."""
        lengths = (self.kernel_share, self.contrast_kernels, self.distance_kernels, self.least_drop)
        if not all(0 < length < np.inf for length in lengths):
            raise ValueError(f"{self}: shares, kernel widths and least_drop have to be above 0")
        if self.most_superpixels < 1 or self.batch_size < 1:
            raise ValueError(f"{self}: most_superpixels and batch_size have to be at least 1")

    def described(self) -> dict[str, str]:
        """Return what shapes a map, as text."""
        return {
            "superpixels": "quick shift",
            "kernel_share": f"{self.kernel_share:.6g}",
            "contrast_kernels": f"{self.contrast_kernels:.6g}",
            "distance_kernels": f"{self.distance_kernels:.6g}",
            "most_superpixels": str(self.most_superpixels),
            "least_drop": f"{self.least_drop:.6g}",
            "occluded_by": "0",
            "importance": "max(0, p_0 - p_i), sum over six regions",
        }


def explain(
    judge: Judge,
    view: NDArray[np.float32],
    lungs_in_view: NDArray[np.bool_],
    settings: ExplanationSettings | None = None,
) -> NDArray[np.float32]:
    """Return what each part of the lungs adds to the probabilities of 1, 2 and 3 points.

    Parameters
    ----------
    judge : callable
        float32 (n, 1, H, W) to float32 (n, 3, 2, 4): views, occluded or not, to class probabilities by row,
        column and class; for equal views it has to answer equally, whatever else is in the batch.
    view : numpy.ndarray
        float32, shape (H, W), in [0, 1]: what the network sees.
    lungs_in_view : numpy.ndarray
        bool, same shape; super-pixels that do not touch the lungs are left out.
    settings : ExplanationSettings, optional
        How the film is cut up.

    Returns
    -------
    numpy.ndarray
        float32, shape (3, H, W), in [0, 1], for 1, 2 and 3 points: importance as a share of the largest in
        the three maps; 0 outside the lungs.

    Raises
    ------
    ValueError
        If shapes do not fit, or the judge does not answer with finite probabilities.
    """
    return explain_with_facts(judge, view, lungs_in_view, settings)[0]


def explain_with_facts(
    judge: Judge,
    view: NDArray[np.float32],
    lungs_in_view: NDArray[np.bool_],
    settings: ExplanationSettings | None = None,
) -> tuple[NDArray[np.float32], Mapping[str, str]]:
    """Return the maps of ``explain`` with what they were made by, as text.

    The facts are those of ``ExplanationSettings.described``, the number of super-pixels occluded
    (``occlusions``), and ``largest_drop``: the probability, summed over the regions, that full colour means.
    """
    chosen = settings or ExplanationSettings()
    if view.ndim != 2 or lungs_in_view.shape != view.shape:
        raise ValueError(f"view {view.shape} and lungs {lungs_in_view.shape} have to be one (H, W)")
    superpixels = superpixels_on(view, lungs_in_view, chosen)
    drops = _drops(judge, view, superpixels, chosen.batch_size)
    largest = float(drops.max(initial=0.0))
    shares = np.where(drops >= chosen.least_drop, drops / max(largest, chosen.least_drop), 0)
    # one entry more: 0 stands for what touches no lung
    by_label = np.concatenate([np.zeros((1, len(EXPLAINED_CLASSES)), np.float32), shares])
    maps = np.ascontiguousarray(np.moveaxis(by_label[superpixels], -1, 0)) * lungs_in_view
    counted = {"occlusions": str(len(drops)), "largest_drop": f"{largest:.4f}"}
    return maps.astype(np.float32), chosen.described() | counted


def superpixels_on(
    view: NDArray[np.float32], lungs_in_view: NDArray[np.bool_], settings: ExplanationSettings
) -> NDArray[np.int32]:
    """Return the super-pixels that touch the lungs.

    Parameters
    ----------
    view, lungs_in_view, settings
        As for ``explain``.

    Returns
    -------
    numpy.ndarray
        int32, shape (H, W): 1 to n for the super-pixels that touch the lungs, 0 for all else.
    """
    shape, scale = view.shape, 1.0
    while True:
        size = max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))
        smaller = cv2.resize(view, size, interpolation=cv2.INTER_AREA) if scale < 1 else view
        # the kernel keeps its pixels, so that a smaller view has fewer super-pixels, and costs less
        found = _quick_shift(np.asarray(smaller, np.float32), settings.kernel_share * max(shape), settings)
        labels = cv2.resize(found, shape[::-1], interpolation=cv2.INTER_NEAREST) if scale < 1 else found
        touching = np.unique(labels[lungs_in_view])
        if touching.size <= settings.most_superpixels or size == (1, 1):
            break
        scale *= _SHRINK
    numbers = np.zeros(int(labels.max()) + 1, np.int32)
    numbers[touching] = np.arange(1, touching.size + 1, dtype=np.int32)
    return numbers[labels]


def _quick_shift(
    view: NDArray[np.float32], kernel_px: float, settings: ExplanationSettings
) -> NDArray[np.int32]:
    # quick shift refuses a kernel of less than a pixel
    kernel = max(1.0, kernel_px)
    joint = view[..., None].astype(np.float64) * settings.contrast_kernels * kernel
    labels = quickshift(  # type: ignore[no-untyped-call]
        joint,
        ratio=1.0,
        kernel_size=kernel,
        max_dist=settings.distance_kernels * kernel,
        convert2lab=False,
        rng=_SEED,
    )
    return np.asarray(labels, np.int32)


def _drops(
    judge: Judge, view: NDArray[np.float32], superpixels: NDArray[np.int32], batch_size: int
) -> NDArray[np.float32]:
    """Return what each super-pixel takes away: float32, shape (n, 3), probability by class."""
    count = int(superpixels.max(initial=0))
    drops = np.zeros((count, len(EXPLAINED_CLASSES)), np.float32)
    if not count:
        return drops
    whole = _judged(judge, view[None, None].astype(np.float32))
    for first, occluded in _occluded(view, superpixels, count, batch_size):
        lost = np.maximum(0.0, whole - _judged(judge, occluded))[..., EXPLAINED_CLASSES]
        drops[first : first + len(occluded)] = lost.sum(axis=(1, 2))
    return drops


def _occluded(
    view: NDArray[np.float32], superpixels: NDArray[np.int32], count: int, batch_size: int
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    for first in range(0, count, batch_size):
        numbers = np.arange(first, min(first + batch_size, count)) + 1
        hidden = superpixels[None] == numbers[:, None, None]
        yield first, np.where(hidden, np.float32(0), view).astype(np.float32)[:, None]


def _judged(judge: Judge, views: NDArray[np.float32]) -> NDArray[np.float32]:
    answer = np.asarray(judge(views), np.float32)
    if answer.shape != (len(views), *_ANSWER):
        raise ValueError(f"the judge answered {answer.shape} for {len(views)} views, not (n, 3, 2, 4)")
    if not np.isfinite(answer).all():
        raise ValueError("the judge answered with numbers that are not finite")
    return answer
