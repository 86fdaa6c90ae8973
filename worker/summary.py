"""A result as plain data for JSON, tables and the journal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dicom_node.prior import Change, PriorResult, ReportBasis, ZoneFigures, figures_of
from models.result import ZONE_ORDER, SeverityResult, reported_percent

if TYPE_CHECKING:
    from datetime import datetime

    from models.result import Result, ZoneInvolvement


def summarise(
    sop_instance_uid: str | None,
    result: Result,
    noted: Sequence[str],
    elapsed_s: float,
    *,
    acquired_at: datetime | None = None,
    basis: ReportBasis | None = None,
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
    acquired_at : datetime.datetime, optional
        When the radiograph was taken, without zone.
    basis : ReportBasis, optional
        Earlier results of the same patient.

    Returns
    -------
    dict
        ``sop_instance_uid, acquired_at, algorithm, algorithm_version, algorithm_digest, outcome, score,
        score_max, fraction, zones, priors, change, reason, message, warnings, elapsed_s``.

        ``outcome`` is ``scored`` or ``not-assessable``. ``zones`` is a list of ``side, level, fraction,
        score, confidence`` in the order right upper to left lower, empty when there is no score; ``fraction``
        is the opacified share of the area, in [0, 1] with three decimals, None where it was not measured;
        ``confidence`` is the probability that the algorithm gives its zone's score, likewise; a zone without
        area has none of the three. ``priors``, oldest first, holds the figures of earlier radiographs.
        ``change`` is now minus the latest prior of the same algorithm and scheme: ``since, score,
        fraction, zones``; None without one.
    """
    found: dict[str, Any]
    if isinstance(result, SeverityResult):
        change = None if basis is None else basis.change(result)
        found = {
            "outcome": "scored",
            "score": result.score,
            "score_max": result.score_max,
            "fraction": _fraction(result.percent if result.measures_opacity else None),
            "zones": [
                figures | {"confidence": _confidence(zone)}
                for figures, zone in zip(_zones(figures_of(result)), result.zones, strict=True)
            ],
            "change": None if change is None else _change(change),
        }
    else:
        found = {"outcome": "not-assessable", "reason": str(result.reason), "message": result.message}
    return {
        **_nothing_found(sop_instance_uid),
        **found,
        "acquired_at": None if acquired_at is None else acquired_at.isoformat(),
        "algorithm": result.algorithm.name,
        "algorithm_version": result.algorithm.version,
        "algorithm_digest": result.algorithm.digest,
        "priors": [_prior(prior) for prior in (() if basis is None else basis.priors)],
        "warnings": [*noted, *result.warnings],
        "elapsed_s": round(elapsed_s, 3),
    }


def refuse(
    sop_instance_uid: str | None, outcome: str, reason: str, message: str, algorithm: str | None = None
) -> dict[str, Any]:
    """Return the same record for an image that got no result: ``not-eligible`` or ``error``."""
    return {
        **_nothing_found(sop_instance_uid),
        "algorithm": algorithm,
        "outcome": outcome,
        "reason": reason,
        "message": message,
    }


def _nothing_found(sop_instance_uid: str | None) -> dict[str, Any]:
    return {
        "sop_instance_uid": sop_instance_uid,
        "acquired_at": None,
        "algorithm": None,
        "algorithm_version": None,
        "algorithm_digest": None,
        "outcome": None,
        "score": None,
        "score_max": None,
        "fraction": None,
        "zones": [],
        "priors": [],
        "change": None,
        "reason": None,
        "message": None,
        "warnings": [],
        "elapsed_s": None,
    }


def _prior(prior: PriorResult) -> dict[str, Any]:
    return {
        "sop_instance_uid": prior.sop_instance_uid,
        "acquired_at": prior.acquired_at.isoformat(),
        "algorithm": prior.algorithm,
        "algorithm_version": prior.version,
        "algorithm_digest": prior.digest,
        "score": prior.score,
        "score_max": prior.score_max,
        "fraction": _fraction(prior.percent),
        "zones": _zones(prior.zones),
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "since": change.prior.acquired_at.isoformat(),
        "score": change.score,
        "fraction": _fraction(change.percent),
        "zones": _zones(change.zones),
    }


def _zones(zones: Sequence[ZoneFigures]) -> list[dict[str, Any]]:
    return [
        {"side": str(side), "level": str(level), "fraction": _fraction(zone.percent), "score": zone.score}
        for (side, level), zone in zip(ZONE_ORDER, zones, strict=True)
    ]


def _confidence(zone: ZoneInvolvement) -> float | None:
    if zone.confidence is None or not zone.area_px:
        return None
    return _fraction(reported_percent(zone.confidence))


def _fraction(percent: float | None) -> float | None:
    """Return a reported percentage as a fraction; three decimals hold its one decimal exactly."""
    return None if percent is None else round(percent / 100, 3)
