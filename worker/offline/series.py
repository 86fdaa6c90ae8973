"""Which of many files show the same patient, and in what order they were taken, told from their headers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydicom import filereader, uid
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from dicom_node.bounded import BoundedBytes
from dicom_node.errors import DicomNodeError
from dicom_node.header import UNREADABLE
from dicom_node.prior import PatientIdentity, acquired_at, patient_of
from dicom_node.reading import MAX_FILE_BYTES, read_dataset

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
"""For research: such files carry no header, so view, side and identity are the user's to know."""

_FIRST_BYTES = 1 << 18
_PATIENT_GROUP = 0x0010


@dataclass(frozen=True)
class Film:
    """One file among those to be scored.

    Parameters
    ----------
    position : int
        Its place among the files, from 0.
    path : pathlib.Path
        The file.
    acquired_at : datetime.datetime or None
        When it was taken, without zone; None where that or the patient is not known.
    """

    position: int
    path: Path
    acquired_at: datetime | None = None


def by_patient(paths: Iterable[Path]) -> tuple[tuple[Film, ...], ...]:
    """Return files in groups: those of one patient together, oldest first; each other file alone.

    Parameters
    ----------
    paths : Iterable of pathlib.Path
        Any files; those that cannot be read, are no DICOM, or name no patient or no date stay alone.

    Returns
    -------
    tuple of tuple of Film
        In the order of each group's first file.
    """
    groups: dict[PatientIdentity | int, list[Film]] = {}
    for position, path in enumerate(paths):
        patient, at = (None, None) if path.suffix.lower() in PICTURE_SUFFIXES else _peek(path)
        if patient is None or at is None:
            groups[position] = [Film(position, path)]
        else:
            groups.setdefault(patient, []).append(Film(position, path, at))
    return tuple(
        tuple(sorted(films, key=lambda film: (film.acquired_at or datetime.min, film.position)))
        for films in groups.values()
    )


def _peek(path: Path) -> tuple[PatientIdentity | None, datetime | None]:
    try:
        with path.open("rb") as file:
            header = _first_groups(file.read(_FIRST_BYTES))
        if header is None and path.stat().st_size <= MAX_FILE_BYTES:
            header = read_dataset(path.read_bytes())
    except (OSError, DicomNodeError):
        return None, None
    return (None, None) if header is None else (patient_of(header), acquired_at(header))


def _first_groups(beginning: bytes) -> Dataset | None:
    """Return what comes before the acquisition group, or None where it does not fit or is deflated."""
    past: list[BaseTag] = []

    def stop(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        if tag >> 16 > _PATIENT_GROUP:
            past.append(tag)
        return bool(past)

    try:
        dataset = filereader.read_partial(BoundedBytes(beginning), stop, force=True)
        deflated = dataset.file_meta.get("TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian
    except (*UNREADABLE, MemoryError):
        return None
    return dataset if past and not deflated else None
