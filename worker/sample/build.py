"""Make the sample radiographs from the pictures of the data folder.

``python -m worker.sample.build --data DIR`` writes the three files beside this module. Equal
pictures give equal files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import DigitalXRayImageStorageForPresentation, JPEGLosslessSV1

from dicom_node.instance import derive_uid

_SOURCE = "COVID-19 Image Repository, figshare, doi:10.6084/m9.figshare.12275009, CC BY 3.0"
_PLACEHOLDER_DATE, _PLACEHOLDER_TIME = "20200101", "120000"
_NOMINAL_DETECTOR_MM = 430.0


@dataclass(frozen=True)
class Sample:
    """One picture of the data folder and what its source tells about it.

    Parameters
    ----------
    picture : str
        Identifier in the data folder.
    file_name : str
        Name of the DICOM file.
    patient : str
        Number of the patient in the source; two films of one patient share it.
    sex, view : str
        M or F; PA or AP.
    """

    picture: str
    file_name: str
    patient: str
    sex: str
    view: str


SAMPLES = (
    Sample("cohen_0352", "demo_film.dcm", "251", "F", "PA"),
    Sample("cohen_0339", "severe_film.dcm", "247", "M", "AP"),
    Sample("cohen_0351", "normal_film.dcm", "251", "F", "PA"),
)
_VIEW_CODES = {"PA": ("272479007", "postero-anterior"), "AP": ("399348003", "antero-posterior")}


def build(sample: Sample, pixels: NDArray[np.uint8]) -> Dataset:
    """Wrap a picture as a Digital X-Ray Image, FOR PRESENTATION (PS3.3 A.26), lossless JPEG inside.

    Parameters
    ----------
    sample : Sample
        What is known about the picture.
    pixels : numpy.ndarray
        uint8, shape (rows, columns), 0 = black.

    Returns
    -------
    pydicom.dataset.Dataset
        With file meta information. What the source does not tell (dates, detector) is empty or a
        placeholder, as ATTRIBUTION.md says.
    """
    dataset = Dataset()
    _identify(dataset, sample)
    _describe_acquisition(dataset, sample, pixels.shape)
    _add_pixels(dataset, pixels)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = JPEGLosslessSV1
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.ImplementationClassUID = derive_uid("sample builder")
    dataset.file_meta = meta
    return dataset


def _identify(dataset: Dataset, sample: Sample) -> None:
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = derive_uid("sample", sample.picture, "instance")
    dataset.StudyInstanceUID = derive_uid("sample", sample.picture, "study")
    dataset.SeriesInstanceUID = derive_uid("sample", sample.picture, "series")
    dataset.PatientName = "Sample^Chest Radiograph"
    dataset.PatientID = f"SAMPLE-{sample.patient}"
    dataset.IssuerOfPatientID = "PUBLIC SAMPLE"
    dataset.PatientBirthDate = ""
    dataset.PatientSex = sample.sex
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = _PLACEHOLDER_DATE
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = _PLACEHOLDER_TIME
    dataset.AccessionNumber = f"SAMPLE{sample.picture[-4:]}"
    dataset.StudyID = sample.picture[-4:]
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "Chest radiograph (public sample)"
    dataset.SeriesDescription = f"Chest {sample.view}"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, 1
    dataset.Modality = "DX"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.Manufacturer = ""
    dataset.ImageComments = f"Picture from {_SOURCE}. Dates and pixel spacing are placeholders."


def _describe_acquisition(dataset: Dataset, sample: Sample, shape: tuple[int, ...]) -> None:
    dataset.BodyPartExamined = "CHEST"
    dataset.AnatomicRegionSequence = [_code("51185008", "Chest")]
    dataset.ImageLaterality = "U"
    dataset.ViewPosition = sample.view
    dataset.ViewCodeSequence = [_code(*_VIEW_CODES[sample.view])]
    dataset.ViewCodeSequence[0].ViewModifierCodeSequence = []
    dataset.PatientOrientation = ["L", "F"]
    dataset.AcquisitionContextSequence = []
    dataset.PositionerType = dataset.DetectorType = ""
    spacing = f"{_NOMINAL_DETECTOR_MM / max(shape):.4f}"
    dataset.ImagerPixelSpacing = [spacing, spacing]
    dataset.ImageType = ["DERIVED", "PRIMARY", ""]
    dataset.DerivationDescription = "Published 8-bit JPEG picture, reduced in size by area averaging"
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionRatio = "10"
    dataset.LossyImageCompressionMethod = "ISO_10918_1"
    dataset.BurnedInAnnotation = "NO"
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.WindowCenter, dataset.WindowWidth = "128", "256"


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def _add_pixels(dataset: Dataset, pixels: NDArray[np.uint8]) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation = 0
    frame = imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=1)
    dataset.PixelData = encapsulate([bytes(frame)])
    dataset["PixelData"].VR = "OB"


@click.command()
@click.option(
    "--data",
    "data_dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="CXR_DATASET",
    required=True,
    help="The data folder with cxr/images.",
)
def main(data_dir: Path) -> None:
    """Write the sample films beside this module."""
    for sample in SAMPLES:
        picture = data_dir / "cxr" / "images" / f"{sample.picture}.jpg"
        pixels = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE)
        if pixels is None:
            raise click.ClickException(f"{picture} cannot be read; is --data the data folder?")
        target = Path(__file__).with_name(sample.file_name)
        build(sample, np.asarray(pixels, dtype=np.uint8)).save_as(target, enforce_file_format=True)
        click.echo(f"{target.name}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
