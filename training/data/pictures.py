"""Pictures and masks of a source, decoded when they are asked for: 8-bit grey, or 0 and 255."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
"""Endings of files that are taken for pictures, in lower case."""

INSIDE, OUTSIDE = 255, 0
"""The two values of a mask as it is written."""

BINARY = "0 and 255, or 0 and 1"

_OPENING_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, EOFError)


class PictureError(Exception):
    """A picture or mask cannot be used.

    Parameters
    ----------
    kind : str
        A few words that are the same for the same fault, for counting.
    message : str
        What is wrong with this one, and what to do.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class Picture(Protocol):
    """Something that yields a picture: a file, polygons, a DICOM object."""

    @property
    def where(self) -> str:
        """The file it comes from, for messages."""
        ...

    def load(self) -> NDArray[np.uint8]:
        """Return uint8 (rows, columns); a mask holds 0 and 255 only.

        Raises
        ------
        PictureError
            If there is none, or it is damaged or not what it should be.
        """
        ...


@dataclass(frozen=True)
class GreyFile:
    """A picture file that Pillow reads, as 8-bit grey.

    Colour becomes luminance (ITU-R BT.601), transparent areas black, 16 bits are scaled to their range, and a
    turn that is written in the file is applied.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    """

    path: Path

    @property
    def where(self) -> str:
        """The file."""
        return str(self.path)

    def load(self) -> NDArray[np.uint8]:
        """Return uint8 (rows, columns); see ``Picture.load``."""
        picture = ImageOps.exif_transpose(_opened(self.path, "image"))
        if picture.mode.startswith("I") or picture.mode == "F":
            return _scaled(np.asarray(picture, np.float64))
        if "A" in picture.getbands() or "transparency" in picture.info:
            picture = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture)
        return np.asarray(picture.convert("L"), np.uint8)

    def plain(self) -> bool:
        """Tell whether the file can be copied as it is: 8-bit grey PNG or JPEG without a turn."""
        with Image.open(self.path) as picture:
            upright = picture.getexif().get(0x0112, 1) == 1
            return upright and picture.mode == "L" and picture.format in ("PNG", "JPEG")


@dataclass(frozen=True)
class MaskFile:
    """A mask file.

    Palette files count by palette index, files with transparency by their opacity.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    inside : int or None
        The one value that means "inside"; None for any mask of 0 and 255, or 0 and 1.
    others : tuple of int
        Values that may occur besides and mean "outside", when ``inside`` is given.
    """

    path: Path
    inside: int | None = None
    others: tuple[int, ...] = (OUTSIDE,)

    @property
    def where(self) -> str:
        """The file."""
        return str(self.path)

    def load(self) -> NDArray[np.uint8]:
        """Return uint8 (rows, columns), 0 and 255; see ``Picture.load``."""
        values = mask_plane(_opened(self.path, "mask"), self.where)
        if self.inside is None:
            return binary(values, self.where)
        found = np.unique(values)
        strange = sorted(set(found.tolist()) - {self.inside, *self.others})
        if strange:
            expected = " ".join(str(value) for value in sorted({self.inside, *self.others}))
            raise values_error(strange, expected, self.where)
        return np.where(values == self.inside, np.uint8(INSIDE), np.uint8(OUTSIDE))


def mask_plane(picture: Image.Image, where: str) -> NDArray[np.uint8]:
    """Return the one plane of a mask picture that tells inside from outside.

    Parameters
    ----------
    picture : PIL.Image.Image
        Palette, bilevel, grey, grey or colour with alpha, or colour whose planes are equal.
    where : str
        For the message.

    Returns
    -------
    numpy.ndarray
        uint8, (rows, columns): palette indices; 0 and 1 for bilevel; the alpha plane where it is not the same
        everywhere; the grey plane otherwise.

    Raises
    ------
    PictureError
        If the picture is in colour or has more than 8 bits.
    """
    values = np.asarray(picture)
    if values.ndim == 2 and values.dtype in (np.uint8, np.bool_):
        return values.astype(np.uint8)
    if values.ndim == 3 and values.dtype == np.uint8:
        if values.shape[2] in (2, 4) and np.ptp(values[..., -1]) > 0:
            return values[..., -1]
        colours = values[..., :3] if values.shape[2] >= 3 else values[..., :1]
        if not np.ptp(colours, axis=2).any():
            return np.asarray(colours[..., 0], np.uint8)
    raise PictureError(
        "mask is not grey", f"{where} is in colour or has more than 8 bits; make it 8-bit grey"
    )


def binary(values: NDArray[np.uint8], where: str) -> NDArray[np.uint8]:
    """Return a mask of 0 and 255, given one of 0 and 255 or of 0 and 1.

    Raises
    ------
    PictureError
        If it holds other values.
    """
    found = set(np.unique(values).tolist())
    if not (found <= {0, 255} or found <= {0, 1}):
        raise values_error(sorted(found - {0, 255}), BINARY, where)
    return np.where(values > 0, np.uint8(INSIDE), np.uint8(OUTSIDE))


def values_error(strange: list[int], expected: str, where: str) -> PictureError:
    """Return the error for a mask with other values than those expected."""
    listed = ", ".join(str(value) for value in strange[:6]) + (", …" if len(strange) > 6 else "")
    return PictureError(
        "mask with other values",
        f"{where} also holds {listed}; a mask holds {expected}. If it was saved as JPEG or resized, "
        "export it again as PNG without smoothing",
    )


def _opened(path: Path, what: str) -> Image.Image:
    if not path.is_file():
        raise PictureError(f"{what} is missing", f"{path} does not exist; put it there or correct its name")
    try:
        picture = Image.open(path)
        picture.load()
    except _OPENING_ERRORS as error:
        message = f"{path} is damaged or no picture ({type(error).__name__}); export it again"
        raise PictureError(f"{what} cannot be read", message) from error
    return picture


def _scaled(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    low, high = float(values.min()), float(values.max())
    scale = 255.0 / (high - low) if high > low else 0.0
    return np.asarray(np.rint((values - low) * scale), np.uint8)
