"""A result as plain data for JSON, tables and the journal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.result import Result


def summarise(
    sop_instance_uid: str | None, result: Result, noted: Sequence[str], elapsed_s: float
) -> dict[str, Any]:
    """Return what was found, ready for JSON, without patient data or pixels.

    Parameters
    ----------
    sop_instance_uid : str, optional
        The radiograph.
    result : SeverityResult or NotAssessable
        What the scorer said.
    noted : Sequence of str
        What reading the image had to assume, told before the result's own warnings.
    elapsed_s : float
        Seconds it took.

    Returns
    -------
    dict
        ``sop_instance_uid, algorithm, outcome, score, score_max, zones, reason, message, warnings,
        elapsed_s``; ``zones`` is a list of ``side, level, fraction, score`` in the order right upper to
        left lower, empty when there is no score; ``outcome`` is ``scored`` or ``not-assessable``.
    """
    from models.result import SeverityResult  # noqa: PLC0415 - numpy, which the listener does without

    found: dict[str, Any]
    if isinstance(result, SeverityResult):
        found = {
            "outcome": "scored",
            "score": result.score,
            "score_max": result.score_max,
            "zones": [
                {
                    "side": str(zone.side),
                    "level": str(zone.level),
                    "fraction": round(zone.percent / 100, 3),
                    "score": zone.score,
                }
                for zone in result.zones
            ],
        }
    else:
        found = {"outcome": "not-assessable", "reason": str(result.reason), "message": result.message}
    return {
        **_nothing_found(sop_instance_uid),
        **found,
        "algorithm": result.algorithm.name,
        "warnings": [*noted, *result.warnings],
        "elapsed_s": round(elapsed_s, 3),
    }


def refuse(sop_instance_uid: str | None, outcome: str, reason: str, message: str) -> dict[str, Any]:
    """Return the same record for an image that got no result: ``not-eligible`` or ``error``."""
    return {
        **_nothing_found(sop_instance_uid),
        "outcome": outcome,
        "reason": reason,
        "message": message,
    }


def _nothing_found(sop_instance_uid: str | None) -> dict[str, Any]:
    return {
        "sop_instance_uid": sop_instance_uid,
        "algorithm": None,
        "outcome": None,
        "score": None,
        "score_max": None,
        "zones": [],
        "reason": None,
        "message": None,
        "warnings": [],
        "elapsed_s": None,
    }
