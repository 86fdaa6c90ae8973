"""Every coded concept that our Structured Reports use, with its source.

Standard concepts come from DICOM PS3.16 (DCM), SNOMED CT (SCT) and UCUM. For lung severity
scores none of these has a concept, so those few are private under ``99CXRSEV``, which every
report declares (PS3.3 C.12.1.1.1, PS3.16 8.2). No code names a disease: what is measured is
opacity.
"""

from __future__ import annotations

from pydicom.sr.coding import Code

from models.result import ZONE_ORDER, Level, NotAssessableReason, Side

PRIVATE_SCHEME = "99CXRSEV"
PRIVATE_SCHEME_NAME = "cxr-severity-worker private codes"

# PS3.16 CID 100: the one entry that covers a plain radiograph; the study's own code is added to it.
IMAGING_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")

OPACITY = Code("112001", "DCM", "Opacity")  # CID 6101
LUNG = Code("39607008", "SCT", "Lung")
LEVEL_SITE: dict[Level, Code] = {  # CID 6171 Zone of Lung
    Level.UPPER: Code("281392002", "SCT", "Upper zone of lung"),
    Level.MIDDLE: Code("281393007", "SCT", "Middle zone of lung"),
    Level.LOWER: Code("281394001", "SCT", "Lower zone of lung"),
}
FINDING_SITE = Code("363698007", "SCT", "Finding Site")
LATERALITY = Code("272741003", "SCT", "Laterality")
BILATERAL = Code("51440002", "SCT", "Bilateral")  # CID 244
SIDE_LATERALITY: dict[Side, Code] = {
    Side.RIGHT: Code("24028007", "SCT", "Right"),
    Side.LEFT: Code("7771000", "SCT", "Left"),
}

ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")  # CID 7162
TOTAL = Code("255619001", "SCT", "Total")  # CID 7464
SOURCE = Code("260753009", "SCT", "Source")
PERCENT = Code("%", "UCUM", "Percent")
SCORE_UNIT = Code("{score}", "UCUM", "score")
ZONES = Code("{zones}", "UCUM", "zones")
PIXELS = Code("{pixels}", "UCUM", "Pixels")
MILLIMETER = Code("mm", "UCUM", "mm")

SEVERITY = Code("246112005", "SCT", "Severity")
SEVERITY_GRADES: tuple[Code, Code, Code] = (  # CID 3716
    Code("255604002", "SCT", "Mild"),
    Code("6736007", "SCT", "Moderate"),
    Code("24484000", "SCT", "Severe"),
)
YES = Code("373066001", "SCT", "Yes")  # CID 230
NO = Code("373067005", "SCT", "No")

QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")  # TID 1500 row 12
QUALITY = Code("111050", "DCM", "Quality Assessment")  # values: CID 6044
QUALITY_USABLE = Code("111237", "DCM", "Usable - Meets the quality control standard")
QUALITY_LIMITED = Code("111236", "DCM", "Usable - Does not meet the quality control standard")
QUALITY_UNUSABLE = Code("111235", "DCM", "Unusable - Quality renders image unusable")
VALUE_INDETERMINATE = Code("114011", "DCM", "Value indeterminate")  # CID 42
NOT_ATTEMPTED = Code("114007", "DCM", "Measurement not attempted")
COMMENT = Code("121106", "DCM", "Comment")

INCREASED = Code("35105006", "SCT", "Increased")
DECREASED = Code("1250004", "SCT", "Decreased")  # CID 3642
NO_CHANGE = Code("260388006", "SCT", "No change")  # CID 3235

CHEST = Code("51185008", "SCT", "Chest")  # CID 4031 up to 2022, understood by all; since then 816094009
IMAGE_VIEW: dict[str, Code] = {  # CID 4010
    "PA": Code("272479007", "SCT", "postero-anterior"),
    "AP": Code("399348003", "SCT", "antero-posterior"),
}

# CID 29 Acquisition Modality
MODALITY: dict[str, Code] = {
    "CR": Code("CR", "DCM", "Computed Radiography"),
    "DX": Code("DX", "DCM", "Digital Radiography"),
    "RG": Code("RG", "DCM", "Radiographic imaging"),
}
MODALITY_OTHER = Code("OT", "DCM", "Other")


