"""What a radiograph's report compares with: earlier results of the same patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

from dicom_node.instance import InstanceReference
from dicom_node.prior import PriorResult, acquired_at, patient_of, prior_of
from models.result import Result, SeverityResult
from worker.entry import PatientResult

if TYPE_CHECKING:
    from worker.stages import Scoring


@dataclass(frozen=True)
class Earlier:
    """What is known of a radiograph's patient from before.

    Parameters
    ----------
    patient : str or None
        Their pseudonym; None where the header does not say who they are, or when it was taken.
    acquired_at : datetime.datetime or None
        When the radiograph was taken, without zone.
    priors : Mapping of str to tuple of PriorResult
        By algorithm: results of other radiographs taken before, oldest first.
    notes : tuple of str
        Whom they could not be asked for, in words.
    """

    patient: str | None
    acquired_at: datetime | None
    priors: Mapping[str, tuple[PriorResult, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def find_earlier(dataset: Dataset, stage: Scoring) -> Earlier:
    """Return the patient's earlier results: the journal's, and those that archives tell.

    Two radiographs that are scored at the same moment do not know of each other.

    Parameters
    ----------
    dataset : pydicom.dataset.Dataset
        The radiograph's header.
    stage : Scoring
        What scoring has.

    Raises
    ------
    StorageError
        When journal or spool cannot be used; an archive's failure is a note.
    """
    identity, moment = patient_of(dataset), acquired_at(dataset)
    if identity is None or moment is None:
        return Earlier(None, moment)
    patient = stage.priors.pseudonym(identity)
    notes = stage.archives.ask(identity, patient)
    uid, algorithms = str(dataset.SOPInstanceUID), [scorer.algorithm.name for scorer in stage.scorers]
    priors = {name: stage.priors.before(patient, moment, uid, name) for name in algorithms}
    return Earlier(patient, moment, priors, notes)


def result_for_later(
    sop_instance_uid: str, result: Result, earlier: Earlier, report: InstanceReference | None
) -> PatientResult | None:
    """Return what later radiographs of the patient compare with; None without score, patient or date.

    Parameters
    ----------
    sop_instance_uid : str
        The radiograph.
    result : SeverityResult or NotAssessable
        What was found.
    earlier : Earlier
        Patient and date.
    report : InstanceReference or None
        The Structured Report that tells it.
    """
    if not isinstance(result, SeverityResult) or earlier.patient is None or earlier.acquired_at is None:
        return None
    return PatientResult(earlier.patient, prior_of(sop_instance_uid, earlier.acquired_at, result, report))
