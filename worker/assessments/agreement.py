"""What readers said of our scores, beside what the algorithm said, and how far both agree.

Readers saw the score that they judged, so agreement here is better than between two who read apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dicom_node.assessment import Verdict
from dicom_node.own_report import read_prior
from dicom_node.reading import read_dataset
from models.result import ZONE_ORDER
from worker.entry import ALGORITHMS
from worker.errors import MissingInstance

if TYPE_CHECKING:
    from worker.entry import MadeReport, ReaderAssessment
    from worker.history import History
    from worker.spool import Spool

_UNKNOWN = (None,) * len(ZONE_ORDER)


@dataclass(frozen=True)
class Scores:
    """The scores of one radiograph: total None where it is not known, likewise each of six zones.

    Zones are in ``ZONE_ORDER``; ``score_max`` is the largest total of the scheme.
    """

    score: int | None
    score_max: int | None
    zones: tuple[int | None, ...] = _UNKNOWN


@dataclass(frozen=True)
class Model:
    """What an algorithm said in the report that was judged."""

    algorithm: str
    version: str
    digest: str
    scores: Scores


@dataclass(frozen=True)
class Judgement:
    """One reader's assessment beside the result that it is about.

    Parameters
    ----------
    noted : ReaderAssessment
        The assessment, its radiograph and report.
    model : Model or None
        What the report says; None where there is no score, or where another algorithm has scored the
        radiograph since and the report's file is gone.
    counts : bool
        Whether it is the one that counts for its radiograph and algorithm: a verified one before one that
        is not, the latest before earlier ones.
    """

    noted: ReaderAssessment
    model: Model | None
    counts: bool

    @property
    def reader(self) -> Scores | None:
        """What the reader holds to be right; None where they rejected, or nothing is known of it."""
        told, model = self.noted.assessment, self.model
        if told.verdict is Verdict.REJECTED:
            return None
        ours = None if model is None else model.scores
        score_max = told.score_max or (ours.score_max if ours else None)
        if told.verdict is Verdict.ACCEPTED and ours is not None and ours.score_max == score_max:
            return ours
        zones = tuple(told.zones) or _UNKNOWN
        known = [zone for zone in zones if zone is not None]
        total = told.score if told.score is not None or len(known) < len(zones) else sum(known)
        return Scores(total, score_max, zones) if known or total is not None else None


def judgements(history: History, spool: Spool) -> tuple[Judgement, ...]:
    """Return every assessment with the result that it is about, oldest first.

    Raises
    ------
    StorageError
        When journal or spool cannot be read.
    """
    every = [(noted, _report(noted, history)) for noted in history.assessments()]
    final = {_subject(noted, made): noted for noted, made in sorted(every, key=lambda one: _weight(one[0]))}
    return tuple(
        Judgement(noted, _judged_result(noted, made, history, spool), noted is final[_subject(noted, made)])
        for noted, made in every
    )


def agreement(found: Iterable[Judgement]) -> list[dict[str, Any]]:
    """Return how far readers and each algorithm agree, ready for JSON.

    Returns
    -------
    list of dict
        For each algorithm, version, weights and scheme: ``algorithm, algorithm_version, algorithm_digest,
        score_max, radiographs, accepted, corrected, rejected, total, zones, all_zones``. ``total``, each of
        ``zones`` and ``all_zones`` hold ``n`` (pairs of values), ``exact`` (how many are equal) and
        ``mean_absolute_error`` (None without a pair). Each radiograph counts once.
    """
    by_model: dict[tuple[Any, ...], list[Judgement]] = defaultdict(list)
    for one in found:
        if one.counts and one.model is not None:
            model = one.model
            by_model[model.algorithm, model.version, model.digest, model.scores.score_max].append(one)
    names = ("algorithm", "algorithm_version", "algorithm_digest", "score_max")
    return [dict(zip(names, key, strict=True)) | _figures(judged) for key, judged in by_model.items()]


def _figures(judged: Sequence[Judgement]) -> dict[str, Any]:
    verdicts = [one.noted.assessment.verdict for one in judged]
    pairs = [
        (one.model.scores, one.reader)
        for one in judged
        if one.model is not None
        and one.reader is not None
        and one.reader.score_max == one.model.scores.score_max
    ]
    by_zone = [[(ours.zones[k], theirs.zones[k]) for ours, theirs in pairs] for k in range(len(ZONE_ORDER))]
    return {
        "radiographs": len(judged),
        **{str(verdict): verdicts.count(verdict) for verdict in Verdict},
        "total": _compared([(ours.score, theirs.score) for ours, theirs in pairs]),
        "zones": [
            {"side": str(side), "level": str(level), **_compared(values)}
            for (side, level), values in zip(ZONE_ORDER, by_zone, strict=True)
        ],
        "all_zones": _compared([pair for values in by_zone for pair in values]),
    }


def _compared(pairs: Iterable[tuple[int | None, int | None]]) -> dict[str, Any]:
    errors = [abs(ours - theirs) for ours, theirs in pairs if ours is not None and theirs is not None]
    return {
        "n": len(errors),
        "exact": errors.count(0),
        "mean_absolute_error": round(sum(errors) / len(errors), 3) if errors else None,
    }


def _report(noted: ReaderAssessment, history: History) -> MadeReport | None:
    return next(
        (one for one in history.reports(noted.sop_instance_uid) if one.is_named(noted.report_uid)), None
    )


def _subject(noted: ReaderAssessment, made: MadeReport | None) -> tuple[str, str]:
    return noted.sop_instance_uid, made.algorithm if made else ALGORITHMS[0]


def _weight(noted: ReaderAssessment) -> tuple[bool, str, str]:
    told = noted.assessment
    at = told.assessed_at.isoformat() if told.assessed_at else ""
    return told.verified, at, noted.received_at.isoformat()


def _judged_result(
    noted: ReaderAssessment, made: MadeReport | None, history: History, spool: Spool
) -> Model | None:
    entry = history.entry(noted.sop_instance_uid)
    if entry is None or made is None:
        return _in_journal(entry.result if entry else None)
    record = entry.result_of(made.algorithm)
    if record is None or record["algorithm_digest"] != made.algorithm_digest:
        return _read_back(made, spool)
    return _in_journal(record)


def _in_journal(record: Mapping[str, Any] | None) -> Model | None:
    if record is None or record.get("outcome") != "scored":
        return None
    zones = tuple(zone["score"] for zone in record["zones"])
    return Model(
        record["algorithm"],
        record.get("algorithm_version") or "",
        record["algorithm_digest"],
        Scores(record["score"], record["score_max"], zones),
    )


def _read_back(made: MadeReport, spool: Spool) -> Model | None:
    try:
        encoded = spool.read_report(made.sop_instance_uid, made.variant, ("sr",)).instances["sr"]
    except MissingInstance:
        return None
    told = read_prior(read_dataset(encoded))
    if told is None:
        return None
    zones = tuple(zone.score for zone in told.zones)
    return Model(told.algorithm, told.version, told.digest, Scores(told.score, told.score_max, zones))
