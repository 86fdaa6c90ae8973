"""Films, results and validators for the tests of reading and reporting."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import uid
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset

from dicom_node.pixels import Radiograph, read_dataset, read_radiograph
from dicom_node.storage_scp import NodeSettings, StorageSCP
from models.result import (
    ZONE_ORDER,
    AlgorithmId,
    Explanation,
    NotAssessable,
    NotAssessableReason,
    SeverityResult,
    ZoneInvolvement,
)

SAMPLE_FOLDER = Path(__file__).resolve().parents[2] / "worker" / "sample"
CREATED_AT = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
_REQUIRE = os.environ.get("CXR_REQUIRE_SERVERS") == "1"


@pytest.fixture(scope="session")
def created_at() -> datetime:
    return CREATED_AT


@pytest.fixture(scope="session")
def demo_path() -> Path:
    """The demo film as it lies in the package."""
    return SAMPLE_FOLDER / "demo_film.dcm"


@pytest.fixture(scope="session")
def demo_bytes(demo_path: Path) -> bytes:
    return demo_path.read_bytes()


@pytest.fixture(scope="session")
def demo_film(demo_bytes: bytes) -> Radiograph:
    return read_radiograph(read_dataset(demo_bytes))


@pytest.fixture(scope="session")
def demo_pixels(demo_film: Radiograph) -> NDArray[np.uint16]:
    """A real film's pixels as 12-bit values, 512 x 480, so that rows and columns cannot be confused."""
    small = cv2.resize(demo_film.pixels, (480, 512), interpolation=cv2.INTER_AREA)
    return np.round(small * 4095).astype(np.uint16)


@pytest.fixture(scope="session")
def new_film() -> Callable[..., Dataset]:
    return _new_film


def _new_film(pixels: NDArray[Any] | None = None, **keywords: Any) -> Dataset:
    """A complete frontal chest DX; keywords replace attributes, None removes one, unknown ones fail."""
    pixels = np.full((320, 300), 1000, np.uint16) if pixels is None else pixels
    bits = pixels.dtype.itemsize * 8
    attributes: dict[str, Any] = {
        "SOPClassUID": uid.DigitalXRayImageStorageForPresentation,
        "SOPInstanceUID": "2.25.1001",
        "StudyInstanceUID": "2.25.1002",
        "SeriesInstanceUID": "2.25.1003",
        "PatientID": "P-1",
        "PatientName": "Doe^Test",
        "PatientBirthDate": "19700102",
        "PatientSex": "O",
        "StudyDate": "20260303",
        "StudyTime": "101112",
        "StudyID": "S1",
        "AccessionNumber": "A-1",
        "ReferringPhysicianName": "Doe^Referring",
        "Modality": "DX",
        "PresentationIntentType": "FOR PRESENTATION",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PatientOrientation": ["L", "F"],
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 3 if pixels.ndim == 3 else 1,
        "PhotometricInterpretation": "RGB" if pixels.ndim == 3 else "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": 1 if pixels.dtype.kind == "i" else 0,
        "PixelData": pixels.tobytes(),
    }
    if pixels.ndim == 3:
        attributes["PlanarConfiguration"] = 0
    dataset = Dataset()
    for keyword, value in (attributes | keywords).items():
        assert tag_for_keyword(keyword) is not None, f"{keyword} is not a DICOM keyword"
        if value is not None:
            setattr(dataset, keyword, value)
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OW" if bits == 16 else "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", "1.2")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "1.2")
    return dataset


@pytest.fixture(scope="session")
def encoded() -> Callable[[Dataset], bytes]:
    return _encoded


