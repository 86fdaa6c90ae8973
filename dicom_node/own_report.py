"""Reading our own Structured Reports back: the earlier results of a patient that an archive keeps."""

from __future__ import annotations

from pydicom.dataset import Dataset

from dicom_node.header import text
from dicom_node.instance import InstanceReference
from dicom_node.prior import PriorResult


def reference_of(dataset: Dataset) -> InstanceReference:
    """Return how other objects refer to an instance; ``""`` for what it does not state."""
    return InstanceReference(
        sop_class_uid=text(dataset, "SOPClassUID"),
        sop_instance_uid=text(dataset, "SOPInstanceUID"),
        series_instance_uid=text(dataset, "SeriesInstanceUID"),
        study_instance_uid=text(dataset, "StudyInstanceUID"),
    )


def read_prior(dataset: Dataset) -> PriorResult | None:
    """Return what a Structured Report of this worker says, in any of its versions.

    Parameters
    ----------
    dataset : pydicom.dataset.Dataset
        Any instance, as received.

    Returns
    -------
    PriorResult or None
        None for whatever is not our report of a score: another object, a radiograph that was not
        assessable, a document that is damaged or contradicts itself.
    """
    raise NotImplementedError
