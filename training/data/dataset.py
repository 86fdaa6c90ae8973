"""The data folder's ``manifest.csv`` as films and their labels; labels that are missing stay missing."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.geometry import Box
from models.result import ZONE_ORDER

# The seed networks whose zone fractions serve as soft labels: the four with the least error on the published
# training subset (see training/README.md).
TEACHERS = ("Unet_dpn98", "FPN_", "Linknet_", "MAnet_")

# Their columns run from the bottom up, the lung at the image's left first; ours from the apex down.
TEACHER_COLUMNS = tuple(f"lung_segment_{number}" for number in (3, 2, 1, 6, 5, 4))
BRIXIA_ZONES = "ABCDEF"
ZONE_COLUMNS = tuple(f"zone_{side}_{level}" for side, level in ZONE_ORDER)
CREDIT_COLUMNS = ("source_dataset", "licence", "doi_or_url")


class DataError(Exception):
    """The data folder cannot be used; the message says what is missing and what to do."""


@dataclass(frozen=True)
class Film:
    """One radiograph of the data folder and what is known of it; None where nothing is.

    Zones are in the order right upper, middle, lower, left upper, middle, lower.

    Parameters
    ----------
    name, source, group, split, finding : str
        Identifier, source data set, patient group, train/val/test, finding group.
    image : pathlib.Path
        The 8-bit grey image.
    lung_masks : tuple of pathlib.Path
        The lung mask, and a second reader's.
    opacity_mask : pathlib.Path or None
        Ground glass or consolidation.
    boxes : tuple of Box
        Boxes around opacities; empty where there are none or none were looked for.
    brixia : numpy.ndarray or None
        Six zone scores, 0 to 3, mean of the readers.
    brixia_readers : tuple of numpy.ndarray
        The six zone scores of each reader.
    teacher : numpy.ndarray or None
        Six opacified shares in [0, 1], mean of the seed networks.
    consensus : float or None
        Readers' 0-6 score; None for films whose quality the readers called poor.
    view, sex : str
        As the source says, e.g. ``AP Supine`` and ``F``; empty where it does not.
    age : float or None
        Years; None where the source gives no plain number.
    licence_class : str
        Of the image: ``open``, ``nc``, ``nc-nd`` or ``unstated``; empty where the manifest does not say.
    credit : str
        Where the image comes from and under which licence, in words, as far as the manifest says.
    published_name : str
        The film's file name in the published tables; empty where it is not in them.
    guess : pathlib.Path or None
        A guessed opacity mask, see ``training.guesses``.
    guess_weight : float
        What the guess counts in training.
    zones : numpy.ndarray or None
        Which zones a reader called involved, float32: 1 or 0, NaN where nothing is said of a zone.
    """

    name: str
    source: str
    group: str
    split: str
    finding: str
    image: Path
    lung_masks: tuple[Path, ...]
    opacity_mask: Path | None
    boxes: tuple[Box, ...]
    brixia: NDArray[np.float32] | None
    brixia_readers: tuple[NDArray[np.float32], ...]
    teacher: NDArray[np.float32] | None
    consensus: float | None
    view: str = ""
    sex: str = ""
    age: float | None = None
    licence_class: str = ""
    credit: str = ""
    published_name: str = ""
    guess: Path | None = None
    guess_weight: float = 0.0
    zones: NDArray[np.float32] | None = None

    @property
    def normal(self) -> bool:
        """True if the source calls the film normal and no reader disagrees."""
        return self.finding == "normal" and not self.consensus


def read_manifest(folder: Path) -> list[Film]:
    """Read ``manifest.csv`` and the published scores beside it.

    Parameters
    ----------
    folder : pathlib.Path
        The data folder.

    Returns
    -------
    list of Film
        In the manifest's order.

    Raises
    ------
    DataError
        If there is no manifest in the folder, or it lacks a column.
    """
    path = folder / "manifest.csv"
    if not path.is_file():
        raise DataError(f"no manifest.csv in {folder}; name the data folder with --data or CXR_DATASET")
    teachers = _read_teachers(folder / "published" / "model_outputs")
    with path.open(encoding="utf-8", newline="") as file:
        try:
            return [_film(row, folder, teachers) for row in csv.DictReader(file)]
        except KeyError as error:
            raise DataError(
                f"{path} lacks the column {error}; see training/README.md for its form"
            ) from error


def read_pixels(path: Path) -> NDArray[np.float32]:
    """Read an 8-bit grey image as float32 (rows, columns) in [0, 1].

    Raises
    ------
    DataError
        If the file is missing or is no image.
    """
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise DataError(f"cannot read the image {path}; check that the data folder is complete")
    return np.asarray(image, np.float32) / np.float32(255.0)


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask image as bool (rows, columns); any value above half of 255 is True."""
    return read_pixels(path) > 0.5


