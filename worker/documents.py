"""Documents that reach the node: our own reports, readers' assessments of them, and somebody else's."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset

from dicom_node.assessment import DOCUMENT_SOP_CLASSES, Assessment, Verdict, read_assessment
from dicom_node.errors import NotEligible, NotEligibleReason, UndecodableInstance
from dicom_node.header import text
from dicom_node.identity import is_own_result
from dicom_node.prior import patient_of
from dicom_node.reading import read_dataset
from worker.archives import read_result
from worker.entry import JournalEntry, ReaderAssessment

if TYPE_CHECKING:
    from worker.stages import Scoring

logger = logging.getLogger(__name__)


def is_document(entry: JournalEntry) -> bool:
    """Tell whether an entry is a document, which is read and never scored."""
    return entry.sop_class_uid in DOCUMENT_SOP_CLASSES


def note(entry: JournalEntry, stage: Scoring) -> None:
    """Give a document its outcome: kept as an earlier result, noted as an assessment, or refused.

    Parameters
    ----------
    entry : JournalEntry
        The claim.
    stage : Scoring
        What scoring has.

    Raises
    ------
    NotEligible
        When it says nothing of our reports.
    UndecodableInstance
        When the bytes are not that document.
    StorageError, MissingInstance
        When journal or spool cannot be used, or the file is gone.
    """
    uid = entry.sop_instance_uid
    dataset = read_dataset(stage.spool.read_instance(uid))
    if text(dataset, "SOPInstanceUID") != uid:
        raise UndecodableInstance("the data set does not bear the UID that it was received under")
    if is_own_result(dataset):
        _keep_own(entry, dataset, stage)
        return
    assessment = read_assessment(dataset)
    if assessment is None:
        raise NotEligible(
            NotEligibleReason.NOT_A_RADIOGRAPH,
            "This is a document, no radiograph, and holds no judgement of a report that could be read.",
        )
    found = stage.assessments.find_report(assessment.subjects, entry.study_instance_uid)
    if found is None:
        raise NotEligible(
            NotEligibleReason.NOT_A_RADIOGRAPH,
            "This is a document, no radiograph, and judges no report that was made here.",
        )
    radiograph, report_uid = found
    assessment = _judged(assessment, _values_of(radiograph, report_uid, stage))
    message = f"assessment of {radiograph}: {assessment.verdict}"
    noted = ReaderAssessment(uid, radiograph, report_uid, assessment, datetime.now(UTC))
    if stage.journal.mark_noted(entry, noted, message):
        logger.info("%s noted: %s", uid, message)


def _keep_own(entry: JournalEntry, dataset: Dataset, stage: Scoring) -> None:
    identity = patient_of(dataset)
    result = None
    if identity is not None:
        result = read_result(dataset, stage.priors.pseudonym(identity), entry.calling_ae_title)
    kept = "the earlier result in it is kept for comparison" if result else "it is not scored again"
    message = f"This is a result of this worker; {kept}."
    stage.journal.mark_rejected(entry, NotEligibleReason.OWN_RESULT, message, result)
    logger.info("%s not eligible: own-result", entry.sop_instance_uid)


def _values_of(radiograph: str, report_uid: str, stage: Scoring) -> Mapping[str, Any] | None:
    """Return what the judged report says, where the journal's record is still of that report."""
    entry = stage.history.entry(radiograph)
    if entry is None:
        return None
    made = next((one for one in stage.history.reports(radiograph) if one.is_named(report_uid)), None)
    if made is None:
        return entry.result
    record = entry.result_of(made.algorithm)
    return record if record and record["algorithm_digest"] == made.algorithm_digest else None


def _judged(assessment: Assessment, ours: Mapping[str, Any] | None) -> Assessment:
    """Take a correction that says what our report says for what it is."""
    if ours is None or assessment.verdict is not Verdict.CORRECTED:
        return assessment
    zones = tuple(zone["score"] for zone in ours["zones"])
    theirs = (assessment.score, *assessment.zones)
    stated = [
        (one, mine) for one, mine in zip(theirs, (ours["score"], *zones), strict=False) if one is not None
    ]
    if stated and assessment.score_max == ours["score_max"] and all(one == mine for one, mine in stated):
        return replace(assessment, verdict=Verdict.ACCEPTED)
    return assessment
