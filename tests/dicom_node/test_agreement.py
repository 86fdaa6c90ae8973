"""SR, SC, presentation state and segmentation say the numbers of the JSON record, whatever they are."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from io import BytesIO
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node import codes
from dicom_node.capture_figures import read_capture_figures
from dicom_node.orientation import frontal_orientation
from dicom_node.own_report import read_prior
from dicom_node.presentation_state import read_presentation_texts
from dicom_node.prior import PriorResult, ReportBasis, ZoneFigures
from dicom_node.report import build_report
from dicom_node.report_settings import ReportSettings
from models.result import (
    ZONE_ORDER,
    AlgorithmId,
    NotAssessable,
    NotAssessableReason,
    SeverityResult,
    ZoneInvolvement,
    reported_percent,
)
from worker.summary import summarise

SHAPE = (320, 290)
DIRECTIONS = [(row, column) for row in "LRFH" for column in "LRFH" if (row in "LR") != (column in "LR")]
ALGORITHM = AlgorithmId("two-stage", "1.0", {"lungs": "ab" * 32, "opacity": "cd" * 32}, {})
NAMES = [f"{side} {level}" for side, level in ZONE_ORDER]


@st.composite
def severity_results(draw) -> SeverityResult:
    """Lungs of any height, zones of any involvement, one of them perhaps without area; both schemes."""
    score_max = draw(st.sampled_from([6, 18]))
    measured = draw(st.booleans())
    missing = draw(st.sets(st.integers(0, 5), max_size=2))
    noise = np.random.default_rng(draw(st.integers(0, 2**32)))
    zone_map = np.zeros(SHAPE, np.uint8)
    for lung, (left, right) in enumerate(((20, 120), (160, 270))):
        cuts = sorted(draw(st.sets(st.integers(20, 300), min_size=4, max_size=4)))
        for level in range(3):
            if 3 * lung + level not in missing:
                zone_map[cuts[level] : cuts[level + 1], left:right] = 3 * lung + level + 1
    shares = np.array(draw(st.lists(st.floats(0, 1), min_size=6, max_size=6)))
    opacity = (noise.random(SHAPE) < np.append(0.0, shares)[zone_map]) & (zone_map > 0)
    if not measured:
        opacity[:] = False
    zones = tuple(
        ZoneInvolvement(
            side=side,
            level=level,
            area_px=int((zone_map == number).sum()),
            opacity_area_px=int(opacity[zone_map == number].sum()),
            score=draw(st.integers(0, score_max // 6)) if (zone_map == number).any() else 0,
        )
        for number, (side, level) in enumerate(ZONE_ORDER, 1)
    )
    weights = ALGORITHM.weights if measured else {"lungs": "ab" * 32}
    return SeverityResult(
        algorithm=replace(ALGORITHM, weights=weights),
        score=sum(zone.score for zone in zones),
        score_max=score_max,
        zones=zones,
        zone_map=zone_map,
        opacity_mask=opacity,
    )


@st.composite
def priors(draw) -> tuple[PriorResult, ...]:
    """None, or one of the same algorithm, whose zones may be unknown."""
    if draw(st.booleans()):
        return ()
    tenths = st.integers(0, 1000).map(lambda tenth: tenth / 10)
    zone = st.builds(ZoneFigures, st.integers(0, 1) | st.none(), tenths | st.none())
    return (
        PriorResult(
            sop_instance_uid="2.25.9",
            acquired_at=datetime(2025, 12, 24, 8, 0),
            algorithm="two-stage",
            version="1.0",
            digest="e" * 64,
            score=draw(st.integers(0, 6)),
            score_max=6,
            percent=draw(tenths | st.none()),
            zones=draw(st.tuples(*[zone] * 6)),
        ),
    )


@st.composite
def films(draw):
    """A small film, stored in any of the eight ways, and a destination's form of report."""
    form = ReportSettings(
        sr_class=draw(st.sampled_from(["comprehensive", "comprehensive-3d", "enhanced"])),
        capture=draw(st.sampled_from(["rgb", "monochrome"])),
        grade_severity=draw(st.booleans()),
        objects=("sr", "sc", "gsps", "seg"),
    )
    return draw(st.sampled_from(DIRECTIONS)), form


