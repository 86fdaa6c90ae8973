"""Small films in every transfer syntax, made from a real one: where fuzzing starts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from dicom_node.pixels import read_dataset, read_radiograph

SAMPLE = Path(__file__).resolve().parents[2] / "worker" / "sample" / "demo_film.dcm"
SIDE_PX = 24

Pixels = NDArray[Any]


def _lossless_jpeg(pixels: Pixels, predictor: int) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=predictor, bitspersample=12))


def _jpeg2000(pixels: Pixels, reversible: bool) -> bytes:
    level = 0 if reversible else 40
    return bytes(
        imagecodecs.jpeg2k_encode(
            pixels, level=level, reversible=reversible, codecformat="j2k", bitspersample=12
        )
    )


def _tiles(pixels: Pixels) -> bytes:
    """JPEG 2000 in tiles of 8 x 8 with layers and precincts, by Pillow: imagecodecs writes no tiles."""
    buffer = BytesIO()
    options = {"tile_size": (8, 8), "num_resolutions": 2, "precinct_size": (8, 8), "codeblock_size": (8, 8)}
    picture = Image.fromarray(pixels)
    picture.save(buffer, "JPEG2000", no_jp2=True, quality_layers=[4, 2, 1], progression="RPCL", **options)
    return buffer.getvalue()


def rle(pixels: Pixels) -> bytes:
    """PS3.5 Annex G: literal runs, high bytes first."""
    segments = []
    for plane in (pixels >> 8, pixels & 255):
        data = plane.astype(np.uint8).tobytes()
        runs = b"".join(
            bytes([len(data[at : at + 128]) - 1]) + data[at : at + 128] for at in range(0, len(data), 128)
        )
        segments.append(runs + b"\0" * (len(runs) % 2))
    offsets = [2, 64, 64 + len(segments[0]), *[0] * 13]
    return b"".join(offset.to_bytes(4, "little") for offset in offsets) + b"".join(segments)


FRAMES: dict[str, Callable[[Pixels], bytes]] = {
    uid.JPEGBaseline8Bit: lambda a: bytes(imagecodecs.jpeg8_encode((a >> 4).astype(np.uint8), level=90)),
    uid.JPEGExtended12Bit: lambda a: bytes(imagecodecs.jpeg8_encode(a, level=90, bitspersample=12)),
    uid.JPEGLossless: lambda a: _lossless_jpeg(a, 6),
    uid.JPEGLosslessSV1: lambda a: _lossless_jpeg(a, 1),
    uid.JPEGLSLossless: lambda a: bytes(imagecodecs.jpegls_encode(a)),
    uid.JPEGLSNearLossless: lambda a: bytes(imagecodecs.jpegls_encode(a, level=3)),
    uid.JPEG2000Lossless: lambda a: _jpeg2000(a, True),
    uid.JPEG2000: lambda a: _jpeg2000(a, False),
    uid.HTJ2K: lambda a: bytes(imagecodecs.htj2k_encode(a, reversible=False)),
    uid.HTJ2KLossless: lambda a: bytes(imagecodecs.htj2k_encode(a, reversible=True)),
    uid.HTJ2KLosslessRPCL: lambda a: bytes(imagecodecs.htj2k_encode(a, reversible=True)),
    uid.RLELossless: rle,
}
"""One encoder for every encapsulated syntax that the node offers."""
NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
)


def pixels(side_px: int = SIDE_PX) -> Pixels:
    """The sample film, tiny, as 12-bit values."""
    film = read_radiograph(read_dataset(SAMPLE.read_bytes())).pixels
    small = cv2.resize(film, (side_px - 4, side_px), interpolation=cv2.INTER_AREA)
    return np.round(small * 4095).astype(np.uint16)


def data_set(stored: Pixels) -> Dataset:
    """A film's header with what the reader looks at: orientation, window, LUTs, codes, several scripts."""
    code, lut, order = Dataset(), Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "30745-4", "LN", "Chest X-ray"
    lut.LUTDescriptor, lut.LUTData = [16, 0, 12], np.arange(0, 4096, 256, np.uint16).tobytes()
    order.RequestedProcedureID, order.RequestedProcedureCodeSequence = "RP1", [code]
    film = Dataset()
    film.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    film.SOPClassUID, film.SOPInstanceUID = uid.DigitalXRayImageStorageForPresentation, "2.25.1001"
    film.StudyDate, film.StudyTime, film.AccessionNumber = "20260303", "101112", "A-1"
    film.Modality, film.PresentationIntentType, film.Manufacturer = "DX", "FOR PRESENTATION", "ACME"
    film.ReferringPhysicianName, film.StudyDescription = "Doe^Referring", "Thorax"
    film.ProcedureCodeSequence, film.RequestAttributesSequence = [code], [order]
    film.PatientName, film.PatientID = "Yamada^Tarou=山田^太郎", "P-1"
    film.PatientBirthDate, film.PatientSex = "19700102", "O"
    film.BodyPartExamined, film.ViewPosition, film.PatientOrientation = "CHEST", "PA", ["L", "F"]
    film.ImagerPixelSpacing = [0.2, 0.2]
    film.StudyInstanceUID, film.SeriesInstanceUID = "2.25.1002", "2.25.1003"
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME2"
    film.Rows, film.Columns = stored.shape
    film.BitsAllocated, film.BitsStored, film.HighBit, film.PixelRepresentation = 16, 12, 11, 0
    film.WindowCenter, film.WindowWidth = ["2048", "1000"], ["4096", "500"]
    film.RescaleIntercept, film.RescaleSlope = "0", "1"
    film.VOILUTSequence = [lut]
    return film


