"""What may be sent to the node: SOP classes, and the transfer syntaxes in which each is taken."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

from dicom_node.assessment import DOCUMENT_SOP_CLASSES
from dicom_node.transfer_syntaxes import TRANSFER_SYNTAXES, UNCOMPRESSED

IMAGE_SOP_CLASSES: tuple[UID, ...] = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)
"""What may hold a radiograph."""

STORAGE_SOP_CLASSES: Mapping[UID, tuple[str, ...]] = MappingProxyType(
    dict.fromkeys(IMAGE_SOP_CLASSES, TRANSFER_SYNTAXES)
    | dict.fromkeys(map(UID, sorted(DOCUMENT_SOP_CLASSES)), UNCOMPRESSED)
)
"""What may be sent to the node, and how encoded; nothing else is negotiated."""
