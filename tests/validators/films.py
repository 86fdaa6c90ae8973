"""Radiographs of a data folder as DICOM objects, in the many forms in which hospitals send them."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from dicom_node.instance import derive_uid
from dicom_node.orientation import frontal_orientation

_DIRECTIONS = tuple(
    (row, column) for row, column in product("LRFH", repeat=2) if (row in "LR") != (column in "LR")
)
_DEPTHS = (8, 10, 12, 14, 15, 16)
_CLASSES = (
    (uid.DigitalXRayImageStorageForPresentation, "DX"),
    (uid.ComputedRadiographyImageStorage, "CR"),
    (uid.DigitalXRayImageStorageForProcessing, "DX"),
)
_PATIENTS: tuple[dict[str, Any], ...] = (
    {"PatientName": "Film^Data", "PatientID": "F-1", "IssuerOfPatientID": "HOSPITAL"},
    {"PatientName": "Müller^Jörg", "PatientID": "F-2", "SpecificCharacterSet": "ISO_IR 100"},
    {
        "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "PatientID": "F-3",
        "SpecificCharacterSet": ["", "ISO 2022 IR 87"],
    },
    {
        "PatientName": "Hong^Gildong=洪^吉洞=홍^길동",
        "PatientID": "F-4",
        "SpecificCharacterSet": ["", "ISO 2022 IR 149"],
    },
    {"PatientName": "Люк^Иван", "PatientID": "F-5", "SpecificCharacterSet": "ISO_IR 192"},
    {"PatientName": "", "PatientID": ""},
)
_ORDERS: tuple[dict[str, Any], ...] = (
    {"AccessionNumber": "A-1", "StudyID": "S-1", "StudyDescription": "Thorax p.a."},
    {"AccessionNumber": "", "StudyID": ""},
    {"AccessionNumber": "A-2", "RequestedProcedureID": "R-2", "StudyDate": "20260302", "StudyTime": "0815"},
)


@dataclass(frozen=True)
class Film:
    """One radiograph; ``encoded`` is its PS3.10 file, made when it is asked for."""

    name: str
    encode: Callable[[], bytes]


def films(data: Path) -> Iterator[Film]:
    """Yield every accepted DICOM file of a data folder, then every picture of its manifest.

    Parameters
    ----------
    data : pathlib.Path
        With ``manifest.csv`` (column ``file``) and ``dicom/manifest.csv`` (``file``, ``expected``).
    """
    with (data / "dicom" / "manifest.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["expected"] == "accept":
                path = data / row["file"]
                yield Film(path.stem, path.read_bytes)
    with (data / "manifest.csv").open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file)):
            yield picture_film(data / row["file"], number, row)


def picture_film(path: Path, number: int, row: dict[str, str]) -> Film:
    """Return a picture as a radiograph in the form that its number chooses."""

    def encode() -> bytes:
        picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if picture is None:
            raise FileNotFoundError(path)
        return _encoded(_dataset(np.asarray(picture, np.uint8), path.stem, number, row))

    return Film(path.stem, encode)


def _dataset(picture: NDArray[np.uint8], name: str, number: int, row: dict[str, str]) -> Dataset:
    # a number apart for each choice, so that all pairs of choices occur
    choose = np.random.default_rng(zlib.crc32(name.encode()) + number).integers
    sop_class, modality = _CLASSES[0 if choose(4) else choose(1, 3)]
    bits = int(_DEPTHS[choose(len(_DEPTHS))])
    directions = _DIRECTIONS[choose(8)] if choose(2) else ("L", "F")
    inverted = bool(choose(2))
    grey = np.round(picture * ((2**bits - 1) / 255)).astype(np.uint8 if bits == 8 else np.uint16)
    turn = frontal_orientation(directions)
    assert turn is not None
    stored = turn.to_stored((2**bits - 1) - grey if inverted else grey)
    attributes: dict[str, Any] = {
        "SOPClassUID": sop_class,
        "SOPInstanceUID": derive_uid("validators", name),
        "StudyInstanceUID": derive_uid("validators", name, "study"),
        "SeriesInstanceUID": derive_uid("validators", name, "series"),
        "StudyDate": "20260303",
        "StudyTime": "101112.123",
        "Modality": modality,
        "Manufacturer": "Film maker",
        "ReferringPhysicianName": "",
        "PatientBirthDate": "",
        "PatientSex": row.get("sex", "") if row.get("sex") in ("M", "F") else "",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "AP" if row.get("view", "").startswith("AP") else "PA",
        "PhotometricInterpretation": "MONOCHROME1" if inverted else "MONOCHROME2",
        "SamplesPerPixel": 1,
        "Rows": stored.shape[0],
        "Columns": stored.shape[1],
        "BitsAllocated": 8 * stored.itemsize,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": 0,
        **_PATIENTS[choose(len(_PATIENTS))],
        **_ORDERS[choose(len(_ORDERS))],
        **_greyscale(bits, int(choose(5))),
        **_optional(directions, int(choose(4))),
    }
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    if modality == "DX":
        processing = sop_class == uid.DigitalXRayImageStorageForProcessing
        dataset.PresentationIntentType = "FOR PROCESSING" if processing else "FOR PRESENTATION"
    dataset.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    return dataset


def _greyscale(bits: int, choice: int) -> dict[str, Any]:
    """Window, several windows, VOI LUT, rescale, or nothing."""
    half = 2 ** (bits - 1)
    if choice == 0:
        return {}
    if choice == 1:
        item = Dataset()
        entries = np.round((np.arange(2**bits) / (2**bits - 1)) ** 0.8 * (2**bits - 1)).astype("<u2")
        item.add_new("LUTDescriptor", "US", [2**bits % 65536, 0, bits])
        item.add_new("LUTData", "OW", entries.tobytes())
        return {"VOILUTSequence": [item]}
    window = {"WindowCenter": str(half), "WindowWidth": str(2 * half)}
    if choice == 2:
        return {"WindowCenter": [str(half), str(half // 2)], "WindowWidth": [str(2 * half), str(half)]}
    if choice == 3:
        return {**window, "RescaleSlope": "1", "RescaleIntercept": "0", "RescaleType": "US"}
    return {**window, "VOILUTFunction": "SIGMOID"}


def _optional(directions: tuple[str, str], choice: int) -> dict[str, Any]:
    """Orientation stated or not (then it hangs as usual), spacing, loss, letters in the picture."""
    if choice == 0 and directions == ("L", "F"):
        return {"BurnedInAnnotation": "YES", "LossyImageCompression": "01"}
    stated: dict[str, Any] = {"PatientOrientation": list(directions)}
    if choice == 1:
        stated |= {"ImagerPixelSpacing": ["0.143", "0.143"], "PatientAge": "045Y"}
    if choice == 2:
        stated |= {
            "PixelSpacing": ["0.000", "0.000"],
            "PatientAge": "UNKNOWN",
            "AcquisitionDate": "2026.03.02",
        }
    return stated


def _encoded(dataset: Dataset) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
