"""Who we are in the objects we send, and how we know them when they come back."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydicom.dataset import Dataset

from dicom_node.header import text
from dicom_node.instance import ObjectKind

MANUFACTURER = "cxr-severity-worker"
MODEL_NAME = "cxr-severity-worker"
RESEARCH_LABEL = "research use, not for diagnosis"

SERIES_NUMBERS: Mapping[ObjectKind, int] = MappingProxyType(
    {"sr": 9801, "sc": 9802, "gsps": 9803, "seg": 9804, "map": 9805}
)
"""Series Number (0020,0011) of each kind of object; by the report's, an archive is searched for ours."""


def is_own_result(dataset: Dataset) -> bool:
    """Tell whether a data set is a report or picture made by this worker, whatever its version."""
    return (
        text(dataset, "Manufacturer") == MANUFACTURER and text(dataset, "ManufacturerModelName") == MODEL_NAME
    )
