"""Is this instance a frontal chest radiograph of a person? Answered from the header alone."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydicom import uid
from pydicom.dataset import Dataset

from dicom_node.errors import NotEligible, NotEligibleReason
from dicom_node.header import integer, items, text, texts
from dicom_node.identity import is_own_result
from dicom_node.orientation import principal_directions
from dicom_node.pixels import require_pixels

MIN_SIDE_PX = 256
"""Shortest side that is scored; below it the lungs are too coarse for either network."""

_RADIOGRAPH_CLASSES = frozenset(
    {
        uid.ComputedRadiographyImageStorage,
        uid.DigitalXRayImageStorageForPresentation,
        uid.DigitalXRayImageStorageForProcessing,
    }
)
_CAPTURE_CLASSES = frozenset(
    {
        uid.SecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    }
)
_RADIOGRAPH_MODALITIES = frozenset({"CR", "DX", "RG"})
_UNSPECIFIC_MODALITIES = frozenset({"", "OT", "SC"})

_CHEST = re.compile(
    r"\b(?:chest\w*|cxr|thorax|thorace|thx|tora[xc]e?|lungs?|lungen?|brustkorb|poumons?|pulmon\w*|polmon\w*)\b"
)
_CHEST_ADJECTIVE = re.compile(r"\b(?:thoraci[cq]u?e?|thorakal\w*|toracic[ao]|hemithora\w*)\b")
_CHEST_BONES = re.compile(
    r"\b(?:\w*spine|\w*wirbel\w*|bws|rachis|colonna|columna|vertebra\w*|ribs?|rippen?|c[oô]tes|coste|costillas"
    r"|sternum|sterno|clavic\w*|schlüsselbein|shoulders?|schulter|[eé]paule|spalla|hombro|scapula)\b"
)
_OTHER_PART = re.compile(
    r"\b(?:[hl]ws|abdom\w*|bauch|addome|kub|pelvis|becken|bassin|bacino|hips?|hüfte|hanche|cadera"
    r"|skull|schädel|cr[aâá]n\w*|head|kopf|t[eê]te|cabeza|neck|hals|sinus\w*|dental|extremit\w*|arm"
    r"|forearm|elbow|ellenbogen|coude|gomito|codo|wrists?|handgelenk|poignet|polso|hands?|mano|fingers?"
    r"|legs?|bein|jambe|gamba|pierna|knees?|knie|genou|ginocchio|rodilla|ankles?|sprunggelenk|cheville"
    r"|caviglia|tobillo|foot|feet|fu(?:ss|ß)|pied|piede|toes?|femur|tibia|humerus|breast|mamm[ao]\w*)\b"
)
_NEUTRAL_PARTS = frozenset(
    {"", "unknown", "other", "none", "unspecified", "any", "na", "n a", "xray", "default"}
)
_CHEST_CODES = frozenset({"816094009", "51185008", "T-D3000", "39607008", "T-28000", "43799004", "T-D3050"})
"""Chest, lung and thoracic cavity, SNOMED CT and its older SRT identifiers (PS3.16 CID 4031)."""

_SIDE_VIEW = re.compile(
    r"\b(?:lat|lateral\w*|ll|rl|ll[do]|rl[do]|seitl(?:ich)?|profile?|perfil|profilo|obli[qc]u\w*|schräg"
    r"|decub\w*|[lr][ap]o|lordotic|swimmers?|tangential|axial)\b"
)
_FRONT_VIEW = re.compile(
    r"\b(?:pa|ap|p a|a p|frontal\w*|front|face|postero ?anterior\w*|antero ?posterior\w*|dv|vd|sagittal)\b"
)
_FRONT_CODES = frozenset({"399348003", "272479007", "399033003", "R-10206", "R-10214", "R-10202"})
"""Antero-posterior, postero-anterior, frontal (PS3.16 CID 4010)."""

_ANIMAL = re.compile(
    r"\b(?:canine|feline|equine|bovine|veterin\w*|dog|puppy|kitten|hund|katze|chien|perro|gatto|gato)\b"
)
_HUMAN = re.compile(r"homo sapiens|human|337915000|l 85b00")
_UNCERTAIN_SPECIES = frozenset({"", "unknown", "none", "na", "n a"})

_IMAGE_DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription")
_ORDER_DESCRIPTIONS = (
    "StudyDescription",
    "RequestedProcedureDescription",
    "PerformedProcedureStepDescription",
)


def require_frontal_chest(dataset: Dataset) -> None:
    """Accept a frontal chest radiograph of a person; refuse anything else with a coded reason.

    Empty attributes are no reason to refuse: with no hint at all the image passes and stage I,
    which looks for lungs, decides. Contradicting attributes are: one that names another body
    part, a side view or an animal is enough.

    Parameters
    ----------
    dataset : pydicom.dataset.Dataset
        From ``pixels.read_dataset``, with its pixel data.

    Raises
    ------
    NotEligible
        OWN_RESULT, NOT_A_RADIOGRAPH, MULTI_FRAME, NOT_HUMAN, NOT_A_CHEST, LATERAL_VIEW, NO_PIXELS or
        TOO_SMALL, tested in this order.
    """
    if is_own_result(dataset):
        raise NotEligible(
            NotEligibleReason.OWN_RESULT, "This is a result of this worker; it is not scored again."
        )
    _require_radiograph(dataset)
    frames = integer(dataset, "NumberOfFrames", 1)
    if frames > 1:
        raise NotEligible(
            NotEligibleReason.MULTI_FRAME,
            f"The object has {frames} frames. Only single radiographs are scored.",
        )
    _require_person(dataset)
    _require_chest(dataset)
    _require_frontal_view(dataset)
    require_pixels(dataset)
    _require_size(dataset)


def _words(*values: str) -> str:
    """Lower-case text with every separator turned into one blank, for matching whole words."""
    return re.sub(r"[\W_]+", " ", " ".join(values).casefold().replace("ß", "ss")).strip()


def _described(dataset: Dataset, keywords: tuple[str, ...]) -> str:
    return _words(*(text(dataset, keyword) for keyword in keywords))


def _codes(dataset: Dataset, keyword: str) -> Iterator[tuple[str, str]]:
    """Yield code value and meaning of each item of a code sequence."""
    for item in items(dataset, keyword):
        yield text(item, "CodeValue"), text(item, "CodeMeaning")


def _require_radiograph(dataset: Dataset) -> None:
    sop_class, modality = text(dataset, "SOPClassUID"), text(dataset, "Modality").upper()
    if sop_class in _RADIOGRAPH_CLASSES and modality in _RADIOGRAPH_MODALITIES | _UNSPECIFIC_MODALITIES:
        return
    if sop_class in _CAPTURE_CLASSES:
        if modality in _RADIOGRAPH_MODALITIES:
            return
        if modality in _UNSPECIFIC_MODALITIES and _names_chest(_all_hints(dataset)):
            return
    raise NotEligible(
        NotEligibleReason.NOT_A_RADIOGRAPH,
        f"This is not a plain radiograph (modality {modality or 'unknown'}, {uid.UID(sop_class).name}). "
        "Only CR, DX and radiographs kept as Secondary Capture are scored.",
    )


def _all_hints(dataset: Dataset) -> str:
    return _words(
        text(dataset, "BodyPartExamined"),
        _described(dataset, _IMAGE_DESCRIPTIONS + _ORDER_DESCRIPTIONS),
        *(meaning for _, meaning in _codes(dataset, "AnatomicRegionSequence")),
    )


def _require_person(dataset: Dataset) -> None:
    species = _words(
        text(dataset, "PatientSpeciesDescription"),
        *(" ".join(code) for code in _codes(dataset, "PatientSpeciesCodeSequence")),
    )
    animal = species not in _UNCERTAIN_SPECIES and not _HUMAN.search(species)
    animal |= _words(text(dataset, "PatientBreedDescription")) not in _UNCERTAIN_SPECIES
    animal |= any(items(dataset, "PatientBreedCodeSequence")) or bool(text(dataset, "PatientSexNeutered"))
    animal |= text(dataset, "AnatomicalOrientationType").upper() == "QUADRUPED"
    animal |= bool(_ANIMAL.search(_described(dataset, _IMAGE_DESCRIPTIONS + _ORDER_DESCRIPTIONS)))
    if animal:
        raise NotEligible(
            NotEligibleReason.NOT_HUMAN,
            "The header describes an animal. Only radiographs of people are scored.",
        )
    if text(dataset, "QualityControlSubject").upper() == "YES":
        raise NotEligible(
            NotEligibleReason.NOT_HUMAN, "The header describes a quality control object, not a person."
        )


def _names_chest(words: str) -> bool | None:
    """Tell whether the words name the chest (True), another part (False), or none (None)."""
    if _CHEST.search(words):
        return True
    if _CHEST_BONES.search(words) or _OTHER_PART.search(words):
        return False
    return True if _CHEST_ADJECTIVE.search(words) else None


def _require_chest(dataset: Dataset) -> None:
    part = _words(text(dataset, "BodyPartExamined"))
    if part in _NEUTRAL_PARTS:
        regions = list(_codes(dataset, "AnatomicRegionSequence"))
        if any(value in _CHEST_CODES for value, _ in regions):
            part = "chest"
        else:
            part = _words(*(meaning for _, meaning in regions))
    image, order = _described(dataset, _IMAGE_DESCRIPTIONS), _described(dataset, _ORDER_DESCRIPTIONS)
    if part in _NEUTRAL_PARTS:
        verdicts = [_names_chest(image), _names_chest(order)]
        chest = next((verdict for verdict in verdicts if verdict is not None), True)
        named = "The descriptions name"
    else:
        chest = _names_chest(part) is True and _names_chest(image) is not False
        named = "Body part and descriptions name" if _names_chest(part) else "Body Part Examined names"
    if not chest:
        raise NotEligible(
            NotEligibleReason.NOT_A_CHEST,
            f"{named} another part than the chest. If this is a chest radiograph, correct the body part "
            "at the modality and send it again.",
        )


def _require_frontal_view(dataset: Dataset) -> None:
    position = _words(text(dataset, "ViewPosition"))
    views = list(_codes(dataset, "ViewCodeSequence"))
    image = _described(dataset, _IMAGE_DESCRIPTIONS)
    directions = principal_directions(texts(dataset, "PatientOrientation"))
    evidence = {
        "View Position": _is_side(position),
        "View Code": any(value not in _FRONT_CODES and _is_side(_words(meaning)) for value, meaning in views),
        "Patient Orientation": directions is not None and bool({"A", "P"} & set(directions)),
        "the description": _is_side(image),
    }
    contradicting = [name for name, is_side in evidence.items() if is_side]
    if contradicting:
        raise NotEligible(
            NotEligibleReason.LATERAL_VIEW,
            f"{' and '.join(contradicting)} say that this is a lateral, oblique or decubitus view. "
            "Only frontal views (PA or AP) are scored.",
        )


def _is_side(words: str) -> bool:
    """Tell whether only a side view is named; ``PA and lateral`` describes the study, not this image."""
    return bool(_SIDE_VIEW.search(words)) and not _FRONT_VIEW.search(words)


def _require_size(dataset: Dataset) -> None:
    rows, columns = integer(dataset, "Rows", 0), integer(dataset, "Columns", 0)
    if min(rows, columns) < MIN_SIDE_PX:
        raise NotEligible(
            NotEligibleReason.TOO_SMALL,
            f"The image has {columns} x {rows} pixels; its shorter side needs at least {MIN_SIDE_PX}. "
            "Send the original, not a preview.",
        )
