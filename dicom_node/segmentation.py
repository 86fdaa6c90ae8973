"""A result to masks that viewers can lay over the film: a Segmentation (PS3.3 A.51)."""

from __future__ import annotations

from dataclasses import dataclass

import highdicom as hd
import numpy as np
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat

from dicom_node import codes
from dicom_node.header import texts
from dicom_node.identity import MANUFACTURER, SERIES_NUMBERS
from dicom_node.report_context import ReportContext
from dicom_node.source_header import positive_pair, without_names
from dicom_node.structured_report import finish
from models.result import ZONE_ORDER, NotAssessable, Result, Side

SERIES_NUMBER = SERIES_NUMBERS["seg"]
_LUNG_COLOUR = {Side.RIGHT: (0, 200, 220), Side.LEFT: (70, 130, 255)}
_OPACITY_COLOUR = (255, 140, 0)


@dataclass(frozen=True)
class _Segment:
    """One segment; ``mask`` in display geometry, ``side`` None for both lungs together."""

    label: str
    category: Code
    kind: Code
    mask: NDArray[np.bool_]
    colour: tuple[int, int, int]
    side: Side | None = None
    site: Code | None = None


def build_segmentation(context: ReportContext) -> Dataset:
    """Build the Segmentation of one radiograph's result.

    Parameters
    ----------
    context : ReportContext
        Masks of its result are carried back to the stored image.

    Returns
    -------
    pydicom.dataset.Dataset
        A BINARY Segmentation with file meta information, one frame a segment in the size of the source,
        empty ones included: right lung, left lung and, where it was measured, opacity. Of a film that
        cannot be assessed one segment, the lungs as far as they were found. Not compressed: at one bit a
        pixel three masks of 2048 x 2500 take 1.9 MB, and every receiver reads them.
    """
    result, moment = context.result, context.moment
    segments = _segments(result)
    stored = [context.radiograph.orientation.to_stored(segment.mask) for segment in segments]
    segmentation: Dataset = hd.seg.Segmentation(
        source_images=[without_names(context.header)],
        pixel_array=np.stack(stored, axis=-1)[None].astype(np.uint8),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _description(context, segment, number) for number, segment in enumerate(segments, 1)
        ],
        series_instance_uid=context.uid("SEG series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=context.uid("SEG"),
        instance_number=1,
        **context.equipment,
        content_label="AI_SEVERITY",
        content_description="Lungs and opacity found by an AI, for research",
        content_qualification=hd.ContentQualificationValues.RESEARCH,
        series_description=context.series_description("segmentation"),
        content_date=moment.date(),
        content_time=moment.time(),
        series_date=moment.date(),
        series_time=moment.time(),
        omit_empty_frames=False,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set=None,
    )
    _describe(segmentation, context)
    finish(segmentation, context)
    return segmentation


def _segments(result: Result) -> list[_Segment]:
    lung = (standard.SCT.AnatomicalStructure, codes.LUNG)
    if isinstance(result, NotAssessable):
        return [_Segment("Lungs as found, not assessable", *lung, result.lung_mask, _LUNG_COLOUR[Side.RIGHT])]
    segments = []
    for side in Side:
        numbers = [index + 1 for index, (of, _) in enumerate(ZONE_ORDER) if of is side]
        mask = np.isin(result.zone_map, numbers)
        segments.append(_Segment(f"{side.capitalize()} lung", *lung, mask, _LUNG_COLOUR[side], side))
    if result.measures_opacity:
        abnormal = standard.SCT.MorphologicallyAbnormalStructure
        mask = result.opacity_mask & result.lung_mask
        segments.append(
            _Segment("Lung opacity", abnormal, codes.OPACITY, mask, _OPACITY_COLOUR, site=codes.LUNG)
        )
    return segments


def _description(context: ReportContext, segment: _Segment, number: int) -> SegmentDescription:
    """Describe a segment: laterality modifies the lung, as in the report (PS3.16 CID 244)."""
    algorithm = context.result.algorithm
    parameters = {f"weights {role} sha256": digest for role, digest in sorted(algorithm.weights.items())}
    description = SegmentDescription(
        segment_number=number,
        segment_label=segment.label,
        segmented_property_category=segment.category,
        segmented_property_type=segment.kind,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=algorithm.name,
            family=codes.ARTIFICIAL_INTELLIGENCE,
            version=algorithm.version,
            source=MANUFACTURER,
            parameters={"algorithm sha256": algorithm.digest}
            | parameters
            | dict(sorted(algorithm.parameters.items())),
        ),
        tracking_id=f"AI {segment.label.lower()}"[:64],
        tracking_uid=context.uid(f"tracking {segment.label.lower()}"),
        anatomic_regions=[segment.site] if segment.site else None,
        display_color=hd.color.CIELabColor.from_rgb(*segment.colour),
    )
    laterality = codes.SIDE_LATERALITY[segment.side] if segment.side else codes.BILATERAL
    modifier = CodedConcept.from_code(laterality)
    if segment.site:
        description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [modifier]
    else:
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
            modifier
        ]
    return description


def _describe(segmentation: Dataset, context: ReportContext) -> None:
    """Add what General Series and General Image ask of an image of the chest (PS3.3 C.7.3.1, C.7.6.1)."""
    organization = context.uid("SEG dimensions")
    for item in (*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
    directions = texts(context.radiograph.dataset, "PatientOrientation")
    valid = len(directions) == 2 and all(one and set(one) <= set("ALPRHF") for one in directions)
    segmentation.PatientOrientation = list(directions) if valid else None
    spacing = positive_pair(context.radiograph.dataset, "ImagerPixelSpacing")
    if spacing:
        # optional beside a source image, and measured at the detector; viewers exist that fail without it
        measures = Dataset()
        measures.PixelSpacing = [DSfloat(one, auto_format=True) for one in spacing]
        segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = [measures]
    # CHEST is not a paired part, so Laterality may be absent (PS3.3 C.7.3.1).
    segmentation.BodyPartExamined = "CHEST"
