"""The numbers of a Secondary Capture in its header, so that programs need not read them from pixels.

Private elements of group 0099, Private Creator ``99CXRSEV`` (PS3.5 7.8.1), declared as holding no identity in
the Private Data Element Characteristics Sequence (PS3.3 C.12.1.1.7):

============  ==================  ==  ===  =================================================================
Tag           Name                VR  VM   Content
============  ==================  ==  ===  =================================================================
(0099,xx01)   Outcome             CS  1    ``SCORED`` or ``NOT_ASSESSABLE``
(0099,xx02)   Total Score         US  1    sum of the zone scores; absent if not assessable
(0099,xx03)   Largest Score       US  1    what the scheme allows: 6 or 18; absent if not assessable
(0099,xx04)   Lung Percent        DS  1    opacified share of both lungs, one decimal; absent if not measured
(0099,xx05)   Zone Names          LO  6    ``right upper`` ... ``left lower``: the order of the two next
(0099,xx06)   Zone Scores         LO  6    whole numbers; empty for a zone without area
(0099,xx07)   Zone Percents       LO  6    one decimal; empty for a zone without area or not measured
(0099,xx08)   Algorithm Name      LO  1
(0099,xx09)   Algorithm Version   LO  1
(0099,xx0A)   Algorithm Digest    LO  1    SHA-256, hexadecimal
(0099,xx0B)   Reason              CS  1    why there is no score: ``NO_LUNGS``, ``ONE_LUNG``, ...
============  ==================  ==  ===  =================================================================
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.datadict import add_private_dict_entries
from pydicom.dataset import Dataset

from dicom_node.codes import NOT_ASSESSABLE_REASON
from dicom_node.header import UNREADABLE, integer, number, text, texts
from dicom_node.prior import ZoneFigures, figures_of
from models.result import ZONE_ORDER, NotAssessable, Result

PRIVATE_CREATOR = "99CXRSEV"
PRIVATE_GROUP = 0x0099
SCORED, NOT_ASSESSABLE = "SCORED", "NOT_ASSESSABLE"

_ELEMENTS = {
    "outcome": (0x01, "CS", "1", "Outcome"),
    "score": (0x02, "US", "1", "Total Score"),
    "score_max": (0x03, "US", "1", "Largest Score"),
    "percent": (0x04, "DS", "1", "Lung Percent"),
    "zone_names": (0x05, "LO", "6", "Zone Names"),
    "zone_scores": (0x06, "LO", "6", "Zone Scores"),
    "zone_percents": (0x07, "LO", "6", "Zone Percents"),
    "algorithm": (0x08, "LO", "1", "Algorithm Name"),
    "version": (0x09, "LO", "1", "Algorithm Version"),
    "digest": (0x0A, "LO", "1", "Algorithm Digest"),
    "reason": (0x0B, "CS", "1", "Reason"),
}
_REASONS = {reason: code.value.replace("-", "_") for reason, code in NOT_ASSESSABLE_REASON.items()}
"""The report's codes in the letters of a CS, 16 at most (PS3.5 6.2)."""

# Read back from a transfer syntax that states no VR, a private element is known only by this.
add_private_dict_entries(
    PRIVATE_CREATOR,
    {PRIVATE_GROUP << 16 | 0x1000 | one[0]: (one[1], one[2], one[3], "") for one in _ELEMENTS.values()},
)


@dataclass(frozen=True)
class CaptureFigures:
    """What a Secondary Capture says in numbers; None where it says nothing.

    Parameters
    ----------
    outcome : str
        ``SCORED`` or ``NOT_ASSESSABLE``.
    algorithm, version, digest : str
        What scored the film.
    score, score_max : int or None
        The total, and the largest the scheme allows.
    percent : float or None
        Opacified share of both lungs, as reported.
    zones : tuple of ZoneFigures
        Six, in ``ZONE_ORDER``; empty if not assessable.
    reason : str or None
        Coded reason of no score, as ``NotAssessableReason`` spells it.
    """

    outcome: str
    algorithm: str
    version: str
    digest: str
    score: int | None = None
    score_max: int | None = None
    percent: float | None = None
    zones: tuple[ZoneFigures, ...] = ()
    reason: str | None = None