@pytest.fixture(scope="module")
def film_stored(new_film, film_of):
    pixels = np.arange(SHAPE[0] * SHAPE[1], dtype=np.uint16).reshape(SHAPE) % 4096

    def make(directions):
        stored = frontal_orientation(directions).to_stored(pixels)
        return film_of(new_film(stored, BitsStored=12, HighBit=11, PatientOrientation=list(directions)))

    return {directions: make(directions) for directions in DIRECTIONS}


def _figures(score: int, score_max: int, fraction: float | None, zones: list[tuple]) -> dict[str, Any]:
    return {"score": score, "score_max": score_max, "fraction": fraction, "zones": zones}


def _of_record(record) -> dict[str, Any]:
    zones = [(zone["score"], zone["fraction"]) for zone in record["zones"]]
    return _figures(record["score"], record["score_max"], record["fraction"], zones)


def _fraction(percent: float | None) -> float | None:
    return None if percent is None else round(percent / 100, 3)


def _of_prior(prior: PriorResult | None) -> dict[str, Any]:
    assert prior is not None
    zones = [(zone.score, _fraction(zone.percent)) for zone in prior.zones]
    return _figures(prior.score, prior.score_max, _fraction(prior.percent), zones)


def _numbers(item: Dataset) -> dict[str, float]:
    """Every NUM of a report by its code; two of one name would be a fault."""
    found: dict[str, float] = {}
    for child in item.get("ContentSequence", []):
        if child.ValueType == "NUM" and child.RelationshipType == "CONTAINS":
            code = child.ConceptNameCodeSequence[0].CodeValue
            assert code not in found
            found[code] = float(child.MeasuredValueSequence[0].NumericValue)
        elif child.ValueType == "CONTAINER":
            inner = _numbers(child)
            own = {code for code in inner if "CHANGE" not in code}
            assert not own & set(found)
            found = inner | found
    return found


def _of_walk(report: Dataset, score_max: int) -> dict[str, Any]:
    """The numbers of a report as any program finds them: a walk through all content items."""
    found = _numbers(report)
    zones = []
    for score, share in zip(codes.ZONE_SCORE[score_max], codes.ZONE_FRACTION, strict=True):
        zones.append((found.get(score.value), _fraction(found.get(share.value))))
    total = found[codes.TOTAL_SCORE[score_max].value]
    return _figures(total, score_max, _fraction(found.get(codes.LUNG_FRACTION.value)), zones)


def _of_capture(capture: Dataset) -> dict[str, Any]:
    figures = read_capture_figures(capture)
    zones = [(zone.score, _fraction(zone.percent)) for zone in figures.zones]
    return _figures(figures.score, figures.score_max, _fraction(figures.percent), zones)


def _of_texts(texts: tuple[str, ...]) -> dict[str, Any]:
    total = re.match(r"AI severity (\d+) of (\d+)(?:, ([\d.]+) % of lung area)?", texts[0])
    zones = []
    for name, text in zip(NAMES, texts[1:], strict=False):
        if text == f"{name} not assessable":
            zones.append((None, None))
            continue
        zone = re.fullmatch(rf"{name} (\d+) of [13](?: ([\d.]+) %)?", text)
        zones.append((int(zone[1]), _fraction(zone[2] and float(zone[2]))))
    return _figures(int(total[1]), int(total[2]), _fraction(total[3] and float(total[3])), zones)


