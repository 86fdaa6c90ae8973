"""What a report says beside its numbers: earlier results, what it replaces, whose film, when taken."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread, uid

from dicom_node import regions
from dicom_node.instance import InstanceReference
from dicom_node.pixels import Radiograph, read_dataset
from dicom_node.prior import PriorResult, ReportBasis, ZoneFigures
from dicom_node.report_context import ReportContext
from dicom_node.report_settings import ReportSettings
from dicom_node.structured_report import build_structured_report
from models.result import ZONE_ORDER, AlgorithmId

SHAPE = (320, 300)
CLASSES = ("comprehensive", "comprehensive-3d", "enhanced")
PRIOR_REPORT = InstanceReference(uid.ComprehensiveSRStorage, "2.25.61", "2.25.62", "2.25.63")
INCREASED, DECREASED, NO_CHANGE, NOT_ATTEMPTED = "35105006", "1250004", "260388006", "114007"


@pytest.fixture(scope="module")
def film(new_film, film_of):
    return film_of(new_film(AcquisitionDate="20260302", AcquisitionTime="101112"))


@pytest.fixture(scope="module")
def result(severity_of):
    """Total 2: right lower 1 (100.0 %), left upper 1 (50.0 %); 25.0 % in all."""
    return severity_of(SHAPE)


@pytest.fixture(scope="module")
def prior(result):
    """Total 2, differently: every kind of change of a zone."""
    scores = (1, 0, 1, 0, 0, None)
    percents = (62.5, 0.0, 80.0, 10.1, 0.0, None)
    return PriorResult(
        sop_instance_uid="2.25.60",
        acquired_at=datetime(2026, 1, 3, 10, 11),
        algorithm="two-stage",
        version="1.0",
        digest=result.algorithm.digest,
        score=2,
        score_max=6,
        percent=31.7,
        zones=tuple(map(ZoneFigures, scores, percents)),
        report=PRIOR_REPORT,
    )


@pytest.fixture(scope="module")
def report_of(film, created_at, encoded):
    def build(result, priors=(), predecessor=None, radiograph=None, **form):
        basis = ReportBasis(created_at, tuple(priors), predecessor)
        context = ReportContext(radiograph or film, result, ReportSettings(**form), basis)
        return dcmread(BytesIO(encoded(build_structured_report(context))))

    return build


def walk(item):
    yield item
    for child in item.get("ContentSequence", []):
        yield from walk(child)


def found(item, code_value):
    return [
        one
        for one in walk(item)
        if "ConceptNameCodeSequence" in one and one.ConceptNameCodeSequence[0].CodeValue == code_value
    ]


def children(item, code_value):
    return [one for one in item.ContentSequence if one in found(item, code_value)]


def figure(item):
    measured = item.MeasuredValueSequence[0]
    return float(measured.NumericValue), measured.MeasurementUnitsCodeSequence[0].CodeValue


def answer(report, code_value):
    (item,) = found(report, code_value)
    return item.ConceptCodeSequence[0].CodeValue


def comments(report):
    return [item.TextValue for item in found(report, "121106")]


def labels(report):
    return [item.TextValue for item in found(report, "112039")]


def instances(sequence):
    return {
        (
            study.StudyInstanceUID,
            series.SeriesInstanceUID,
            one.ReferencedSOPClassUID,
            one.ReferencedSOPInstanceUID,
        )
        for study in sequence
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }


@pytest.mark.parametrize("sr_class", CLASSES)
def test_change_and_prior_stand_in_every_group(sr_class, result, prior, report_of):
    report = report_of(result, [prior], sr_class=sr_class)
    total, *zones = found(report, "125007")
    expected = [(total, 0, 2, -6.7, 31.7)]
    changes = [
        (-1, 1, -62.5, 62.5),
        (0, 0, 0.0, 0.0),
        (0, 1, 20.0, 80.0),
        (1, 0, 39.9, 10.1),
        (0, 0, 0.0, 0.0),
    ]
    expected += [(group, *change) for group, change in zip(zones[:5], changes, strict=True)]
    for group, score, prior_score, share, prior_share in expected:
        (change,) = children(group, "SCORE-CHANGE")
        assert figure(change) == (score, "{score}")
        assert [figure(one) for one in found(change, "PRIOR-SCORE")] == [(prior_score, "{score}")]
        (change,) = children(group, "SHARE-CHANGE")
        assert figure(change) == (share, "%")
        assert [figure(one) for one in found(change, "PRIOR-SHARE")] == [(prior_share, "%")]
    assert found(zones[5], "SCORE-CHANGE") == found(zones[5], "SHARE-CHANGE") == []


def test_change_is_said_in_codes_and_words(result, prior, report_of):
    report = report_of(result, [prior])
    assert answer(report, "COMPARED") == NO_CHANGE
    assert [answer(report, f"COMPARED-{letter}") for letter in "ABCDEF"] == [
        DECREASED, NO_CHANGE, NO_CHANGE, INCREASED, NO_CHANGE, NOT_ATTEMPTED,
    ]  # fmt: skip
    assert (
        "Compared with the radiograph of 2026-01-03 10:11: score 2 then, 2 now (unchanged); opacified share "
        "of both lungs 31.7 % then, 25.0 % now (down 6.7 percentage points)."
    ) in comments(report)


def test_the_priors_reports_are_evidence(result, prior, report_of, film):
    report = report_of(result, [prior])
    assert instances(report.PertinentOtherEvidenceSequence) == {
        ("2.25.63", "2.25.62", uid.ComprehensiveSRStorage, "2.25.61")
    }
    same_study = dataclasses.replace(PRIOR_REPORT, study_instance_uid=film.dataset.StudyInstanceUID)
    report = report_of(result, [dataclasses.replace(prior, report=same_study)])
    assert "PertinentOtherEvidenceSequence" not in report
    assert len(instances(report.CurrentRequestedProcedureEvidenceSequence)) == 2
    unsent = report_of(result, [dataclasses.replace(prior, report=None)])
    assert "PertinentOtherEvidenceSequence" not in unsent
    assert found(unsent, "SCORE-CHANGE")


def test_earlier_scores_are_listed_and_the_latest_is_compared_with(result, prior, report_of):
    earlier = dataclasses.replace(
        prior, sop_instance_uid="2.25.59", acquired_at=datetime(2025, 12, 20), score=6, report=None
    )
    said = comments(report_of(result, [earlier, prior]))
    assert "Earlier scores, of 6: 2025-12-20: 6; 2026-01-03: 2." in said
    assert not any("Earlier scores" in one for one in comments(report_of(result, [prior])))


def test_other_weights_are_named_as_a_reason_of_change(result, prior, report_of):
    other = dataclasses.replace(prior, version="0.9", digest="ee" * 32)
    assert any(
        "scored by two-stage 0.9 with other weights" in one for one in comments(report_of(result, [other]))
    )
    assert not any("other weights" in one for one in comments(report_of(result, [prior])))


def test_a_prior_of_another_scheme_is_not_compared_with(result, prior, report_of, not_assessable_of):
    brixia = dataclasses.replace(prior, algorithm="bs-net", score_max=18, score=9)
    plain = labels(report_of(result))
    assert labels(report_of(result, [brixia])) == plain
    assert found(report_of(result, [brixia]), "COMPARED") == []
    assert found(report_of(not_assessable_of(SHAPE), [prior]), "COMPARED") == []


@pytest.mark.parametrize("sr_class", CLASSES)
def test_a_successor_names_its_predecessor(sr_class, result, report_of, film, not_assessable_of):
    study = film.dataset.StudyInstanceUID
    predecessor = InstanceReference(uid.EnhancedSRStorage, "2.25.71", "2.25.72", study)
    for made in (result, not_assessable_of(SHAPE)):
        report = report_of(made, predecessor=predecessor, sr_class=sr_class)
        assert instances(report.PredecessorDocumentsSequence) == {
            (study, "2.25.72", uid.EnhancedSRStorage, "2.25.71")
        }
        assert "This report replaces an earlier report of the same radiograph." in comments(report)
        assert "PredecessorDocumentsSequence" not in report_of(made, sr_class=sr_class)


def test_the_image_library_says_when_and_how_the_film_was_taken(film, result, report_of, new_film, film_of):
    report = report_of(result)
    entry = found(report, "260753009")[0]
    told = {one.ConceptNameCodeSequence[0].CodeValue: one for one in entry.ContentSequence}
    assert (told["111060"].Date, told["111061"].Time) == ("20260303", "101112")
    assert (told["126201"].Date, told["126202"].Time) == ("20260302", "101112")
    assert told["111031"].ConceptCodeSequence[0].CodeValue == "272479007"
    assert told["123014"].ConceptCodeSequence[0].CodeMeaning == "Chest"
    bare = film_of(
        new_film(StudyTime=None, ViewPosition=None, ViewCodeSequence=None, AcquisitionTime="101112")
    )
    entry = found(report_of(result, radiograph=bare), "260753009")[0]
    told = {one.ConceptNameCodeSequence[0].CodeValue for one in entry.ContentSequence}
    assert told.isdisjoint({"111061", "126201", "126202", "111018", "111031"}), "a time without its date"


def brixia_of(result, score):
    """Six zones of the 0-3 scheme that add up to a score."""
    zones = [
        dataclasses.replace(zone, opacity_area_px=0, score=max(0, min(3, score - 3 * index)))
        for index, zone in enumerate(result.zones)
    ]
    return dataclasses.replace(
        result,
        algorithm=AlgorithmId("bs-net", "1.0", {"network": "ef" * 32}, {}),
        zones=tuple(zones),
        score=score,
        score_max=18,
        opacity_mask=np.zeros(SHAPE, np.bool_),
    )


def test_the_brixia_score_has_a_history_too(result, prior, report_of):
    then = dataclasses.replace(
        prior, algorithm="bs-net", score_max=18, score=7, percent=None, zones=(ZoneFigures(2, None),) * 6
    )
    report = report_of(brixia_of(result, 11), [then])
    assert figure(children(found(report, "125007")[0], "SCORE-CHANGE")[0]) == (4, "{score}")
    assert [answer(report, f"COMPARED-{letter}") for letter in "DE"] == [NO_CHANGE, DECREASED]
    assert answer(report, "COMPARED-A") == INCREASED
    assert found(report, "SHARE-CHANGE") == []


def test_a_film_without_a_score_names_the_score_of_its_scheme(not_assessable_of, report_of):
    without = not_assessable_of(SHAPE)
    brixia = dataclasses.replace(without, algorithm=AlgorithmId("bs-net", "1.0", {}, {}))
    assert answer(report_of(without), "LUNG-SEV-0-6") == "114011"
    assert answer(report_of(brixia), "BRIXIA-0-18") == "114011"


@pytest.mark.parametrize("score", [0, 2, 6])
def test_a_normal_film_shows_a_number_that_is_not_zero(score, result, severity_of, report_of):
    zones = tuple(
        dataclasses.replace(zone, score=int(index < score)) for index, zone in enumerate(result.zones)
    )
    report = report_of(dataclasses.replace(result, zones=zones, score=score))
    (clear,) = found(report, "CLEAR-ZONES")
    assert figure(clear) == (6 - score, "{zones}")


def test_labels_are_short_enough_to_stand_beside_their_numbers(result, prior, report_of, severity_of):
    """DCMTK's text renderings move what is longer than 40 characters to an annex."""
    full = tuple(dataclasses.replace(zone, opacity_area_px=zone.area_px, score=1) for zone in result.zones)
    for one in (dataclasses.replace(result, zones=full, score=6), brixia_of(result, 18)):
        assert max(map(len, labels(report_of(one, [prior])))) <= 40


