"""Plain folders of pictures and masks, with or without a table; the published generator's layout among them.

    ROOT/img/NAME.png               ROOT/mask/NAME.png
    ROOT/DATASET/img/NAME.png       ROOT/DATASET/mask/NAME.png
    ROOT/train/DATASET/img/…        subset and data set, in either order
    ROOT/metadata.csv               read where it is there; see training.data.readers.metadata

``images`` and ``masks`` are taken for ``img`` and ``mask``; ``opacity`` or ``disease`` beside them holds
opacity masks. A folder of masks must have one for every picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from training.data.film_record import SUBSETS, FilmRecord, PrepareError, Problem, Reading, film_name
from training.data.pictures import PICTURE_SUFFIXES, GreyFile, MaskFile
from training.data.readers.metadata import read_metadata, with_metadata

IMAGE_FOLDERS = ("img", "images")
MASK_FOLDERS = ("mask", "masks")
OPACITY_FOLDERS = ("opacity", "disease")
ENDINGS = ("", "_mask", "-mask")
"""What may follow a picture's name in its mask's."""


@dataclass(frozen=True)
class FolderOptions:
    """How folders are read.

    Parameters
    ----------
    masks_show : str
        ``lungs`` or ``opacity``: what ``mask`` folders hold.
    source : str
        Data set of pictures that lie in no folder of their own; ``""`` for the root's name.
    """

    masks_show: str = "lungs"
    source: str = ""


def read_folders(root: Path, options: FolderOptions) -> Reading:
    """Read folders of pictures and masks.

    Parameters
    ----------
    root : pathlib.Path
        Searched with its subfolders.
    options : FolderOptions
        See there.

    Returns
    -------
    Reading

    Raises
    ------
    PrepareError
        If there is no folder of pictures, or the table cannot be read.
    """
    folders = sorted(path for path in root.glob("**/*") if path.is_dir() and path.name in IMAGE_FOLDERS)
    if root.name in IMAGE_FOLDERS and not folders:
        folders, root = [root], root.parent
    if not folders:
        raise PrepareError(f"no folder called img or images in {root}; see training/README.md for the layout")
    records: list[FilmRecord] = []
    problems: list[Problem] = []
    for folder in folders:
        found, faults = _read(folder, root, options)
        records += found
        problems += faults
    reading = Reading(tuple(records), tuple(problems), {}, ())
    table = root / "metadata.csv"
    if not table.is_file():
        note = "without metadata.csv each film counts as a patient of its own"
        return Reading(reading.records, reading.problems, {}, (note,))
    return with_metadata(reading, read_metadata(table), lambda record: (record.original_filename,))


def _read(folder: Path, root: Path, options: FolderOptions) -> tuple[list[FilmRecord], list[Problem]]:
    parts = folder.relative_to(root).parts[:-1]
    split = next((part for part in parts if part in SUBSETS), "")
    source = "-".join(part for part in parts if part not in SUBSETS) or options.source or root.name
    masks = _index(folder.parent, MASK_FOLDERS)
    opacity = _index(folder.parent, OPACITY_FOLDERS)
    if options.masks_show == "opacity":
        masks, opacity = None, masks
    records, problems = [], []
    for image in sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES):
        name = film_name(source, image.stem)
        found = [_mask_of(image, index) for index in (masks, opacity)]
        for index, mask in zip((masks, opacity), found, strict=True):
            if index is not None and mask is None:
                message = (
                    f"{image} has no mask beside it; add {image.stem}.png, all 0 where nothing is marked"
                )
                problems.append(Problem(name, "mask is missing", message))
        lungs, marked = found
        records.append(
            FilmRecord(
                name=name,
                source_dataset=source,
                patient_group=name,
                image=GreyFile(image),
                lung_mask=lungs,
                opacity_mask=marked,
                split=split,
                original_filename=image.name,
            )
        )
    used = {Path(mask.where) for record in records for mask in record.masks.values()}
    for index in (masks, opacity):
        for path in sorted(set((index or {}).values()) - used):
            message = f"{path} belongs to no picture in {folder}; add the picture or remove the mask"
            problems.append(Problem(film_name(source, path.stem), "image is missing", message))
    return records, problems


def _index(parent: Path, names: tuple[str, ...]) -> dict[str, Path] | None:
    folders = [parent / name for name in names if (parent / name).is_dir()]
    if not folders:
        return None
    files = sorted(path for path in folders[0].iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    # A PNG wins over a JPEG of the same name, which cannot hold a mask without loss.
    return {path.stem: path for path in sorted(files, key=lambda path: path.suffix.lower() == ".png")}


def _mask_of(image: Path, index: dict[str, Path] | None) -> MaskFile | None:
    for ending in ENDINGS:
        if index and image.stem + ending in index:
            return MaskFile(index[image.stem + ending])
    return None
