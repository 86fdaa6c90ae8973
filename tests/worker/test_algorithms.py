"""Two algorithms for one film: two reports that never meet, each delivered once, whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from highdicom.sr import NumContentItem, RelationshipTypeValues
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node import codes
from dicom_node.instance import ReceivedInstance
from dicom_node.report_settings import ReportSettings
from dicom_node.storage_scu import RemoteAE
from models.result import (
    AlgorithmId,
    Explanation,
    NotAssessable,
    NotAssessableReason,
    Result,
    SeverityResult,
)
from tests.reading_station import document
from worker.assessments.agreement import judgements
from worker.deliveries import Deliveries
from worker.entry import DeliveryStatus, EntryStatus, JournalEntry
from worker.history import History
from worker.pipeline import accept, deliver, score
from worker.reprocessing import Reprocessing
from worker.spool import Spool
from worker.stages import Delivering, Route, Scoring
from worker.upkeep import Upkeep

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)

BSNET = AlgorithmId("bs-net", "test", {"bs-net": "1" * 64}, {}, "share-alike, for research")
SR = "1.2.840.10008.5.1.4.1.1.88.33"


@dataclass
class BrixiaScorer:
    """The other scorer's zones with two points each, and perhaps an explanation."""

    scorer: Any
    algorithm: AlgorithmId = BSNET
    explains: bool = False
    blind: bool = False
    calls: list[float] = field(default_factory=list)

    def score(self, pixels: Any) -> Result:
        found = self.scorer.score(pixels)
        self.calls.append(float(pixels.mean()))
        if self.blind:
            no_lungs = np.zeros(pixels.shape, bool)
            return NotAssessable(self.algorithm, NotAssessableReason.NO_LUNGS, "None are seen.", no_lungs)
        maps = np.zeros((3, *pixels.shape), np.float32)
        zones = tuple(replace(zone, score=2, opacity_area_px=0, confidence=0.625) for zone in found.zones)
        return SeverityResult(
            self.algorithm,
            12,
            18,
            zones,
            found.zone_map,
            np.zeros(pixels.shape, bool),
            explanation=Explanation(maps, {}) if self.explains else None,
        )


@dataclass
class Way:
    """One film's way through an installation with a PACS."""

    scoring: Scoring
    delivering: Delivering
    reprocessing: Reprocessing
    history: History
    pacs: Any
    film: ReceivedInstance
    two_stage: Any
    bsnet: BrixiaScorer

    @property
    def uid(self) -> str:
        return self.film.sop_instance_uid

    def go(self, *scorers: Any) -> JournalEntry:
        """Receive the film, or reprocess it, with these algorithms, and deliver."""
        if self.history.entry(self.uid) is None:
            accept(self.film, self.scoring.spool, self.scoring.journal, self.scoring.doorbell)
        else:
            assert self.reprocessing.start(self.uid) is None
        score(self.uid, replace(self.scoring, scorers=scorers))
        deliver(self.uid, self.delivering)
        entry = self.history.entry(self.uid)
        assert entry is not None
        return entry

    def reports(self) -> dict[str, list[Dataset]]:
        """What the PACS has got of each algorithm, in order; reports only."""
        found: dict[str, list[Dataset]] = {}
        for dataset in self.pacs.datasets:
            if dataset.SOPClassUID == SR:
                found.setdefault(str(dataset.SoftwareVersions).split()[0], []).append(dataset)
        return found

    def want(self, *kinds: Any) -> None:
        """Let the destination want these kinds of object."""
        (route,) = self.delivering.routes.values()
        self.scoring = replace(self.scoring, forms={"PACS": ReportSettings(objects=kinds)})
        self.delivering = replace(self.delivering, routes={"PACS": replace(route, send=kinds)})


@pytest.fixture
def way(
    scoring: Scoring,
    spool: Spool,
    deliveries: Deliveries,
    history: History,
    engine: Any,
    bells: Any,
    loopback_pacs: Any,
    fixed_scorer: Any,
    sample_films: list[Path],
    make_instance: Callable[..., ReceivedInstance],
) -> Way:
    route = Route(RemoteAE("PACS", "127.0.0.1", loopback_pacs.port, timeout_s=5))
    delivering = Delivering(spool, deliveries, bells, {"PACS": route}, "CXRWORKER")
    encoded = sample_films[0].read_bytes()
    film = make_instance(str(dcmread(BytesIO(encoded), stop_before_pixels=True).SOPInstanceUID), encoded)
    bsnet = BrixiaScorer(fixed_scorer)
    return Way(scoring, delivering, Reprocessing(engine), history, loopback_pacs, film, fixed_scorer, bsnet)


