"""The synthetic alignment set: distorted lung masks and what they should look like in the standard frame.

Signoroni et al. 2021, section "Lung alignment": the aligner learns from masks alone. Its target is the mask
before the distortion, upright and filling the frame. Where the published code turns the angle from radians to
degrees wrongly, the orientation here is removed in full, but only where it is plausible.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.bsnet.aligner import SIDE
from models.zones import NoLungs, clean, separate
from training.bsnet.augmentation import Augmentation, draw, identity_field, warp

Floats = NDArray[np.float32]

MARGIN = 3 / 128
"""Between the lungs' box and the frame, as a share of the frame's side (3 pixels of 128 in the code)."""

LEAN = -1.9
"""Degrees by which upright lungs seem turned: mean over the human masks of the training films."""

PLAUSIBLE_DEGREES = 15.0
"""Beyond this a mask's orientation says more of its shape than of the patient's; the paper saw up to 15."""


@dataclass(frozen=True)
class AlignmentPair:
    """One example.

    Parameters
    ----------
    lungs, target : numpy.ndarray
        float32 in [0, 1], (128, 128): the distorted mask, and the undistorted one in the standard frame.
    """

    lungs: Floats
    target: Floats


def orientation(mask: NDArray[np.bool_]) -> float | None:
    """Estimate by how many degrees lungs are turned.

    The mean of two estimates with opposite faults: the long axes of the two lungs, whose lean cancels out
    between left and right, and the line between their centres.

    Parameters
    ----------
    mask : numpy.ndarray
        bool, (rows, columns), square pixels.

    Returns
    -------
    float or None
        Degrees, counter-clockwise; None where two lungs cannot be told apart or the angle is implausible.
    """
    lungs = separate(clean(mask))
    if isinstance(lungs, NoLungs):
        return None
    centres, axes = zip(*(_centre_and_axis(lung) for lung in (lungs.right, lungs.left)), strict=True)
    across = centres[1] - centres[0]
    line = -math.degrees(math.atan2(across[1], across[0]))
    degrees = (sum(axes) / 2 + line) / 2 - LEAN
    return degrees if abs(degrees) <= PLAUSIBLE_DEGREES else None


def standard_frame(mask: NDArray[np.bool_]) -> Floats | None:
    """Return the transform that brings lungs upright and lets them fill the standard frame.

    Parameters
    ----------
    mask : numpy.ndarray
        bool, (rows, columns), square.

    Returns
    -------
    numpy.ndarray or None
        float32, (2, 3), as ``models.bsnet.aligner``: (x, y, 1) of the frame to (x, y) of the mask;
        None for an empty mask.
    """
    rows, columns = np.nonzero(mask)
    if not rows.size:
        return None
    # The lungs turned back by the angle have the box that is wanted.
    angle = math.radians(orientation(mask) or 0.0)
    cosine, sine = math.cos(angle), math.sin(angle)
    x, y = (columns * 2 + 1) / mask.shape[1] - 1, (rows * 2 + 1) / mask.shape[0] - 1
    upright = np.stack([cosine * x - sine * y, sine * x + cosine * y])
    low, high = upright.min(axis=1), upright.max(axis=1)
    half = (high - low) / 2 / (1 - 2 * MARGIN)
    centre = (high + low) / 2
    back = np.array([[cosine, sine], [-sine, cosine]])
    return np.concatenate([back * half, (back @ centre)[:, None]], axis=1).astype(np.float32)


def frame_field(theta: Floats, side: int = SIDE) -> Floats:
    """Return a transform as a field for ``training.bsnet.augmentation.warp``, float32, (side, side, 2)."""
    return np.asarray(identity_field(side) @ theta[:, :2].T + theta[:, 2], np.float32)


def alignment_pair(
    mask: Floats, theta: Floats, settings: Augmentation, generator: np.random.Generator
) -> AlignmentPair:
    """Make one example from a lung mask.

    Parameters
    ----------
    mask : numpy.ndarray
        float32 in [0, 1], (128, 128).
    theta : numpy.ndarray
        Its ``standard_frame``.
    settings : Augmentation
        The distortions; grey values do not matter, a flip moves the target along.
    generator : numpy.random.Generator
        Where chance comes from.

    Returns
    -------
    AlignmentPair
    """
    change = draw(settings, generator, SIDE)
    target = warp(mask, frame_field(theta))
    if change.flipped:
        target = np.ascontiguousarray(target[:, ::-1])
    return AlignmentPair(change.lungs(mask), target)


def alignment_mask(lungs: Floats) -> Floats:
    """Bring a lung map, float32 in [0, 1], to the aligner's size (128, 128)."""
    return np.asarray(cv2.resize(lungs, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32)


def _centre_and_axis(lung: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    rows, columns = np.nonzero(lung)
    points = np.stack([columns, rows]).astype(np.float64)
    _, vectors = np.linalg.eigh(np.cov(points))
    across, down = vectors[:, 1] * (1 if vectors[1, 1] >= 0 else -1)
    return points.mean(axis=1), math.degrees(math.atan2(across, down))
