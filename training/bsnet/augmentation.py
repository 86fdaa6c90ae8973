"""The random changes of films in BS-Net's training (Signoroni et al. 2021, Tables 2 and 11).

A change is drawn once, as a field of sampling positions, and then done to the film and to its lungs alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

ELASTIC_SIDE = 512
"""Side of the films for which the paper states the elastic deformation in pixels."""


@dataclass(frozen=True)
class Augmentation:
    """Ranges and probabilities; the defaults are the paper's (Table 2).

    Every range is symmetric around no change. The paper states no range for brightness and contrast; 0.2 is
    the usual one.

    Parameters
    ----------
    rotation_degrees, rotation_p : float
        Rotation about the film's middle.
    scale, scale_p : float
        Share by which the film grows or shrinks.
    shift, shift_p : float
        Shift down and to the right, as a share of the sides.
    elastic_alpha, elastic_sigma, elastic_p : float
        Elastic deformation, in pixels of a film of 512².
    grid_steps : int
        Cells of the grid distortion along each side.
    grid_limit, grid_p : float
        Share by which a cell of the grid grows or shrinks.
    optical, optical_shift, optical_p : float
        Radial distortion, and the shift of its centre as a share of half the side.
    one_deformation_p : float or None
        In place of the three probabilities before: that of exactly one of the three deformations, as in the
        published code.
    together_p : float or None
        In place of the first three: one probability for rotation, scale and shift together, as in the code.
    flip_p : float
        Mirror left and right; the scores' columns change places with it.
    brightness, contrast, grey_p : float
        Grey values become 0.5 + (value - 0.5) · (1 + contrast) + brightness.
    """

    rotation_degrees: float = 25.0
    rotation_p: float = 0.8
    scale: float = 0.1
    scale_p: float = 0.8
    shift: float = 0.1
    shift_p: float = 0.8
    elastic_alpha: float = 60.0
    elastic_sigma: float = 12.0
    elastic_p: float = 0.2
    grid_steps: int = 5
    grid_limit: float = 0.3
    grid_p: float = 0.2
    optical: float = 0.2
    optical_shift: float = 0.05
    optical_p: float = 0.2
    one_deformation_p: float | None = None
    together_p: float | None = None
    flip_p: float = 0.5
    brightness: float = 0.2
    contrast: float = 0.2
    grey_p: float = 0.5

    def without_geometry(self) -> Augmentation:
        """Return these settings with brightness and contrast alone (Table 11)."""
        return replace(
            self, rotation_p=0.0, scale_p=0.0, shift_p=0.0, elastic_p=0.0, grid_p=0.0, optical_p=0.0,
            one_deformation_p=None, together_p=None, flip_p=0.0,
        )  # fmt: skip

    def mirrored(self) -> Augmentation:
        """Return these settings with every film mirrored."""
        return replace(self, flip_p=1.0)

    def without_grey(self) -> Augmentation:
        """Return these settings with geometry alone (Table 11)."""
        return replace(self, grey_p=0.0)


PAPER = Augmentation()
"""Table 2 of the paper."""

CODE = Augmentation(
    rotation_degrees=30.0, scale=0.1, shift=0.2, together_p=0.5, one_deformation_p=0.3, grid_limit=0.3
)
"""What the published code does in place of that."""

SWITCHES = {
    "none": PAPER.without_geometry().without_grey(),
    "brightness-contrast": PAPER.without_geometry(),
    "geometric": PAPER.without_grey(),
    "all": PAPER,
    "code": CODE,
}
"""The paper's ablation (Table 11) by name, and the code's ranges; ``all`` is the default."""


@dataclass(frozen=True)
class Change:
    """What is done to one film.

    Parameters
    ----------
    field : numpy.ndarray
        float32, (rows, columns, 2): where each pixel of the result comes from, as (x, y) from -1 to 1, the
        outer edges of the source. The flip is in it.
    flipped : bool
        Whether left and right change places.
    brightness, contrast : float
        See ``Augmentation``.
    """

    field: Floats
    flipped: bool
    brightness: float
    contrast: float

    def film(self, film: Floats) -> Floats:
        """Change a film, float32 in [0, 1], (rows, columns); what lies beyond it is 0."""
        warped = warp(film, self.field)
        if self.brightness or self.contrast:
            warped = (warped - 0.5) * np.float32(1 + self.contrast) + np.float32(0.5 + self.brightness)
        return np.asarray(np.clip(warped, 0, 1), np.float32)

    def lungs(self, lungs: Floats) -> Floats:
        """Move a lung map, float32 in [0, 1], (rows, columns), along with its film."""
        return warp(lungs, self.field)

    def scores(self, scores: Floats) -> Floats:
        """Return scores or distributions, (3, 2, ...), of the changed film."""
        return np.ascontiguousarray(scores[:, ::-1]) if self.flipped else scores


def draw(settings: Augmentation, generator: np.random.Generator, side: int) -> Change:
    """Draw the change of one film.

    Parameters
    ----------
    settings : Augmentation
        How often and how far.
    generator : numpy.random.Generator
        Where chance comes from.
    side : int
        Rows and columns of the result.

    Returns
    -------
    Change
    """
    field = identity_field(side)
    field = _affine(settings, generator, field)
    for deform in _deformations(settings, generator):
        field = deform(settings, generator, field)
    flipped = bool(generator.random() < settings.flip_p)
    if flipped:
        field = field[:, ::-1]
    grey = generator.random() < settings.grey_p
    brightness, contrast = generator.uniform(-1, 1, 2) * (settings.brightness, settings.contrast) * grey
    return Change(np.ascontiguousarray(field, np.float32), flipped, float(brightness), float(contrast))


def identity_field(side: int) -> Floats:
    """Return the field that changes nothing, float32, (side, side, 2)."""
    steps = (np.arange(side, dtype=np.float32) * 2 + 1) / side - 1
    return np.stack(np.meshgrid(steps, steps), axis=-1)


def warp(image: Floats, field: Floats) -> Floats:
    """Sample an image (rows, columns) at a field's positions, bilinearly; 0 beyond its edges."""
    rows, columns = image.shape
    x = (field[..., 0] + 1) * (columns / 2) - 0.5
    y = (field[..., 1] + 1) * (rows / 2) - 0.5
    warped = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(warped, np.float32)