def predecessors(report: Dataset) -> list[str]:
    return [
        str(instance.ReferencedSOPInstanceUID)
        for study in report.get("PredecessorDocumentsSequence", [])
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    ]


def totals(report: Dataset) -> dict[str, float]:
    """The numbers of a report by the value of their concept's code."""
    found = {}

    def look(item: Dataset) -> None:
        for child in item.get("ContentSequence", []):
            if child.ValueType == "NUM" and child.MeasuredValueSequence:
                name = child.ConceptNameCodeSequence[0].CodeValue
                found[name] = float(child.MeasuredValueSequence[0].NumericValue)
            look(child)

    look(report)
    return found


def words(report: Dataset) -> list[str]:
    found = []

    def look(item: Dataset) -> None:
        for child in item.get("ContentSequence", []):
            found.append(str(child.get("TextValue", "")))
            look(child)

    look(report)
    return found


def test_two_reports_that_do_not_collide(way: Way) -> None:
    entry = way.go(way.two_stage, way.bsnet)
    assert entry.status is EntryStatus.STORED
    assert [(one["algorithm"], one["score"], one["score_max"]) for one in entry.results] == [
        ("two-stage", 1, 6),
        ("bs-net", 12, 18),
    ]
    assert len(way.pacs.files) == 4
    for attribute in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert len({dataset[attribute].value for dataset in way.pacs.datasets}) == 4
    assert len({str(dataset.SeriesDescription) for dataset in way.pacs.datasets}) == 4
    sent = way.history.deliveries(way.uid)
    assert {(one.destination, one.algorithm, one.status) for one in sent} == {
        ("PACS", name, DeliveryStatus.STORED) for name in ("two-stage", "bs-net")
    }
    # Whoever rings again finds nothing to do.
    score(way.uid, replace(way.scoring, scorers=(way.two_stage, way.bsnet)))
    deliver(way.uid, way.delivering)
    assert len(way.pacs.files) == 4


def test_the_report_tells_scheme_licence_and_confidence(way: Way) -> None:
    entry = way.go(way.two_stage, way.bsnet)
    ((plain,), (brixia,)) = (way.reports()[name] for name in ("two-stage", "bs-net"))
    assert totals(brixia)["BRIXIA-0-18"] == 12
    confidences = {code.value for code in codes.ZONE_CONFIDENCE}
    assert {name: value for name, value in totals(brixia).items() if name in confidences} == dict.fromkeys(
        confidences, 62.5
    )
    assert not confidences & totals(plain).keys()
    told = words(brixia)
    assert "Licence of the algorithm's weights: share-alike, for research" in told
    assert any(line.startswith("Score scheme: Brixia") for line in told)
    assert not any("Licence" in line for line in words(plain))
    first, second = entry.results
    assert {zone["confidence"] for zone in first["zones"]} == {None}
    assert {zone["confidence"] for zone in second["zones"]} == {0.625}


def test_a_second_algorithm_replaces_nothing_and_resends_nothing(way: Way) -> None:
    before = way.go(way.two_stage)
    both = way.go(way.two_stage, way.bsnet)
    assert len(way.pacs.files) == 4
    ((first,), (second,)) = (way.reports()[name] for name in ("two-stage", "bs-net"))
    assert predecessors(first) == predecessors(second) == []
    assert both.results[0] == before.results[0]
    # The other way round: what is no longer asked for stays what it is.
    alone = way.go(way.bsnet)
    assert (alone.results, len(way.pacs.files)) == (both.results, 4)
    assert alone.status is EntryStatus.STORED


def test_a_successor_replaces_the_report_of_its_own_algorithm(way: Way) -> None:
    way.go(way.two_stage, way.bsnet)
    newer = replace(way.bsnet, algorithm=replace(BSNET, weights={"bs-net": "2" * 64}))
    way.go(way.two_stage, newer)
    assert len(way.pacs.files) == 6
    first, second = way.reports()["bs-net"]
    assert predecessors(second) == [first.SOPInstanceUID]
    assert len(way.reports()["two-stage"]) == 1


@pytest.mark.parametrize("blind", ["two-stage", "bs-net"])
def test_one_may_find_the_film_not_assessable(way: Way, blind: str) -> None:
    way.bsnet.blind = blind == "bs-net"
    first: Any = way.two_stage
    if blind == "two-stage":
        first = BrixiaScorer(way.two_stage, way.two_stage.algorithm, blind=True)
    entry = way.go(first, way.bsnet)
    assert entry.status is EntryStatus.STORED
    assert {one["algorithm"]: one["outcome"] for one in entry.results} == {
        "two-stage": "scored",
        "bs-net": "scored",
        blind: "not-assessable",
    }
    assert len(way.pacs.files) == 4