def _encoded(dataset: Dataset) -> bytes:
    """The data set as a PS3.10 file in its transfer syntax, as a sender would write it."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def film_of() -> Callable[[Dataset], Radiograph]:
    """Write, read and open a data set."""
    return lambda dataset: read_radiograph(read_dataset(_encoded(dataset)))


ALGORITHM = AlgorithmId(
    name="two-stage",
    version="1.0",
    weights={"lungs": "ab" * 32, "opacity": "cd" * 32},
    parameters={"involvement_threshold": "0.31", "score_scheme": "equal-area thirds"},
)


@pytest.fixture(scope="session")
def severity_of() -> Callable[..., SeverityResult]:
    return _severity_of


def _severity_of(shape: tuple[int, int], **replaced: Any) -> SeverityResult:
    """Two lungs as boxes of three zones; opacity fills the right lower and half the left upper zone."""
    rows, columns = shape
    zone_map = np.zeros(shape, np.uint8)
    opacity = np.zeros(shape, np.bool_)
    top, height = rows // 6, rows // 5
    spans = ((columns // 8, columns // 8 + columns // 4), (columns * 5 // 8, columns * 7 // 8))
    for index in range(6):
        left, right = spans[index // 3]
        upper = top + (index % 3) * height
        zone_map[upper : upper + height, left:right] = index + 1
        if index == 2:
            opacity[upper : upper + height, left:right] = True
        if index == 3:
            opacity[upper : upper + height // 2, left:right] = True
    zones = []
    for index, (side, level) in enumerate(ZONE_ORDER):
        inside = zone_map == index + 1
        area, covered = int(inside.sum()), int((inside & opacity).sum())
        zones.append(ZoneInvolvement(side, level, area, covered, int(covered > 0.31 * area)))
    values: dict[str, Any] = {
        "algorithm": ALGORITHM,
        "score": sum(zone.score for zone in zones),
        "score_max": 6,
        "zones": tuple(zones),
        "zone_map": zone_map,
        "opacity_mask": opacity,
    }
    return SeverityResult(**(values | replaced))


@pytest.fixture(scope="session")
def explained_of() -> Callable[..., SeverityResult]:
    """A Brixia score with an explanation: a map of its own for each class, the last one white."""
    return _explained_of


def _explained_of(shape: tuple[int, int], **replaced: Any) -> SeverityResult:
    plain = _severity_of(shape)
    scores = (0, 2, 3, 1, 0, 2)
    zones = tuple(replace(zone, score=score) for zone, score in zip(plain.zones, scores, strict=True))
    maps = np.zeros((3, *shape), np.float32)
    maps[0][plain.zone_map == 4] = 0.4
    maps[1][plain.zone_map == 2] = 1.0
    facts = {"occlusions": "97", "largest_drop": "0.4321"}
    values = {"score": sum(scores), "score_max": 18, "zones": zones, "opacity_mask": plain.zone_map > 6}
    algorithm = replace(ALGORITHM, name="bs-net", weights={"network": "ef" * 32})
    values |= {"algorithm": algorithm, "explanation": Explanation(maps, facts)}
    return replace(plain, **(values | replaced))


@pytest.fixture(scope="session")
def not_assessable_of() -> Callable[[tuple[int, int]], NotAssessable]:
    return lambda shape: NotAssessable(
        algorithm=ALGORITHM,
        reason=NotAssessableReason.NO_LUNGS,
        message="Lungs cover 0.4 % of the picture, at least 5 % are expected.",
        lung_mask=np.zeros(shape, np.bool_),
    )


@pytest.fixture(scope="session")
def tool() -> Callable[..., str]:
    """Run a system program and return all it says; skip (in `make test`: fail) where it is not installed."""

    def run(name: str, *arguments: str | Path) -> str:
        # The virtual environment has programs of the same names.
        program = shutil.which(name, path="/usr/bin:/usr/local/bin:/opt/homebrew/bin")
        if program is None:
            (pytest.fail if _REQUIRE else pytest.skip)(
                f"{name} is not installed; `make test` installs it on Debian"
            )
        limits = ("xpathTotalOpLimit", "xpathExprOpLimit", "xpathExprGrpLimit")
        options = " ".join(f"-Djdk.xml.{limit}=0" for limit in limits)
        done = subprocess.run(
            [program, *map(str, arguments)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=120,
            env={**os.environ, "JAVA_TOOL_OPTIONS": options},
        )
        return done.stdout + done.stderr.replace(f"Picked up JAVA_TOOL_OPTIONS: {options}\n", "")

    return run


@pytest.fixture
def received():
    """What the nodes of a test have accepted."""
    return []


@pytest.fixture
def start_node(received):
    """Start a node that serves everyone: ``start_node(accept=, confirm=, refuse=, setting=)``."""
    nodes = []

    def start(accept=received.append, confirm=None, refuse=None, **settings):
        defaults = {"port": 0, "allowed_calling_ae_titles": ("*",), "shutdown_grace_s": 1.0}
        node = StorageSCP(NodeSettings(**(defaults | settings)), accept, confirm=confirm, refuse=refuse)
        node.start()
        nodes.append(node)
        return node

    yield start
    for node in nodes:
        node.stop()