def test_each_measurement_of_a_zone_names_its_side(result, prior, report_of):
    for scored in (result, brixia_of(result, 5)):
        _, *zones = found(report_of(scored), "125007")
        for group, (side, level) in zip(zones, ZONE_ORDER, strict=True):
            names = [
                one.ConceptNameCodeSequence[0].CodeMeaning
                for one in group.ContentSequence
                if one.ValueType == "NUM"
            ]
            assert names
            assert all(name.startswith(f"{side.capitalize()} {level} zone") for name in names)


@settings(max_examples=60, deadline=None)
@given(
    points=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=3, max_size=12, unique=True)
)
def test_an_outline_that_begins_elsewhere_is_the_same_outline(points):
    ring = np.array([*points, points[0]], dtype=np.float64)
    for anchored in (regions.anchored_left(ring), regions.anchored_low(ring)):
        assert np.array_equal(anchored[0], anchored[-1])
        assert {tuple(point) for point in ring} <= {tuple(point) for point in anchored}
        assert area_of(anchored) == pytest.approx(area_of(ring), abs=1e-6)
        assert np.hypot(*(anchored[1] - anchored[0])) <= 1.0 + 1e-9
    quarter = 0.75 * ring[:, 1].min() + 0.25 * ring[:, 1].max()
    if np.ptp(ring[:, 1]):
        assert regions.anchored_left(ring)[0, 1] == pytest.approx(quarter)
    left = ring[ring[:, 0] <= (ring[:, 0].min() + ring[:, 0].max()) / 2]
    assert regions.anchored_low(ring)[0, 1] == left[:, 1].max()


