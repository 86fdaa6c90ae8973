"""Write the kept objects anew: ``python -m tests.golden.write [CASE ...]``; then read ``git diff``."""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread

from dicom_node.instance import ObjectKind
from tests.golden.cases import CASES
from tests.golden.readable import readable

FOLDER = Path(__file__).parent / "objects"
PICTURES: tuple[ObjectKind, ...] = ("sc", "map")


def path_of(case: str, kind: ObjectKind) -> Path:
    return FOLDER / f"{case}.{kind}.txt"


def picture_path(case: str, kind: ObjectKind) -> Path:
    return FOLDER / f"{case}.{kind}.png"


def text_of(kind: ObjectKind, encoded: bytes) -> str:
    """The pixels of pictures are resampled and lettered, which is not the same to the last bit everywhere."""
    return readable(encoded, pixels=kind not in PICTURES)


def picture_of(encoded: bytes) -> NDArray[np.uint8]:
    """The picture at half its size, which keeps the repository small and evens out a letter's edges."""
    full = Image.fromarray(np.asarray(dcmread(BytesIO(encoded)).pixel_array, np.uint8))
    return np.asarray(full.reduce(2))


def write(names: list[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in names:
        for kind, encoded in CASES[name].build().instances.items():
            path_of(name, kind).write_text(text_of(kind, encoded), encoding="utf-8")
            if kind in PICTURES:
                Image.fromarray(picture_of(encoded)).save(picture_path(name, kind), optimize=True)
        print(f"{name}: {', '.join(CASES[name].settings.objects)}")  # noqa: T201 - what a command tells


if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - set(CASES)
    if unknown:
        sys.exit(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    write(sys.argv[1:] or list(CASES))
