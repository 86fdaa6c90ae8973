"""A result drawn on its own film, to be shown and hidden by the viewer: a Softcopy Presentation State.

Grayscale (PS3.3 A.33.1), or Color (A.33.2) for the few radiographs that were stored in colour.
"""

from __future__ import annotations

import struct
from typing import Any

import highdicom as hd
from PIL import ImageCms
from pydicom.dataset import Dataset

from dicom_node.header import integer, items, text
from dicom_node.identity import SERIES_NUMBERS
from dicom_node.presentation_state.graphics import (
    displayed_corners,
    graphic_annotations,
    layers,
    spatial_transformation,
)
from dicom_node.presentation_state.softcopy import greyscale_transformations
from dicom_node.report_context import ReportContext
from dicom_node.source_header import without_names
from dicom_node.structured_report import finish

SERIES_NUMBER = SERIES_NUMBERS["gsps"]
_ICC_CLASS, _ICC_DATE = slice(12, 16), slice(24, 36)  # ISO 15076-1, 7.2.5 and 7.2.8


def build_presentation_state(context: ReportContext) -> Dataset:
    """Build the presentation state of one radiograph's result.

    Parameters
    ----------
    context : ReportContext
        Masks of its result lie in the geometry of ``radiograph.pixels``; what is drawn refers to the
        stored image, which the presentation state turns into the standard display.

    Returns
    -------
    pydicom.dataset.Dataset
        A Grayscale Softcopy Presentation State with file meta information (Color for a source in
        colour): outlines of lungs, zones and opacity and the figures in graphic layers of their own, the
        greys as they were scored; with equal contexts equal in every element.
    """
    moment = context.moment
    source = _source(context)
    colour = source.SamplesPerPixel == 3 or source.PhotometricInterpretation == "PALETTE COLOR"
    drawn = layers(context)
    specific = {"icc_profile": _srgb()} if colour else greyscale_transformations(context.radiograph)
    kind: Any = hd.pr.ColorSoftcopyPresentationState if colour else hd.pr.GrayscaleSoftcopyPresentationState
    state: Dataset = kind(
        referenced_images=[source],
        series_instance_uid=context.uid("GSPS series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=context.uid("GSPS"),
        instance_number=1,
        **context.equipment,
        content_label="AI_SEVERITY",
        content_description="Lungs, opacity and scores found by an AI, for research",
        content_qualification=hd.ContentQualificationValues.RESEARCH,
        graphic_annotations=graphic_annotations(drawn, source),
        graphic_layers=[layer.described(order) for order, layer in enumerate(drawn, 1)],
        series_description=context.series_description("outlines"),
        series_date=moment.date(),
        series_time=moment.time(),
        specific_character_set=None,
        **specific,
    )
    _hang(state, context)
    # CHEST is not a paired part, so Laterality may be absent (PS3.3 C.7.3.1).
    state.BodyPartExamined = "CHEST"
    state.PresentationCreationDate = moment.strftime("%Y%m%d")
    state.PresentationCreationTime = moment.strftime("%H%M%S")
    finish(state, context)
    return state


def read_presentation_texts(state: Dataset) -> tuple[str, ...]:
    """Return the texts of a presentation state, each as one line, in the order in which they stand."""
    return tuple(
        " ".join(text(one, "UnformattedTextValue").split())
        for annotation in items(state, "GraphicAnnotationSequence")
        for one in items(annotation, "TextObjectSequence")
    )


def _source(context: ReportContext) -> Dataset:
    """Return the header with what highdicom asks of an image it annotates."""
    source = without_names(context.header)
    image = context.radiograph.dataset
    source.SamplesPerPixel = integer(image, "SamplesPerPixel", 1)
    source.PhotometricInterpretation = text(image, "PhotometricInterpretation").upper()
    return source


def _srgb() -> bytes:
    """Return sRGB as the input profile that PS3.3 C.11.15 asks for, dated, so that it is always the same."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[_ICC_CLASS] = b"scnr"
    profile[_ICC_DATE] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    return bytes(profile)


def _hang(state: Dataset, context: ReportContext) -> None:
    """Turn the stored image into the standard display, and show all of it (PS3.3 C.10.4, C.10.6)."""
    rotation, flip = spatial_transformation(context)
    if rotation or flip:
        state.ImageRotation, state.ImageHorizontalFlip = rotation, "Y" if flip else "N"
    area = state.DisplayedAreaSelectionSequence[0]
    (
        area.DisplayedAreaTopLeftHandCorner,
        area.DisplayedAreaBottomRightHandCorner,
    ) = displayed_corners(context)
