"""The content tree of a report: TID 1500 Measurement Report (PS3.16 Annex A).

One measurement group (TID 1410) for the total and one for each zone, every one with a region:
viewers exist that show nothing at all when a single group lacks one. Answers that are codes
(involved or not, quality, the reason for no score) and comments stand under Qualitative
Evaluations (row 12), where old and new editions of the template allow them; they also double
each value of 0, which viewers drop.
"""

from __future__ import annotations

from dataclasses import dataclass

import highdicom as hd
import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentSequence,
    FindingSite,
    ImageRegion,
    LanguageOfContentItemAndDescendants,
    Measurement,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    RelationshipTypeValues,
    SourceImageForMeasurement,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
)
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard
from pydicom.sr.coding import Code

from dicom_node import codes, regions
from dicom_node.identity import MANUFACTURER, MODEL_NAME, RESEARCH_LABEL
from dicom_node.image_library import image_library
from dicom_node.instance import derive_uid
from dicom_node.interval_change import change_answers, history_in_words, total_change, zone_change
from dicom_node.report_context import ReportContext
from models.result import NotAssessable, Result, SeverityResult, reported_percent

_ZONE_LETTERS = "ABCDEF"
INTENDED_USE = (
    f"AI result, {RESEARCH_LABEL}. It measures opacity of the lungs on one radiograph, whatever its cause; "
    "it does not name a disease and does not replace the radiologist's reading."
)
_THIRDS_SCHEME = "Score scheme: one point for each involved zone, three equal-area thirds a lung, 6 at most."
_BRIXIA_SCHEME = (
    "Score scheme: Brixia, six zones of 0 to 3 points, 18 at most: 0 no abnormality, 1 interstitial opacity, "
    "2 interstitial and alveolar with the interstitial predominating, 3 with the alveolar predominating."
)


def measurement_report(context: ReportContext) -> MeasurementReport:
    """Build the root container of the report, ready for an SR document."""
    result = context.result
    if isinstance(result, SeverityResult):
        groups = [_total_group(context, result)]
        groups += [_zone_group(context, result, index) for index in range(len(result.zones))]
    else:
        groups = [_not_assessable_group(context, result)]
    language = context.settings.language
    report = MeasurementReport(
        observation_context=ObservationContext(observer_person_context=_observer(result)),
        procedure_reported=_procedures(context.header),
        imaging_measurements=groups,
        title=standard.DCM.ImagingMeasurementReport,
        language_of_content_item_and_descendants=LanguageOfContentItemAndDescendants(
            CodedConcept(language, "RFC5646", "English (United States)" if language == "en-US" else language)
        ),
    )
    children = report[0].ContentSequence
    children.insert(len(children) - 1, image_library(context))
    children.append(_qualitative_evaluations(context))
    _separate(report[0])
    return report


def _observer(result: Result) -> ObserverContext:
    """TID 1004: the device is the algorithm in its version."""
    return ObserverContext(
        observer_type=standard.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=str(derive_uid("device", result.algorithm.name, result.algorithm.version)),
            name=result.algorithm.name,
            manufacturer_name=MANUFACTURER,
            model_name=MODEL_NAME,
            serial_number=result.algorithm.digest,
        ),
    )


def _procedures(header: Dataset) -> list[Code]:
    """Imaging procedure (CID 100), and what the order calls it."""
    return [codes.IMAGING_PROCEDURE] + [
        Code(item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning)
        for item in header.get("ProcedureCodeSequence", [])
    ]


def _separate(container: Dataset) -> None:
    """Mark every container SEPARATE: in running text renderers print values without their names."""
    if container.ValueType == "CONTAINER":
        container.ContinuityOfContent = "SEPARATE"
    for child in container.get("ContentSequence", []):
        _separate(child)


def _qualitative_evaluations(context: ReportContext) -> ContainerContentItem:
    """TID 1500 rows 12 to 14: coded answers, then comments."""
    result = context.result
    if isinstance(result, SeverityResult):
        answers = _answers(context, result)
        comment = _BRIXIA_SCHEME if result.score_max == codes.BRIXIA_MAX else _THIRDS_SCHEME
    else:
        answers = [
            (codes.TOTAL_SCORE[context.score_max], codes.VALUE_INDETERMINATE),
            (codes.REASON, codes.NOT_ASSESSABLE_REASON[result.reason]),
            (codes.QUALITY, codes.QUALITY_UNUSABLE),
        ]
        comment = f"No score was given. {result.message}"
    licence = result.algorithm.licence
    terms = [f"Licence of the algorithm's weights: {licence}"] if licence else []
    notes = [*terms, *history_in_words(context), *(f"Note: {warning}" for warning in context.warnings)]
    contains = RelationshipTypeValues.CONTAINS
    container = ContainerContentItem(name=codes.QUALITATIVE_EVALUATIONS, relationship_type=contains)
    container.ContentSequence = ContentSequence(
        [
            *(CodeContentItem(*answer, contains) for answer in answers),
            *(TextContentItem(codes.COMMENT, text, contains) for text in (INTENDED_USE, comment, *notes)),
        ]
    )
    return container