def _shares_of_masks(segmentation: Dataset, result: SeverityResult, turn) -> tuple[Any, list[Any]]:
    """Shares counted in the masks, each zone cut out with the zone map as it lies on the stored film."""
    masks = {
        one.SegmentLabel: frame > 0
        for one, frame in zip(segmentation.SegmentSequence, segmentation.pixel_array, strict=True)
    }
    zones = turn.to_stored(result.zone_map)
    assert np.array_equal(masks["Right lung"], (zones > 0) & (zones < 4))
    assert np.array_equal(masks["Left lung"], zones > 3)
    if "Lung opacity" not in masks:
        return None, [None] * 6

    def share(inside):
        return _fraction(reported_percent(masks["Lung opacity"][inside].mean())) if inside.any() else None

    return share(zones > 0), [share(zones == number) for number in range(1, 7)]


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(result=severity_results(), earlier=priors(), film=films())
def test_all_carriers_say_the_same_numbers(result, earlier, film, film_stored, created_at):
    directions, form = film
    radiograph = film_stored[directions]
    basis = ReportBasis(created_at, priors=earlier)
    record = summarise("2.25.1001", result, (), 0.1, basis=basis)
    expected = _of_record(record)
    report = build_report(radiograph, result, form, basis)
    objects = {kind: dcmread(BytesIO(encoded)) for kind, encoded in report.instances.items()}

    texts = read_presentation_texts(objects["gsps"])
    assert _of_prior(read_prior(objects["sr"])) == expected
    assert _of_walk(objects["sr"], result.score_max) == expected
    assert _of_capture(objects["sc"]) == expected
    assert _of_texts(texts) == expected
    total, zones = _shares_of_masks(objects["seg"], result, radiograph.orientation)
    assert total == expected["fraction"]
    assert zones == [fraction for _, fraction in expected["zones"]]
    _check_change(record["change"], objects["sr"], texts[0])


def _check_change(change: dict[str, Any] | None, report: Dataset, text: str) -> None:
    total = next(
        (group for group in _groups(report) if codes.TOTAL_SCORE[6].value in _numbers(group)), Dataset()
    )
    told = re.search(r"change since (\S+): ([+-]\d+)(?:, ([+-][\d.]+) % points)?$", text)
    found = _numbers(total)
    if change is None:
        assert told is None
        assert codes.SCORE_CHANGE.value not in found
        return
    assert told is not None
    assert change["since"].startswith(told[1])
    assert int(told[2]) == found[codes.SCORE_CHANGE.value] == change["score"]
    assert _fraction(told[3] and float(told[3])) == change["fraction"]
    assert _fraction(found.get(codes.SHARE_CHANGE.value)) == change["fraction"]


def _groups(item: Dataset):
    for child in item.get("ContentSequence", []):
        if child.ConceptNameCodeSequence[0].CodeValue == "125007":
            yield child
        yield from _groups(child)


@pytest.mark.parametrize("reason", NotAssessableReason)
@pytest.mark.parametrize("directions", DIRECTIONS, ids="".join)
def test_all_carriers_say_that_there_is_no_score(reason, directions, film_stored, created_at):
    mask = np.zeros(SHAPE, np.bool_)
    if reason is not NotAssessableReason.NO_LUNGS:
        mask[40:200, 30:130] = True
    result = NotAssessable(ALGORITHM, reason, "What was found is not enough.", mask)
    record = summarise("2.25.1001", result, (), 0.1)
    form = ReportSettings(objects=("sr", "sc", "gsps", "seg"))
    radiograph = film_stored[directions]
    report = build_report(radiograph, result, form, ReportBasis(created_at))
    objects = {kind: dcmread(BytesIO(encoded)) for kind, encoded in report.instances.items()}

    assert (record["outcome"], record["score"], record["zones"]) == ("not-assessable", None, [])
    assert read_prior(objects["sr"]) is None
    assert _numbers(objects["sr"]) == {}
    assert codes.NOT_ASSESSABLE_REASON[reason].value in _coded(objects["sr"])
    figures = read_capture_figures(objects["sc"])
    assert figures.outcome == "NOT_ASSESSABLE"
    assert figures.score is None
    assert figures.reason == record["reason"]
    texts = read_presentation_texts(objects["gsps"])
    assert texts[0] == f"AI severity NOT ASSESSABLE {record['message']}"
    stored = hd.seg.segread(BytesIO(report.instances["seg"])).pixel_array > 0
    assert np.array_equal(stored, radiograph.orientation.to_stored(mask))


def _coded(item: Dataset) -> set[str]:
    found = {code.CodeValue for code in item.get("ConceptCodeSequence", [])}
    return found.union(*(_coded(child) for child in item.get("ContentSequence", [])))
