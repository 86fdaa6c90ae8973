"""Earlier results of the same patient, and how the present one differs; what else a report is built upon."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset
from pydicom.valuerep import DA, DT, TM

from dicom_node.header import UNREADABLE, items, text
from dicom_node.instance import InstanceReference

if TYPE_CHECKING:
    from models.result import SeverityResult


@dataclass(frozen=True)
class PatientIdentity:
    """Who a patient is, as far as two studies may be compared: never a name.

    Parameters
    ----------
    patient_id : str
        Patient ID (0010,0020), not empty.
    issuer : str
        Issuer of Patient ID, else the universal entity of its qualifiers; ``""`` where none is stated,
        which is an issuer of its own.
    birth_date : str
        ``YYYYMMDD`` or ``""``; two studies that differ here are not of the same person, whatever their ID.
    """

    patient_id: str
    issuer: str
    birth_date: str

    def pseudonym(self, key: bytes) -> str:
        """Return a name for the patient that tells nothing without the key (HMAC-SHA-256, hexadecimal)."""
        told = "\x1f".join((self.issuer, self.patient_id, self.birth_date))
        return hmac.new(key, told.encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class ZoneFigures:
    """What was said of one zone: ``score`` None where it had no area, ``percent`` None where not measured."""

    score: int | None
    percent: float | None


@dataclass(frozen=True)
class PriorResult:
    """What an earlier radiograph of the same patient was given.

    Parameters
    ----------
    sop_instance_uid : str
        The radiograph.
    acquired_at : datetime.datetime
        When it was taken, without zone: the local time of the study.
    algorithm, version, digest : str
        What scored it.
    score, score_max : int
        The total, and the largest the scheme allows.
    percent : float or None
        Opacified share of both lungs, as reported; None where it was not measured.
    zones : tuple of ZoneFigures
        Six, in ``ZONE_ORDER``.
    report : InstanceReference or None
        The Structured Report in which it stands.
    """

    sop_instance_uid: str
    acquired_at: datetime
    algorithm: str
    version: str
    digest: str
    score: int
    score_max: int
    percent: float | None
    zones: tuple[ZoneFigures, ...]
    report: InstanceReference | None = None


@dataclass(frozen=True)
class Change:
    """How a result differs from an earlier one: now minus then; None where either is missing."""

    prior: PriorResult
    score: int
    percent: float | None
    zones: tuple[ZoneFigures, ...]


@dataclass(frozen=True)
class ReportBasis:
    """What a report is built upon beside radiograph, result and settings; equal bases give equal bytes.

    Parameters
    ----------
    created_at : datetime.datetime
        Aware: when the result was made.
    priors : tuple of PriorResult
        Earlier results of the same patient, oldest first.
    predecessor : InstanceReference, optional
        The report of the same radiograph that this one replaces.
    """

    created_at: datetime
    priors: tuple[PriorResult, ...] = ()
    predecessor: InstanceReference | None = None

    @property
    def digest(self) -> str:
        """SHA-256 (hexadecimal) over priors and predecessor, ``""`` without any: part of every UID."""
        if not self.priors and self.predecessor is None:
            return ""
        told = asdict(self)
        del told["created_at"]
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()

    def comparable(self, result: SeverityResult) -> tuple[PriorResult, ...]:
        """Return the priors that were scored by the same algorithm and scheme, oldest first."""
        return tuple(
            prior
            for prior in self.priors
            if (prior.algorithm, prior.score_max) == (result.algorithm.name, result.score_max)
        )

    def change(self, result: SeverityResult) -> Change | None:
        """Return how a result differs from the latest comparable prior, or None without one."""
        priors = self.comparable(result)
        return change_since(priors[-1], result) if priors else None


def figures_of(result: SeverityResult) -> tuple[ZoneFigures, ...]:
    """Return what is reported of each zone, in ``ZONE_ORDER``."""
    measured = result.measures_opacity
    return tuple(
        ZoneFigures(zone.score, zone.percent if measured else None)
        if zone.area_px
        else ZoneFigures(None, None)
        for zone in result.zones
    )


def prior_of(
    sop_instance_uid: str,
    acquired_at: datetime,
    result: SeverityResult,
    report: InstanceReference | None = None,
) -> PriorResult:
    """Return a radiograph's result as it will be told beside later ones of the same patient."""
    algorithm = result.algorithm
    return PriorResult(
        sop_instance_uid=sop_instance_uid,
        acquired_at=acquired_at,
        algorithm=algorithm.name,
        version=algorithm.version,
        digest=algorithm.digest,
        score=result.score,
        score_max=result.score_max,
        percent=result.percent if result.measures_opacity else None,
        zones=figures_of(result),
        report=report,
    )


def change_since(prior: PriorResult, result: SeverityResult) -> Change:
    """Return how a result differs from an earlier one, in the numbers as they were reported."""
    percent = result.percent if result.measures_opacity else None
    pairs = zip(prior.zones, figures_of(result), strict=True)
    return Change(
        prior=prior,
        score=result.score - prior.score,
        percent=_difference(prior.percent, percent),
        zones=tuple(
            ZoneFigures(
                None if then.score is None or now.score is None else now.score - then.score,
                _difference(then.percent, now.percent),
            )
            for then, now in pairs
        ),
    )


def _difference(then: float | None, now: float | None) -> float | None:
    return None if then is None or now is None else round(now - then, 1)


def patient_of(dataset: Dataset) -> PatientIdentity | None:
    """Return who the patient is, or None without a Patient ID (PS3.3 C.7.1.1)."""
    patient_id = text(dataset, "PatientID")
    if not patient_id:
        return None
    qualifiers = next(iter(items(dataset, "IssuerOfPatientIDQualifiersSequence")), Dataset())
    issuer = text(dataset, "IssuerOfPatientID") or text(qualifiers, "UniversalEntityID")
    return PatientIdentity(patient_id, issuer, text(dataset, "PatientBirthDate"))


def acquired_at(dataset: Dataset) -> datetime | None:
    """Return when a radiograph was taken, without zone, or None where no date is stated.

    Acquisition before content before series before study; a date without a time counts from midnight.
    """
    try:
        whole = DT(text(dataset, "AcquisitionDateTime"))
        if isinstance(whole, datetime):
            return whole.replace(tzinfo=None, microsecond=0)
    except UNREADABLE:
        pass
    for what in ("Acquisition", "Content", "Series", "Study"):
        moment = _moment(text(dataset, f"{what}Date"), text(dataset, f"{what}Time"))
        if moment is not None:
            return moment
    return None


def _moment(date: str, time: str) -> datetime | None:
    try:
        day, clock = DA(date), TM(time)
    except UNREADABLE:
        return None
    if day is None:
        return None
    if clock is None:
        return datetime(day.year, day.month, day.day)
    return datetime(day.year, day.month, day.day, clock.hour, clock.minute, clock.second)