def _answers(context: ReportContext, result: SeverityResult) -> list[tuple[Code, Code]]:
    answers = [(codes.INVOLVED_TOTAL, codes.YES if result.score else codes.NO)]
    if context.settings.grade_severity and result.score:
        grade = min(3 * (result.score - 1) // result.score_max, 2)
        answers.append((codes.SEVERITY, codes.SEVERITY_GRADES[grade]))
    for zone, name in zip(result.zones, codes.INVOLVED, strict=True):
        found = codes.YES if zone.score else codes.NO
        answers.append((name, found if zone.area_px else codes.NOT_ATTEMPTED))
    quality = codes.QUALITY_LIMITED if context.warnings else codes.QUALITY_USABLE
    return [*answers, *change_answers(context.change), (codes.QUALITY, quality)]


@dataclass(frozen=True)
class _Group:
    """The parts of one TID 1410 group; ``outline`` in display geometry, None for the whole image."""

    kind: str
    label: str
    site: FindingSite
    outline: NDArray[np.float64] | None
    measurements: tuple[Measurement, ...] = ()


def _total_group(
    context: ReportContext, result: SeverityResult
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    name = codes.TOTAL_SCORE[result.score_max]
    measurements = [_measurement(context, name, result.score, codes.SCORE_UNIT, codes.TOTAL)]
    if result.measures_opacity:
        percent = result.percent
        measurements.append(_measurement(context, codes.LUNG_FRACTION, percent, codes.PERCENT))
    clear = sum(zone.area_px > 0 and zone.score == 0 for zone in result.zones)
    # The one number of a normal film that viewers which drop a 0 do show.
    measurements.append(_measurement(context, codes.CLEAR_ZONES, clear, codes.ZONES))
    measurements += total_change(context)
    return _group(
        context,
        _Group(
            kind="total",
            label=f"AI lung severity TOTAL {result.score} of {result.score_max}",
            site=FindingSite(codes.LUNG, codes.BILATERAL),
            outline=regions.hull(result.lung_mask),
            measurements=tuple(measurements),
        ),
    )


def _zone_group(
    context: ReportContext, result: SeverityResult, index: int
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    zone = result.zones[index]
    most = result.score_max // len(result.zones)
    measurements, state, outline = [], "not assessable", regions.hull(result.lung_mask)
    if zone.area_px:
        name = codes.ZONE_SCORE[result.score_max][index]
        measurements = [_measurement(context, name, zone.score, codes.SCORE_UNIT)]
        if zone.confidence is not None:
            sure = reported_percent(zone.confidence)
            measurements.append(_measurement(context, codes.ZONE_CONFIDENCE[index], sure, codes.PERCENT))
        if result.measures_opacity:
            percent = zone.percent
            measurements.append(_measurement(context, codes.ZONE_FRACTION[index], percent, codes.PERCENT))
        measurements += zone_change(context, index)
        share = f", {zone.percent} %" if result.measures_opacity else ""
        state = f"{zone.score} of {most}{share}"
        outline = regions.outline(result.zone_map == index + 1)
    return _group(
        context,
        _Group(
            kind=f"zone {zone.name}",
            label=f"AI zone {_ZONE_LETTERS[index]}: {zone.name}, {state}",
            site=FindingSite(codes.LEVEL_SITE[zone.level], codes.SIDE_LATERALITY[zone.side]),
            outline=outline,
            measurements=tuple(measurements),
        ),
    )


def _not_assessable_group(
    context: ReportContext, result: NotAssessable
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    return _group(
        context,
        _Group(
            kind="total",
            label="AI lung severity NOT ASSESSABLE",
            site=FindingSite(codes.LUNG, codes.BILATERAL),
            outline=regions.hull(result.lung_mask),
        ),
    )


def _group(context: ReportContext, parts: _Group) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    shape = (context.radiograph.pixels.shape[0], context.radiograph.pixels.shape[1])
    shown = regions.frame(shape) if parts.outline is None else parts.outline
    stored = context.radiograph.orientation.points_to_stored(shown, shape)
    anchored = regions.anchored_low if parts.kind == "total" else regions.anchored_left
    header = context.header
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            identifier=parts.label, uid=context.uid(f"tracking {parts.kind}")
        ),
        referenced_region=ImageRegion(
            graphic_type=hd.sr.GraphicTypeValues.POLYLINE,
            graphic_data=anchored(stored),
            source_image=SourceImageForRegion(header.SOPClassUID, header.SOPInstanceUID),
        ),
        finding_type=codes.OPACITY,
        algorithm_id=_algorithm(context.result, in_full=parts.kind == "total"),
        finding_sites=[parts.site],
        measurements=parts.measurements or None,
    )


def _algorithm(result: Result, *, in_full: bool) -> AlgorithmIdentification:
    """TID 4019; in full with the digest of every weight file and each parameter as text.

    Once in full is enough: seven times over, they bury the numbers in every text rendering.
    """
    algorithm = result.algorithm
    parameters = [f"manufacturer={MANUFACTURER}", f"algorithm sha256={algorithm.digest}"]
    parameters += [f"weights {role} sha256={digest}" for role, digest in sorted(algorithm.weights.items())]
    parameters += [f"{name}={value}" for name, value in sorted(algorithm.parameters.items())]
    return AlgorithmIdentification(
        name=algorithm.name,
        version=algorithm.version,
        parameters=parameters if in_full else None,
        family=codes.ARTIFICIAL_INTELLIGENCE,
    )


def _measurement(
    context: ReportContext, name: Code, value: float, unit: Code, derivation: Code | None = None
) -> Measurement:
    header = context.header
    return Measurement(
        name=name,
        value=value,
        unit=unit,
        derivation=derivation,
        referenced_images=[SourceImageForMeasurement(header.SOPClassUID, header.SOPInstanceUID)],
    )