def rotated_field(side: int, degrees: float) -> Floats:
    """Return the field that turns a square film about its middle, for robustness curves (Fig. 11)."""
    return _turned(identity_field(side), np.radians(degrees), 1.0, np.zeros(2))


def _turned(field: Floats, angle: float, zoom: float, shift: NDArray[np.float64]) -> Floats:
    cosine, sine = np.cos(angle) * zoom, np.sin(angle) * zoom
    matrix = np.array([[cosine, -sine], [sine, cosine]], np.float32)
    return np.asarray(field @ matrix.T + shift, np.float32)


def _affine(settings: Augmentation, generator: np.random.Generator, field: Floats) -> Floats:
    angle, scale, right, down = generator.uniform(-1, 1, 4)
    chances = generator.random(3)
    if settings.together_p is not None:
        chosen = np.repeat(chances[0] < settings.together_p, 3)
    else:
        chosen = chances < (settings.rotation_p, settings.scale_p, settings.shift_p)
    zoom = 1 / (1 + scale * settings.scale * chosen[1])
    shift = np.array([right, down]) * 2 * settings.shift * chosen[2]
    return _turned(field, np.radians(angle * settings.rotation_degrees * chosen[0]), zoom, shift)


def _elastic(settings: Augmentation, generator: np.random.Generator, field: Floats) -> Floats:
    side = field.shape[0]
    sigma = settings.elastic_sigma * side / ELASTIC_SIDE
    noise = generator.uniform(-1, 1, (*field.shape[:2], 2)).astype(np.float32)
    pixels = cv2.GaussianBlur(noise, (0, 0), sigma) * np.float32(settings.elastic_alpha * side / ELASTIC_SIDE)
    return np.asarray(field + pixels * np.float32(2 / side), np.float32)


def _grid(settings: Augmentation, generator: np.random.Generator, field: Floats) -> Floats:
    regular = np.linspace(-1, 1, settings.grid_steps + 1)
    moved = np.empty_like(field)
    for axis in (0, 1):
        cells = 1 + generator.uniform(-settings.grid_limit, settings.grid_limit, settings.grid_steps)
        ends = np.concatenate(([0.0], np.cumsum(cells))) / cells.sum() * 2 - 1
        inside = np.interp(field[..., axis], regular, ends)
        moved[..., axis] = np.where(np.abs(field[..., axis]) <= 1, inside, field[..., axis])
    return moved


def _optical(settings: Augmentation, generator: np.random.Generator, field: Floats) -> Floats:
    strength = generator.uniform(-settings.optical, settings.optical)
    centre = generator.uniform(-settings.optical_shift, settings.optical_shift, 2).astype(np.float32)
    away = field - centre
    radius = (away**2).sum(axis=-1, keepdims=True) / 2
    return np.asarray(centre + away * (1 + np.float32(strength) * radius), np.float32)


def _deformations(settings: Augmentation, generator: np.random.Generator):  # type: ignore[no-untyped-def]
    kinds = (_elastic, _grid, _optical)
    chances = generator.random(3)
    if settings.one_deformation_p is not None:
        return (kinds[int(chances[1] * 3)],) if chances[0] < settings.one_deformation_p else ()
    limits = (settings.elastic_p, settings.grid_p, settings.optical_p)
    return tuple(kind for kind, chance, limit in zip(kinds, chances, limits, strict=True) if chance < limit)
