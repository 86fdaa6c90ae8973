"""Who we are in the objects we send, and how we know them when they come back."""

from __future__ import annotations

from pydicom.dataset import Dataset

from dicom_node.header import text

MANUFACTURER = "cxr-severity-worker"
MODEL_NAME = "cxr-severity-worker"
RESEARCH_LABEL = "research use, not for diagnosis"


def is_own_result(dataset: Dataset) -> bool:
    """Tell whether a data set is a report or picture made by this worker, whatever its version."""
    return (
        text(dataset, "Manufacturer") == MANUFACTURER and text(dataset, "ManufacturerModelName") == MODEL_NAME
    )
