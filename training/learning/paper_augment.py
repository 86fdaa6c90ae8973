"""The random changes of training films in the two-stage workflow, at the film's own resolution.

Danilov et al. 2022, section "Training", in their order: CLAHE, random sized crop, rotation, flip, brightness
and contrast. Films are changed before they are resized to the network's input.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray

from training.learning.config import ConfigError

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class PaperAugmentationSettings:
    """Probabilities and ranges; the defaults are the paper's.

    Parameters
    ----------
    clahe, crop, rotate, flip, brightness_contrast : float
        Probability of each step, in [0, 1].
    clahe_clip_limit : tuple of float
        Range of the clip limit, relative to a uniform histogram.
    clahe_tiles : int
        Tiles along each side.
    crop_height : tuple of float
        Range of the crop's side, as a share of the film's shorter side. The paper's public code takes shares
        of the network's input instead, which fails on small films and cuts tiny pieces from large ones.
    rotation_degrees : float
        Largest angle, either way; the film is mirrored at its border.
    brightness, contrast : float
        Largest change: of the grey value as a share of 255, and of its factor.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    clahe: float = 0.2
    crop: float = 0.2
    rotate: float = 0.5
    flip: float = 0.5
    brightness_contrast: float = 0.2
    clahe_clip_limit: tuple[float, float] = (1.0, 4.0)
    clahe_tiles: int = 8
    crop_height: tuple[float, float] = (0.7, 0.9)
    rotation_degrees: float = 15.0
    brightness: float = 0.2
    contrast: float = 0.2

    def __post_init__(self) -> None:
        chances = ("clahe", "crop", "rotate", "flip", "brightness_contrast")
        for name in (item.name for item in fields(self)):
            value = getattr(self, name)
            if name in chances and not 0 <= value <= 1:
                raise ConfigError(f"augmentation: the probability {name} is {value}; it must lie in 0 to 1")
        low, high = self.crop_height
        if not 0 < low <= high <= 1:
            raise ConfigError(
                f"augmentation: crop_height is {low} to {high}; both must lie in 0 to 1, in order"
            )


@dataclass(frozen=True)
class Changes:
    """What is done to one film; None leaves a step out.

    Parameters
    ----------
    clip_limit : float or None
        Of CLAHE.
    crop : tuple of float or None
        Side as a share of the film's shorter side; where it lies, as shares of the room there is downwards
        and to the right.
    degrees : float or None
        Rotation, counter-clockwise.
    flip : bool
        Mirror left and right.
    brightness_contrast : tuple of float or None
        Grey values become value · (1 + contrast) + 255 · brightness.
    """

    clip_limit: float | None = None
    crop: tuple[float, float, float] | None = None
    degrees: float | None = None
    flip: bool = False
    brightness_contrast: tuple[float, float] | None = None


@dataclass(frozen=True)
class PaperAugmentation:
    """Changes films and their masks together, reproducibly.

    Parameters
    ----------
    settings : PaperAugmentationSettings
        How often and how far.
    """

    settings: PaperAugmentationSettings = PaperAugmentationSettings()

    def __call__(self, film: Bytes, masks: Bytes, generator: np.random.Generator) -> tuple[Bytes, Bytes]:
        """Change one film.

        Parameters
        ----------
        film : numpy.ndarray
            uint8, shape (rows, columns), 0 to 255.
        masks : numpy.ndarray
            uint8, shape (layers, rows, columns), any labels; there may be no layer.
        generator : numpy.random.Generator
            Where chance comes from.

        Returns
        -------
        film : numpy.ndarray
            uint8; smaller and square if it was cropped, otherwise of the same shape.
        masks : numpy.ndarray
            uint8, same rows and columns; no label is new.
        """
        return apply(self.draw(generator), film, masks, self.settings.clahe_tiles)

    def draw(self, generator: np.random.Generator) -> Changes:
        """Draw the changes of one film; every film uses up the same count of random numbers."""
        settings = self.settings
        chances = generator.random(5)
        clip_limit = generator.uniform(*settings.clahe_clip_limit)
        crop = (generator.uniform(*settings.crop_height), generator.random(), generator.random())
        degrees = generator.uniform(-settings.rotation_degrees, settings.rotation_degrees)
        brightness = generator.uniform(-settings.brightness, settings.brightness)
        contrast = generator.uniform(-settings.contrast, settings.contrast)
        return Changes(
            clip_limit=clip_limit if chances[0] < settings.clahe else None,
            crop=crop if chances[1] < settings.crop else None,
            degrees=degrees if chances[2] < settings.rotate else None,
            flip=bool(chances[3] < settings.flip),
            brightness_contrast=(brightness, contrast) if chances[4] < settings.brightness_contrast else None,
        )


def apply(changes: Changes, film: Bytes, masks: Bytes, clahe_tiles: int = 8) -> tuple[Bytes, Bytes]:
    """Do what was drawn, in the paper's order; shapes as in ``PaperAugmentation``.

    Raises
    ------
    ValueError
        If film and masks do not have the same rows and columns.
    """
    if film.ndim != 2 or masks.ndim != 3 or masks.shape[1:] != film.shape:
        raise ValueError(f"masks of shape {masks.shape} do not lie on a film of shape {film.shape}")
    if changes.clip_limit is not None:
        clahe = cv2.createCLAHE(clipLimit=changes.clip_limit, tileGridSize=(clahe_tiles, clahe_tiles))
        film = _bytes(clahe.apply(film))
    if changes.crop is not None:
        rows, columns = _crop(changes.crop, film.shape)
        film, masks = film[rows, columns], masks[:, rows, columns]
    if changes.degrees is not None:
        film = _rotated(film, changes.degrees, cv2.INTER_LINEAR)
        masks = _stacked([_rotated(mask, changes.degrees, cv2.INTER_NEAREST) for mask in masks], masks)
    if changes.flip:
        film, masks = film[:, ::-1], masks[:, :, ::-1]
    if changes.brightness_contrast is not None:
        film = _regraded(film, *changes.brightness_contrast)
    return np.ascontiguousarray(film), np.ascontiguousarray(masks)


def _crop(crop: tuple[float, float, float], shape: tuple[int, ...]) -> tuple[slice, slice]:
    share, down, right = crop
    side = max(1, round(share * min(shape)))
    top = min(int(down * (shape[0] - side + 1)), shape[0] - side)
    left = min(int(right * (shape[1] - side + 1)), shape[1] - side)
    return slice(top, top + side), slice(left, left + side)


def _rotated(image: Bytes, degrees: float, interpolation: int) -> Bytes:
    rows, columns = image.shape
    matrix = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), degrees, 1.0)
    return _bytes(
        cv2.warpAffine(image, matrix, (columns, rows), flags=interpolation, borderMode=cv2.BORDER_REFLECT_101)
    )


def _stacked(masks: list[Bytes], like: Bytes) -> Bytes:
    return np.stack(masks) if masks else like


def _regraded(film: Bytes, brightness: float, contrast: float) -> Bytes:
    table = np.arange(256, dtype=np.float32) * np.float32(1 + contrast) + np.float32(255 * brightness)
    return _bytes(np.clip(np.rint(table), 0, 255)[film])


def _bytes(values: object) -> Bytes:
    return np.asarray(values, np.uint8)