def write_capture_figures(dataset: Dataset, result: Result) -> None:
    """Add a result's numbers to a data set as private elements."""
    algorithm = result.algorithm
    values: dict[str, str | int | list[str]] = {
        "algorithm": algorithm.name[:64],
        "version": algorithm.version[:64],
        "digest": algorithm.digest,
    }
    if isinstance(result, NotAssessable):
        values |= {"outcome": NOT_ASSESSABLE, "reason": _REASONS[result.reason]}
    else:
        figures = figures_of(result)
        values |= {
            "outcome": SCORED,
            "score": result.score,
            "score_max": result.score_max,
            "zone_names": [f"{side} {level}" for side, level in ZONE_ORDER],
            "zone_scores": [_written(zone.score) for zone in figures],
            "zone_percents": [_written(zone.percent) for zone in figures],
        }
        if result.measures_opacity:
            values["percent"] = _written(result.percent)
    block = dataset.private_block(PRIVATE_GROUP, PRIVATE_CREATOR, create=True)
    for name in sorted(values, key=lambda name: _ELEMENTS[name][0]):
        offset, vr, _, _ = _ELEMENTS[name]
        block.add_new(offset, vr, values[name])
    dataset.PrivateDataElementCharacteristicsSequence = [_characteristics()]


def read_capture_figures(dataset: Dataset) -> CaptureFigures | None:
    """Return the numbers of a Secondary Capture of ours, or None where there are none.

    Parameters
    ----------
    dataset : pydicom.dataset.Dataset
        As it was read, from any transfer syntax.
    """
    try:
        block = dataset.private_block(PRIVATE_GROUP, PRIVATE_CREATOR)
    except UNREADABLE:
        return None
    tags = {name: int(block.get_tag(offset)) for name, (offset, *_) in _ELEMENTS.items()}
    outcome, algorithm, version, digest = (
        text(dataset, tags[name]) for name in ("outcome", "algorithm", "version", "digest")
    )
    if outcome == NOT_ASSESSABLE:
        told = text(dataset, tags["reason"])
        known = {value: str(reason) for reason, value in _REASONS.items()}
        reason = known.get(told, told.lower().replace("_", "-"))
        return CaptureFigures(outcome, algorithm, version, digest, reason=reason)
    if outcome != SCORED:
        return None
    zones = _zones(*(texts(dataset, tags[name]) for name in ("zone_scores", "zone_percents")))
    if zones is None:
        return None
    return CaptureFigures(
        outcome,
        algorithm,
        version,
        digest,
        score=integer(dataset, tags["score"], 0),
        score_max=integer(dataset, tags["score_max"], 0),
        percent=number(dataset, tags["percent"]),
        zones=zones,
    )


def _zones(scores: tuple[str, ...], percents: tuple[str, ...]) -> tuple[ZoneFigures, ...] | None:
    if not len(scores) == len(percents) == len(ZONE_ORDER):
        return None
    try:
        return tuple(
            ZoneFigures(int(score) if score else None, float(percent) if percent else None)
            for score, percent in zip(scores, percents, strict=True)
        )
    except ValueError:
        return None


def _written(figure: float | None) -> str:
    return "" if figure is None else str(figure)


def _characteristics() -> Dataset:
    """Return that the block identifies nobody, for those who remove identity (PS3.15 E.3.10)."""
    item = Dataset()
    item.PrivateGroupReference = PRIVATE_GROUP
    item.PrivateCreatorReference = PRIVATE_CREATOR
    item.BlockIdentifyingInformationStatus = "SAFE"
    return item