def encode(film: Dataset, transfer_syntax: str) -> bytes:
    """The film as a PS3.10 file."""
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = uid.UID(transfer_syntax)
    buffer = BytesIO()
    film.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def with_frame(film: Dataset, frame: bytes, fragments: int = 1) -> Dataset:
    """Put one compressed frame into a film."""
    film.PixelData = encapsulate([frame], fragments_per_frame=fragments)
    film["PixelData"].VR, film["PixelData"].is_undefined_length = "OB", True
    return film


def films() -> dict[str, bytes]:
    """Return films by name, one in every transfer syntax, and some of rarer make."""
    stored = pixels()
    made = {}
    for syntax, compress in FRAMES.items():
        made[uid.UID(syntax).name] = encode(with_frame(data_set(stored), compress(stored)), syntax)
    for syntax in NATIVE:
        film = data_set(stored)
        film.PixelData = (stored.byteswap() if syntax == uid.ExplicitVRBigEndian else stored).tobytes()
        film["PixelData"].VR = "OW"
        made[syntax.name] = encode(film, syntax)
    frame = FRAMES[uid.JPEGLosslessSV1](stored)
    made["fragments"] = encode(with_frame(data_set(stored), frame, 4), uid.JPEGLosslessSV1)
    tiled = _tiles(stored)
    made["tiles"] = encode(with_frame(data_set(stored), tiled), uid.JPEG2000Lossless)
    film = data_set(stored)
    film.PhotometricInterpretation, film.SamplesPerPixel, film.PlanarConfiguration = "RGB", 3, 0
    film.BitsAllocated, film.BitsStored, film.HighBit = 8, 8, 7
    film.PixelData = np.repeat((stored >> 4).astype(np.uint8), 3).tobytes()
    film["PixelData"].VR = "OB"
    made["colour"] = encode(film, uid.ExplicitVRLittleEndian)
    film = data_set(stored)
    film.PhotometricInterpretation, film.BitsAllocated, film.BitsStored, film.HighBit = (
        "PALETTE COLOR",
        8,
        8,
        7,
    )
    for colour in ("Red", "Green", "Blue"):
        setattr(film, f"{colour}PaletteColorLookupTableDescriptor", [16, 0, 16])
        table = (np.arange(16, dtype=np.uint16) * 4369).tobytes()
        setattr(film, f"{colour}PaletteColorLookupTableData", table)
    film.PixelData = (stored >> 8).astype(np.uint8).tobytes()
    film["PixelData"].VR = "OB"
    made["palette"] = encode(film, uid.ExplicitVRLittleEndian)
    return made


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in films().items():
        (folder / f"{name}.dcm").write_bytes(content)
