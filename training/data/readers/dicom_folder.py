"""Folders of DICOM objects: decoded as the worker decodes them, and stripped of everything personal.

What is no frontal chest radiograph is left out, and counted by the worker's own reasons. Patients become a
salted hash; names, numbers, dates and UIDs do not reach the table.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.eligibility import require_frontal_chest
from dicom_node.errors import DicomNodeError, NotEligible, UndecodableInstance
from dicom_node.header import text, texts
from dicom_node.orientation import STANDARD, Orientation, frontal_orientation, principal_directions
from dicom_node.pixels import read_dataset, read_radiograph
from training.data.film_record import FilmRecord, PrepareError, Problem, Reading, film_name
from training.data.pictures import MaskFile, Picture, PictureError

OLDEST_STATED_AGE = 90
"""Older patients are recorded as of this age: a higher one can point to a person."""

NOT_DICOM = frozenset({".png", ".jpg", ".jpeg", ".csv", ".json", ".txt", ".md", ".xml", ".html"})
DIGEST_CHARACTERS = 16


@dataclass(frozen=True)
class DicomOptions:
    """How a folder of DICOM objects is read.

    Parameters
    ----------
    salt : str
        Secret that keeps the hashes from being guessed; the same salt gives the same hashes.
    source : str
        Name of the data set.
    lung_masks, opacity_masks : pathlib.Path or None
        Folders of masks in the geometry of the stored image, named by SOP Instance UID or by the object's
        file name.
    """

    salt: str
    source: str = "dicom"
    lung_masks: Path | None = None
    opacity_masks: Path | None = None


@dataclass(frozen=True)
class DicomPicture:
    """The radiograph of a DICOM object, 8-bit grey, in display geometry.

    Parameters
    ----------
    path : pathlib.Path
        The object.
    """

    path: Path

    @property
    def where(self) -> str:
        """The object's file."""
        return str(self.path)

    def load(self) -> NDArray[np.uint8]:
        """Return uint8 (rows, columns): greys as shown, rounded; see ``Picture.load``."""
        try:
            pixels = read_radiograph(read_dataset(self.path.read_bytes())).pixels
        except (DicomNodeError, OSError) as error:
            raise PictureError("image cannot be read", f"{self.path}: {error}") from error
        return np.asarray(np.rint(np.clip(pixels, 0, 1) * 255), np.uint8)


@dataclass(frozen=True)
class TurnedMask:
    """A mask that was drawn on the stored image, turned as the image is for display.

    Parameters
    ----------
    mask : Picture
        As drawn.
    orientation : Orientation
        The image's.
    """

    mask: Picture
    orientation: Orientation

    @property
    def where(self) -> str:
        """The mask's file."""
        return self.mask.where

    def load(self) -> NDArray[np.uint8]:
        """Return uint8 (rows, columns), 0 and 255; see ``Picture.load``."""
        return np.asarray(self.orientation.to_display(self.mask.load()), np.uint8)


def read_dicom_folder(folder: Path, options: DicomOptions) -> Reading:
    """Read every DICOM object below a folder.

    Parameters
    ----------
    folder : pathlib.Path
        Searched with its subfolders.
    options : DicomOptions
        Salt, masks.

    Returns
    -------
    Reading

    Raises
    ------
    PrepareError
        If there is no DICOM object.
    """
    paths = sorted(
        path for path in folder.glob("**/*") if path.is_file() and path.suffix.lower() not in NOT_DICOM
    )
    records, problems, left_out = [], [], Counter[str]()
    for path in paths:
        try:
            dataset = read_dataset(path.read_bytes())
            require_frontal_chest(dataset)
        except NotEligible as error:
            left_out[f"not eligible: {error.reason}"] += 1
        except (UndecodableInstance, OSError) as error:
            problems.append(Problem("", "file that is no DICOM object", f"{path}: {error}"))
        else:
            records.append(_record(path, dataset, options))
    if not records:
        listed = "; ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise PrepareError(f"no frontal chest radiograph in {folder} ({listed or 'no DICOM object at all'})")
    if options.lung_masks or options.opacity_masks:
        problems += _unused_masks(records, options)
    return Reading(tuple(records), tuple(problems), left_out)


def digest(salt: str, value: str) -> str:
    """Return a salted SHA-256 of a text, shortened to 16 hexadecimal digits."""
    return hashlib.sha256(f"{salt}\0{value}".encode()).hexdigest()[:DIGEST_CHARACTERS]


def _record(path: Path, dataset: Dataset, options: DicomOptions) -> FilmRecord:
    patient, instance = text(dataset, "PatientID"), text(dataset, "SOPInstanceUID")
    name = film_name(options.source, digest(options.salt, instance or str(path)))
    # The issuer tells apart two hospitals' patients of the same number.
    person = f"{text(dataset, 'IssuerOfPatientID')}\0{patient}"
    group = f"{options.source}-{digest(options.salt, person)}" if patient else name
    turn = frontal_orientation(principal_directions(texts(dataset, "PatientOrientation"))) or STANDARD
    sex = text(dataset, "PatientSex").upper()

    def mask(masks: Path | None) -> Picture | None:
        for stem in (instance, path.stem, path.name):
            file = masks / f"{stem}.png" if masks and stem else None
            if file and file.is_file():
                return TurnedMask(MaskFile(file), turn)
        return None

    return FilmRecord(
        name=name,
        source_dataset=options.source,
        patient_group=group,
        image=DicomPicture(path),
        lung_mask=mask(options.lung_masks),
        opacity_mask=mask(options.opacity_masks),
        view=text(dataset, "ViewPosition").upper(),
        sex=sex if sex in ("F", "M") else "",
        age=_age(text(dataset, "PatientAge")),
    )


def _age(stated: str) -> float | None:
    """Years of a DICOM age string such as ``045Y`` (PS3.5 6.2, AS)."""
    per_year = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}
    if len(stated) != 4 or not stated[:3].isdigit() or stated[3] not in per_year:
        return None
    return min(float(OLDEST_STATED_AGE), round(int(stated[:3]) / per_year[stated[3]], 1))


def _unused_masks(records: list[FilmRecord], options: DicomOptions) -> list[Problem]:
    used = {mask.where for record in records for mask in record.masks.values()}
    problems = []
    for masks in (options.lung_masks, options.opacity_masks):
        for path in sorted(masks.glob("*.png")) if masks else []:
            if str(path) not in used:
                message = (
                    f"{path} belongs to no film; name it by SOP Instance UID or by the object's file name"
                )
                problems.append(Problem("", "image is missing", message))
    return problems
