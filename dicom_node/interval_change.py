"""What a report says of earlier radiographs: prior figures, changes, and where they stand.

Changes are measurements of the group that they belong to (TID 1419), each inferred from the prior's
figure. Groups of their own for the prior would need a region on an image that is not there, and viewers
take two groups of one tracking identifier for one; so every report tracks its own zones. Viewers that
drop a numeric 0 find "no change" as a code. The reports of the priors stand in the evidence.
"""

from __future__ import annotations

from highdicom.sr import (
    Measurement,
    NumContentItem,
    RelationshipTypeValues,
    SourceImageForMeasurement,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node import codes
from dicom_node.instance import InstanceReference
from dicom_node.prior import Change, PriorResult, ZoneFigures
from dicom_node.report_context import ReportContext
from models.result import SeverityResult

_MOST_PRIORS = 10
"""Earlier results that are listed, the latest; a chronic patient has dozens."""


def shown_priors(context: ReportContext) -> tuple[PriorResult, ...]:
    """Return the earlier results that the report names, oldest first."""
    if not isinstance(context.result, SeverityResult):
        return ()
    return context.basis.comparable(context.result)[-_MOST_PRIORS:]


def prior_reports(context: ReportContext) -> list[Dataset]:
    """Return the reports of the earlier results, in the form in which highdicom takes evidence."""
    return [as_evidence(prior.report) for prior in shown_priors(context) if prior.report is not None]


def as_evidence(reference: InstanceReference) -> Dataset:
    """Return a data set of nothing but an instance's identity."""
    instance = Dataset()
    instance.SOPClassUID = reference.sop_class_uid
    instance.SOPInstanceUID = reference.sop_instance_uid
    instance.SeriesInstanceUID = reference.series_instance_uid
    instance.StudyInstanceUID = reference.study_instance_uid
    return instance


def total_change(context: ReportContext) -> list[Measurement]:
    """Return prior total and change of score and share; empty without a comparable prior."""
    change = context.change
    if change is None:
        return []
    then = ZoneFigures(change.prior.score, change.prior.percent)
    return _changes(context, then, ZoneFigures(change.score, change.percent))


def zone_change(context: ReportContext, index: int) -> list[Measurement]:
    """Return the change of one zone's score and share, as far as both radiographs have them."""
    change = context.change
    return [] if change is None else _changes(context, change.prior.zones[index], change.zones[index])


def _changes(context: ReportContext, then: ZoneFigures, change: ZoneFigures) -> list[Measurement]:
    told = (
        (codes.SCORE_CHANGE, change.score, codes.PRIOR_SCORE, then.score, codes.SCORE_UNIT),
        (codes.SHARE_CHANGE, change.percent, codes.PRIOR_SHARE, then.percent, codes.PERCENT),
    )
    measurements = []
    for name, difference, prior_name, prior, unit in told:
        if difference is None or prior is None:
            continue
        measurement = _measurement(context, name, difference, unit)
        inferred = RelationshipTypeValues.INFERRED_FROM
        measurement[0].ContentSequence.append(
            NumContentItem(prior_name, prior, unit, relationship_type=inferred)
        )
        measurements.append(measurement)
    return measurements


def _measurement(context: ReportContext, name: Code, value: float, unit: Code) -> Measurement:
    header = context.header
    image = SourceImageForMeasurement(header.SOPClassUID, header.SOPInstanceUID)
    return Measurement(name=name, value=value, unit=unit, referenced_images=[image])


def change_answers(change: Change | None) -> list[tuple[Code, Code]]:
    """Return whether total and zones rose, fell or stayed, as concept and value."""
    if change is None:
        return []
    names = (codes.COMPARED, *codes.COMPARED_ZONE)
    differences = (change.score, *(zone.score for zone in change.zones))
    return [(name, _direction(one)) for name, one in zip(names, differences, strict=True)]


def _direction(difference: int | None) -> Code:
    if difference is None:
        return codes.NOT_ATTEMPTED
    if difference == 0:
        return codes.NO_CHANGE
    return codes.INCREASED if difference > 0 else codes.DECREASED


def _movement(difference: float) -> str:
    if difference == 0:
        return "unchanged"
    return f"{'up' if difference > 0 else 'down'} {abs(difference):g}"


def history_in_words(context: ReportContext) -> list[str]:
    """Return sentences on the prior, the series of earlier scores, and the report that this one replaces."""
    told = []
    change, result = context.change, context.result
    if change is not None and isinstance(result, SeverityResult):
        told.append(_comparison(change, result))
        priors = shown_priors(context)
        if len(priors) > 1:
            scores = "; ".join(f"{prior.acquired_at:%Y-%m-%d}: {prior.score}" for prior in priors)
            told.append(f"Earlier scores, of {result.score_max}: {scores}.")
        if change.prior.digest != result.algorithm.digest:
            told.append(
                f"The prior was scored by {change.prior.algorithm} {change.prior.version} with other weights "
                "or settings; part of the change may come from that."
            )
    if context.basis.predecessor is not None:
        told.append("This report replaces an earlier report of the same radiograph.")
    return told


def _comparison(change: Change, result: SeverityResult) -> str:
    prior = change.prior
    told = (
        f"Compared with the radiograph of {prior.acquired_at:%Y-%m-%d %H:%M}: score {prior.score} then, "
        f"{result.score} now ({_movement(change.score)})"
    )
    if change.percent is not None:
        told += (
            f"; opacified share of both lungs {prior.percent} % then, {result.percent} % now "
            f"({_movement(change.percent)}{' percentage points' if change.percent else ''})"
        )
    return f"{told}."
