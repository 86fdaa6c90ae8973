"""A picture that says that it is a test, for commissioning."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from dicom_node.identity import MANUFACTURER, MODEL_NAME
from dicom_node.instance import derive_uid

PATIENT_ID = "CXRWORKER-TEST"
_SIDE_PX = 128


def build_test_capture(calling_ae_title: str) -> bytes:
    """Return a Secondary Capture of a grey ramp under the patient CXRWORKER-TEST, as PS3.10 bytes.

    Sent again it is the same instance, so a PACS keeps one of them for each worker.

    Parameters
    ----------
    calling_ae_title : str
        The worker's AE title, which its UIDs are derived from.
    """
    now = datetime.now(UTC)
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(dataset, keyword, derive_uid("test capture", calling_ae_title, keyword))
    dataset.StudyDate = f"{now:%Y%m%d}"
    dataset.StudyTime = f"{now:%H%M%S}"
    dataset.Modality = "OT"
    dataset.ConversionType = "SYN"
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = MODEL_NAME
    dataset.PatientName = "CXRWORKER^TEST"
    dataset.PatientID = PATIENT_ID
    dataset.SeriesDescription = "connection test, no patient"
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = 1
    for keyword in (
        "AccessionNumber",
        "ReferringPhysicianName",
        "PatientBirthDate",
        "PatientSex",
        "StudyID",
        "PatientOrientation",
        "Laterality",
    ):
        setattr(dataset, keyword, "")
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows = dataset.Columns = _SIDE_PX
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.PixelData = bytes(range(0, 256, 256 // _SIDE_PX)) * _SIDE_PX
    dataset["PixelData"].VR = "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