def area_of(ring):
    x, y = ring.T
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2


NAMES = [
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎"),
    (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ("ISO_IR 192", "Wang^XiaoDong=王^小东"),
    ("GB18030", "Wang^XiaoDong=王^小东"),
    ("ISO_IR 144", "Люкceмбypг"),
    ("ISO_IR 100", "Buc^Jérôme"),
]


@pytest.mark.parametrize(("character_set", "name"), NAMES)
def test_names_survive(character_set, name, new_film, film_of, result, report_of, encoded, tool, tmp_path):
    radiograph = film_of(
        new_film(SpecificCharacterSet=character_set, PatientName=name, StudyDescription=name.split("=")[-1])
    )
    report = report_of(result, radiograph=radiograph)
    assert str(report.PatientName) == name
    assert report.StudyDescription == name.split("=")[-1]
    if "ISO 2022 IR 87" in character_set:
        return  # which Debian's DCMTK cannot convert
    (tmp_path / "report.dcm").write_bytes(encoded(report))
    shown = tool("dsrdump", "+U8", tmp_path / "report.dcm")
    assert name.split("=")[0] in shown
    assert "AI zone A: right upper" in shown


@pytest.mark.parametrize(("sample", "name"), [("japanese", "やまだ^たろう"), ("korean", "김희중")])
def test_names_of_real_headers_survive(sample, name, cxr_dataset, result, report_of):
    header = read_dataset((cxr_dataset / "dicom" / f"cr_chest_nopixels_{sample}.dcm").read_bytes())
    radiograph = Radiograph(dataset=header, pixels=np.zeros(SHAPE, np.float32))
    assert name in str(report_of(result, radiograph=radiograph).PatientName)


def complaints(output):
    lines = [line for line in output.splitlines() if line.startswith(("Error", "Warning"))]
    return [line for line in lines if "99CXRSEV" not in line]


@pytest.fixture(scope="module")
def cases(result, prior, not_assessable_of, film):
    """Every kind of report, as arguments of ``report_of``."""
    clear = tuple(dataclasses.replace(zone, opacity_area_px=0, score=0) for zone in result.zones)
    full = tuple(dataclasses.replace(zone, opacity_area_px=zone.area_px, score=1) for zone in result.zones)
    empty = dataclasses.replace(result.zones[5], area_px=0, opacity_area_px=0, score=0)
    predecessor = dataclasses.replace(PRIOR_REPORT, study_instance_uid=film.dataset.StudyInstanceUID)
    return {
        "score 0": (dataclasses.replace(result, zones=clear, score=0),),
        "score 3": (dataclasses.replace(result, zones=(*full[:3], *clear[3:]), score=3),),
        "score 6": (dataclasses.replace(result, zones=full, score=6),),
        "Brixia": (brixia_of(result, 18),),
        "not assessable": (not_assessable_of(SHAPE), [], predecessor),
        "zone without area": (dataclasses.replace(result, zones=(*result.zones[:5], empty)), [prior]),
        "prior": (result, [prior]),
        "Brixia with prior": (
            brixia_of(result, 4),
            [dataclasses.replace(prior, algorithm="bs-net", score_max=18, percent=None)],
        ),
        "predecessor": (result, [prior], predecessor),
    }


@pytest.mark.parametrize("sr_class", CLASSES)
def test_dciodvfy_finds_nothing(sr_class, cases, report_of, encoded, tool, tmp_path):
    for name, arguments in cases.items():
        report = report_of(*arguments, sr_class=sr_class, grade_severity=True)
        (tmp_path / "report.dcm").write_bytes(encoded(report))
        output = tool("dciodvfy", "-new", tmp_path / "report.dcm")
        assert "SR" in output
        assert (name, complaints(output)) == (name, [])


@pytest.mark.parametrize(
    ("name", "sr_class"),
    [
        ("predecessor", "comprehensive"),
        ("Brixia with prior", "comprehensive-3d"),
        ("zone without area", "enhanced"),
    ],
)
def test_the_template_validator_finds_nothing(name, sr_class, cases, report_of, encoded, tool, tmp_path):
    report = report_of(*cases[name], sr_class=sr_class, grade_severity=True)
    (tmp_path / "report.dcm").write_bytes(encoded(report))
    output = tool("DicomSRValidator", tmp_path / "report.dcm")
    assert "Found Root Template TID_1500" in output
    assert "IOD validation complete" in output
    assert [
        line for line in output.splitlines() if "Warning" in line or "Error" in line or "illegal" in line
    ] == []