def _private(value: str, meaning: str) -> Code:
    return Code(value, PRIVATE_SCHEME, meaning)


def _zones(value: str, meaning: str) -> tuple[Code, ...]:
    """One concept for each zone, with its side in words: viewers exist that do not show laterality."""
    return tuple(
        _private(f"{value}-{letter}", meaning.format(f"{side.capitalize()} {level}"))
        for letter, (side, level) in zip("ABCDEF", ZONE_ORDER, strict=True)
    )


BRIXIA_MAX = 18
TOTAL_SCORE: dict[int, Code] = {
    6: _private("LUNG-SEV-0-6", "Lung opacity score, 0 to 6"),
    BRIXIA_MAX: _private("BRIXIA-0-18", "Brixia score, 0 to 18"),
}
SCORE_MAX: dict[str, int] = {"two-stage": 6, "bs-net": BRIXIA_MAX}
"""Scheme by algorithm, for results without a score."""
ZONE_SCORE: dict[int, tuple[Code, ...]] = {
    6: _zones("ZONE-SEV", "{} zone score"),
    BRIXIA_MAX: _zones("BRIXIA", "{} zone Brixia score"),
}
ZONE_CONFIDENCE = _zones("CONFIDENCE", "{} zone score confidence")
"""Probability that the algorithm gives the score that it reports."""
LUNG_FRACTION = _private("OPACITY-LUNG", "Lung opacity")
ZONE_FRACTION = _zones("OPACITY", "{} zone opacity")
"""Opacified share of the area."""
UNSIDED_ZONE_SCORE: dict[int, Code] = {
    6: _private("ZONE-SEV-0-1", "Lung zone severity score, 0 or 1"),
    BRIXIA_MAX: _private("BRIXIA-ZONE-0-3", "Brixia score of lung zone, 0 to 3"),
}
UNSIDED_ZONE_FRACTION = _private("OPACITY-ZONE", "Opacified share of lung zone area")
"""Understood, no longer emitted: the zone is told by finding site and laterality alone."""
CLEAR_ZONES = _private("CLEAR-ZONES", "Lung zones without involvement")
INVOLVED_TOTAL = _private("INVOLVED", "Any lung zone counted as involved by opacity")
INVOLVED = _zones("INVOLVED", "{} lung zone counted as involved by opacity")
PRIOR_SCORE = _private("PRIOR-SCORE", "Prior score")
PRIOR_SHARE = _private("PRIOR-SHARE", "Prior opacity")
SCORE_CHANGE = _private("SCORE-CHANGE", "Score change since prior")
SHARE_CHANGE = _private("SHARE-CHANGE", "Opacity change since prior")
"""Now minus then: points, or percentage points."""
COMPARED = _private("COMPARED", "Lung severity score compared with prior")
COMPARED_ZONE = _zones("COMPARED", "{} lung zone score compared with prior")
REASON = _private("NO-SCORE-REASON", "Reason why no score could be given")
NOT_ASSESSABLE_REASON: dict[NotAssessableReason, Code] = {
    NotAssessableReason.NO_LUNGS: _private("NO-LUNGS", "No lungs found"),
    NotAssessableReason.ONE_LUNG: _private("ONE-LUNG", "Only one lung found"),
    NotAssessableReason.IMPLAUSIBLE_LUNGS: _private("IMPLAUS-LUNGS", "Lung outlines implausible"),
}

# What a reader may answer: see dicom_node/assessment.py.
ASSESSMENT = _private("ASSESSMENT", "Assessment of the AI result")
ACCEPTED = _private("ACCEPTED", "AI result accepted")
REJECTED = _private("REJECTED", "AI result rejected")
CORRECTED = _private("CORRECTED", "AI result corrected")
AGREEMENT = Code("122775", "DCM", "Agreement with prior findings")  # CID 3217
DISAGREEMENT = Code("122776", "DCM", "Disagreement with prior findings")
REJECTION_NOTES: tuple[Code, ...] = (  # CID 7010, as IHE Imaging Object Change Management uses them
    Code("113001", "DCM", "Rejected for Quality Reasons"),
    Code("113037", "DCM", "Rejected for Patient Safety Reasons"),
)