def test_a_worker_that_dies_leaves_one_report_of_each(way: Way, engine: Any) -> None:
    class Dying:
        claim = way.scoring.journal.claim

        def mark_reported(self, *_: object) -> bool:
            raise SystemExit

    accept(way.film, way.scoring.spool, way.scoring.journal, way.scoring.doorbell)
    both = replace(way.scoring, scorers=(way.two_stage, way.bsnet))
    with pytest.raises(SystemExit):
        score(way.uid, replace(both, journal=Dying()))  # type: ignore[arg-type]
    Upkeep(engine).restore_stale(datetime.now(UTC) + timedelta(seconds=1), maximum_attempts=3)
    score(way.uid, both)
    first = way.delivering.deliveries.claim(way.uid)
    assert first is not None
    # A second deliverer may take the other report meanwhile; the first one's death costs nothing.
    deliver(way.uid, way.delivering)
    assert len(way.pacs.files) == 2
    Upkeep(engine).restore_stale(datetime.now(UTC) + timedelta(seconds=1), maximum_attempts=3)
    deliver(way.uid, way.delivering)
    assert {name: len(found) for name, found in way.reports().items()} == {"two-stage": 1, "bs-net": 1}
    assert len(way.pacs.files) == 4


def test_a_film_that_is_poison_to_one_fails_as_a_whole(way: Way) -> None:
    class Failing:
        algorithm = BSNET

        def score(self, _pixels: Any) -> Result:
            raise RuntimeError

    way.scoring = replace(way.scoring, maximum_attempts=1)
    entry = way.go(way.two_stage, Failing())
    assert (entry.status, entry.reason, entry.results) == (EntryStatus.FAILED, "scoring-error", ())
    assert way.pacs.files == []


def test_an_explanation_goes_where_it_is_wanted_and_made(way: Way) -> None:
    way.want("sr", "sc", "map")
    way.bsnet.explains = True
    entry = way.go(way.two_stage, way.bsnet)
    assert entry.status is EntryStatus.STORED
    assert len(way.pacs.files) == 5
    kinds = {one.algorithm: one.kinds for one in way.history.reports(way.uid)}
    assert kinds == {"two-stage": ("sr", "sc"), "bs-net": ("sr", "sc", "map")}


def test_a_film_without_explanation_keeps_nobody_waiting(way: Way) -> None:
    way.want("sr", "sc", "map")
    way.bsnet.blind = True
    assert way.go(way.bsnet).status is EntryStatus.STORED
    assert len(way.pacs.files) == 2


def test_only_results_of_the_same_algorithm_are_compared(
    way: Way, make_instance: Callable[..., ReceivedInstance]
) -> None:
    earlier = dcmread(BytesIO(way.film.encoded))
    earlier.SOPInstanceUID = earlier.file_meta.MediaStorageSOPInstanceUID = "2.25.77"
    earlier.StudyDate = earlier.AcquisitionDate = earlier.ContentDate = "20100101"
    buffer = BytesIO()
    earlier.save_as(buffer)
    later, way.film = way.film, make_instance("2.25.77", buffer.getvalue())
    way.go(way.bsnet)
    way.film = later
    first, second = way.go(way.two_stage, way.bsnet).results
    assert (first["change"], first["priors"]) == (None, [])
    assert second["change"]["score"] == 0
    assert [prior["algorithm"] for prior in second["priors"]] == ["bs-net"]


@pytest.mark.parametrize(
    ("judged", "stated", "told"), [("bs-net", 12, "accepted"), ("bs-net", 9, "corrected")]
)
def test_a_reader_judges_the_report_of_one_algorithm(
    way: Way, make_instance: Callable[..., ReceivedInstance], judged: str, stated: int, told: str
) -> None:
    way.go(way.two_stage, way.bsnet)
    (report,) = way.reports()[judged]
    name, unit = codes.TOTAL_SCORE[18], codes.SCORE_UNIT
    value = NumContentItem(name, stated, unit, relationship_type=RelationshipTypeValues.CONTAINS)
    encoded = document(dcmread(BytesIO(way.film.encoded)), value, judges=report)
    uid = str(dcmread(BytesIO(encoded)).SOPInstanceUID)
    said = replace(make_instance(uid, encoded), sop_class_uid=str(dcmread(BytesIO(encoded)).SOPClassUID))
    accept(said, way.scoring.spool, way.scoring.journal, way.scoring.doorbell)
    score(uid, way.scoring)
    (judgement,) = judgements(way.history, way.scoring.spool)
    assert str(judgement.noted.assessment.verdict) == told
    assert judgement.model is not None
    assert (judgement.model.algorithm, judgement.model.scores.score) == ("bs-net", 12)