def film_presence(film: Film) -> float:
    """Return 1.0 if a film shows opacity, 0.0 if it does not, NaN if nobody knows."""
    if film.opacity_mask:
        return float(read_mask(film.opacity_mask).any())
    if film.normal or film.consensus == 0:
        return 0.0
    if film.consensus is not None or film.boxes or film.finding == "pneumonia":
        return 1.0
    if film.brixia is not None:
        return float(film.brixia.sum() > 0)
    if film.zones is not None and np.nansum(film.zones) > 0:
        return 1.0
    return math.nan


def _film(row: dict[str, str], folder: Path, teachers: dict[str, NDArray[np.float32]]) -> Film:
    masks = [folder / row[key] for key in ("mask_file", "mask_alt_file") if row[key]]
    readers = tuple(scores for reader in "SJ" if (scores := _brixia(row, reader)) is not None)
    good = row["reader_consensus"] and row["reader_poor_quality"] != "yes"
    contradicted = "disease_mask_contradicts_score" in row["quality_flags"] and row["split"] != "test"
    opacity = row["disease_mask_file"] if not contradicted else ""
    return Film(
        name=row["id"],
        source=row["id"].split("_")[0],
        group=row["patient_group"],
        split=row["split"],
        finding=row["finding_group"],
        image=folder / row["file"],
        lung_masks=tuple(masks),
        opacity_mask=folder / opacity if opacity else None,
        boxes=_boxes(row["opacity_boxes"]),
        brixia=np.mean(readers, axis=0, dtype=np.float32) if readers else None,
        brixia_readers=readers,
        teacher=teachers.get(row["reader_published_filename"]) if good else None,
        consensus=float(row["reader_consensus"]) if good else None,
        view=row.get("view", ""),
        sex=row.get("sex", ""),
        age=_plain_number(row.get("age", "")),
        licence_class=row.get("licence_class", ""),
        credit=", ".join(filter(None, (row.get(name, "") for name in CREDIT_COLUMNS))),
        published_name=row["reader_published_filename"],
        zones=_zones(row) if row["reader_poor_quality"] != "yes" else None,
    )


def _plain_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _brixia(row: dict[str, str], reader: str) -> NDArray[np.float32] | None:
    values = [row[f"brixia_{reader}_{zone}"] for zone in BRIXIA_ZONES]
    return np.array([float(value) for value in values], np.float32) if all(values) else None


def _zones(row: dict[str, str]) -> NDArray[np.float32] | None:
    stated = [row.get(column) or "nan" for column in ZONE_COLUMNS]
    zones = np.array([float(value) for value in stated], np.float32)
    return None if np.isnan(zones).all() else zones


def _boxes(text: str) -> tuple[Box, ...]:
    boxes = []
    for part in filter(None, text.split(";")):
        left, top, right, bottom = (round(float(value)) for value in part.split(","))
        boxes.append(Box(max(0, top), max(0, left), bottom, right))
    return tuple(boxes)


def _read_teachers(folder: Path) -> dict[str, NDArray[np.float32]]:
    collected: dict[str, list[list[float]]] = {}
    for path in sorted(folder.glob("*.csv")) if folder.is_dir() else []:
        if not path.name.startswith(TEACHERS):
            continue
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                fractions = [float(row[column]) for column in TEACHER_COLUMNS]
                collected.setdefault(row["Filename"], []).append(fractions)
    return {name: np.mean(values, axis=0, dtype=np.float32) for name, values in collected.items()}
