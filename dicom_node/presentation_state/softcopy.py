"""How a presentation state shows the greys of its film: as scored (PS3.3 C.11.1, C.11.6, C.11.8)."""

from __future__ import annotations

from typing import Any

import numpy as np
from highdicom import VOILUT, ModalityLUT, ModalityLUTTransformation, PresentationLUTTransformation
from highdicom.pr import SoftcopyVOILUTTransformation
from pydicom.dataset import Dataset

from dicom_node.greyscale import window
from dicom_node.header import number, text
from dicom_node.lookup_table import modality_lut, voi_lut
from dicom_node.pixels import Radiograph

_NARROW = 16.0
"""Modality values below which the one by which LINEAR windows are off would be seen."""
_UNSPECIFIED = "US"  # PS3.3 C.11.1.1.2: neither Hounsfield units nor optical density


def greyscale_transformations(radiograph: Radiograph) -> dict[str, Any]:
    """Return the arguments of a highdicom presentation state that repeat the source's greyscale chain.

    The image's own modality LUT and its first VOI LUT or else its first window are taken over; where it
    brings none that shows anything, the range that ``greyscale.grey_table`` chose. MONOCHROME1 becomes
    Presentation LUT Shape INVERSE, since a presentation state replaces the photometric interpretation.
    Only the logarithm of an image FOR PROCESSING with linear intensities is left out: it is shown between
    the same ends.

    Parameters
    ----------
    radiograph : Radiograph
        A greyscale image.
    """
    header = radiograph.dataset
    voi = _chosen_window(radiograph) or _stored_voi(header)
    return {
        "modality_lut_transformation": _modality(header),
        "voi_lut_transformations": [voi] if voi else None,
        "presentation_lut_transformation": PresentationLUTTransformation(
            presentation_lut_shape="INVERSE" if radiograph.inverted else "IDENTITY"
        ),
    }


def _modality(header: Dataset) -> ModalityLUTTransformation | None:
    table = modality_lut(header)
    if table is not None:
        # a negative first value is written in two's complement, as the standard has it
        lut = ModalityLUT(_UNSPECIFIED, table.first & 0xFFFF, table.entries.astype(np.uint16))
        return ModalityLUTTransformation(modality_lut=lut)
    slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept")
    if (slope is None and intercept is None) or slope == 0:
        return None
    return ModalityLUTTransformation(
        rescale_slope=1.0 if slope is None else slope,
        rescale_intercept=intercept or 0.0,
        rescale_type=_UNSPECIFIED,
    )


def _chosen_window(radiograph: Radiograph) -> SoftcopyVOILUTTransformation | None:
    """Return the range chosen for the film as a window (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    if radiograph.chosen_range is None:
        return None
    low, high = radiograph.chosen_range
    if 0 < high - low < _NARROW:
        return SoftcopyVOILUTTransformation(
            window_center=(low + high) / 2, window_width=high - low, voi_lut_function="LINEAR_EXACT"
        )
    # understood by all, and defined for whole numbers
    return SoftcopyVOILUTTransformation(window_center=(low + high + 1) / 2, window_width=high - low + 1)


def _stored_voi(header: Dataset) -> SoftcopyVOILUTTransformation | None:
    table = voi_lut(header)
    if table is not None:
        entries = np.round(table.entries / table.full_scale * 0xFFFF).astype(np.uint16)
        return SoftcopyVOILUTTransformation(voi_luts=[VOILUT(table.first & 0xFFFF, entries)])
    center, width = number(header, "WindowCenter"), number(header, "WindowWidth")
    function = text(header, "VOILUTFunction").upper() or "LINEAR"
    if center is None or width is None or window(np.zeros(1), center, width, function) is None:
        return None
    known = function if function in ("SIGMOID", "LINEAR_EXACT") else "LINEAR"
    return SoftcopyVOILUTTransformation(window_center=center, window_width=width, voi_lut_function=known)
