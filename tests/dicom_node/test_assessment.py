"""A reader's judgement is recognised in documents as others would make them, and nowhere else."""

from __future__ import annotations

import copy
import dataclasses
from datetime import datetime

import highdicom as hd
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sr.codedict import codes as standard
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from dicom_node.assessment import (
    DOCUMENT_SOP_CLASSES,
    Assessment,
    Verdict,
    read_assessment,
    referred_instances,
)
from dicom_node.errors import NotEligible, UndecodableInstance
from dicom_node.pixels import read_dataset
from dicom_node.prior import ReportBasis
from dicom_node.report_context import ReportContext
from dicom_node.report_settings import ReportSettings
from dicom_node.secondary_capture import build_secondary_capture
from dicom_node.structured_report import build_structured_report

SHAPE = (96, 80)
CONTAINS = hd.sr.RelationshipTypeValues.CONTAINS
MODIFIER = hd.sr.RelationshipTypeValues.HAS_CONCEPT_MOD
NOTHING = (None,) * 6
SITES = {"upper": "281392002", "middle": "281393007", "lower": "281394001"}
SIDES = {"right": "24028007", "left": "7771000"}


def private(value):
    return Code(value, "99CXRSEV", value.lower())


def num(name, value, *children):
    item = hd.sr.NumContentItem(
        private(name), value, Code("{score}", "UCUM", "score"), relationship_type=CONTAINS
    )
    if children:
        item.ContentSequence = hd.sr.ContentSequence(children)
    return item


def code(name, value, *children):
    item = hd.sr.CodeContentItem(name, value, CONTAINS)
    if children:
        item.ContentSequence = hd.sr.ContentSequence(children)
    return item


def site(side, level, scheme="SCT", sites=SITES, sides=SIDES):
    found = hd.sr.CodeContentItem(standard.SCT.FindingSite, Code(sites[level], scheme, level), MODIFIER)
    laterality = hd.sr.CodeContentItem(standard.SCT.Laterality, Code(sides[side], scheme, side), MODIFIER)
    found.ContentSequence = hd.sr.ContentSequence([laterality])
    return found


def container(*items, name=standard.DCM.MeasurementGroup):
    box = hd.sr.ContainerContentItem(name, relationship_type=CONTAINS)
    box.ContentSequence = hd.sr.ContentSequence(items)
    return box


def text(words, name=standard.DCM.Finding):
    return hd.sr.TextContentItem(name, words, CONTAINS)


def refers_to(instance, relation="INFERRED FROM"):
    return hd.sr.CompositeContentItem(
        Code("121112", "DCM", "Source of Measurement"),
        instance.SOPClassUID,
        instance.SOPInstanceUID,
        hd.sr.RelationshipTypeValues(relation),
    )


@pytest.fixture(scope="module")
def film(new_film, film_of):
    return film_of(new_film(np.arange(SHAPE[0] * SHAPE[1], dtype=np.uint16).reshape(SHAPE)))


@pytest.fixture(scope="module")
def context(film, severity_of, created_at):
    return ReportContext(film, severity_of(SHAPE), ReportSettings(), ReportBasis(created_at))


@pytest.fixture(scope="module")
def ours(context, encoded):
    return read_dataset(encoded(build_structured_report(context)))


@pytest.fixture(scope="module")
def theirs(film, ours, encoded):
    """A Structured Report of a reading station: ``theirs(*items, evidence=, title=, **options)``."""

    def build(*items, evidence=(ours,), sr=hd.sr.ComprehensiveSR, **options):
        root = hd.sr.ContainerContentItem(Code("18748-4", "LN", "Diagnostic Imaging Report"))
        root.ContentSequence = hd.sr.ContentSequence(items or [text("Nothing to report.")])
        source = film.dataset
        document = sr(
            evidence=[source, *evidence],
            content=root,
            series_instance_uid=generate_uid(),
            series_number=1,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="Reading Station",
            manufacturer_model_name="R1",
            software_versions="1",
            device_serial_number="1",
            content_date=datetime(2026, 5, 6).date(),
            content_time=datetime(2026, 5, 6, 7, 8, 9).time(),
            **options,
        )
        return read_dataset(encoded(document))

    return build


VERIFIED = {"is_verified": True, "verifying_observer_name": "Reader^Nameless", "verifying_organization": "H"}


@pytest.mark.parametrize(("prefix", "score_max"), [("ZONE-SEV", 6), ("BRIXIA", 18)])
def test_zones_by_their_own_names(prefix, score_max, theirs):
    assessment = read_assessment(theirs(num(f"{prefix}-C", 1), container(num(f"{prefix}-D", 0))))
    assert (assessment.verdict, assessment.score, assessment.score_max) == (
        Verdict.CORRECTED,
        None,
        score_max,
    )
    assert assessment.zones == (None, None, 1, 0, None, None)


def test_one_corrected_zone(theirs, ours):
    document = theirs(
        container(text("right middle lobe pneumonia"), site("right", "middle"), num("ZONE-SEV-0-1", 1))
    )
    assert read_assessment(document) == Assessment(
        document_uid=document.SOPInstanceUID,
        sop_class_uid=uid.ComprehensiveSRStorage,
        verdict=Verdict.CORRECTED,
        score=None,
        zones=(None, 1, None, None, None, None),
        verified=False,
        assessed_at=datetime(2026, 5, 6, 7, 8, 9),
        score_max=6,
        subjects=("2.25.1001", ours.SOPInstanceUID),
    )


def test_all_zones_make_a_total(theirs):
    items = [
        container(site(side, level), num("BRIXIA-ZONE-0-3", number))
        for number, (side, level) in enumerate(
            [("left", "lower"), ("left", "upper"), ("right", "lower"), ("right", "upper")]
        )
    ]
    four = read_assessment(theirs(*items))
    assert (four.score, four.score_max, four.zones) == (None, 18, (3, None, 2, 1, None, 0))
    items += [container(site(side, "middle"), num("BRIXIA-ZONE-0-3", 1)) for side in SIDES]
    six = read_assessment(theirs(*items))
    assert (six.score, six.zones) == (8, (3, 1, 2, 1, 1, 0))


@pytest.mark.parametrize(("name", "score_max"), [("LUNG-SEV-0-6", 6), ("BRIXIA-0-18", 18)])
def test_a_corrected_total_alone(name, score_max, theirs):
    assessment = read_assessment(theirs(num(name, 5)))
    assert (assessment.verdict, assessment.score, assessment.score_max) == (Verdict.CORRECTED, 5, score_max)
    assert assessment.zones == NOTHING


def test_the_zone_may_stand_at_the_number_or_in_the_tracking_identifier(theirs):
    tracked = hd.sr.TextContentItem(
        standard.DCM.TrackingIdentifier,
        "AI zone F: Left Lower, 0 of 1",
        hd.sr.RelationshipTypeValues.HAS_OBS_CONTEXT,
    )
    assessment = read_assessment(
        theirs(
            container(
                num("ZONE-SEV-0-1", 1, site("left", "middle")), num("ZONE-SEV-0-1", 0, site("left", "upper"))
            ),
            container(tracked, num("ZONE-SEV-0-1", 1)),
        )
    )
    assert assessment.zones == (None, None, None, 0, 1, 1)


def test_laterality_in_the_former_snomed_codes(theirs):
    sides = {"right": "G-A100", "left": "G-A101"}
    mixed = site("left", "upper")
    laterality = hd.sr.CodeContentItem(
        Code("G-C171", "SRT", "Laterality"), Code(sides["left"], "SRT", "Left"), MODIFIER
    )
    mixed.ContentSequence = hd.sr.ContentSequence([laterality])
    assert read_assessment(theirs(container(mixed, num("ZONE-SEV-0-1", 1)))).zones == (
        None, None, None, 1, None, None,
    )  # fmt: skip


def test_involved_or_not_is_a_zone_of_the_simple_score(theirs):
    yes, no = Code("373066001", "SCT", "Yes"), Code("373067005", "SCT", "No")
    assessment = read_assessment(theirs(code(private("INVOLVED-B"), yes), code(private("INVOLVED-D"), no)))
    assert (assessment.zones, assessment.score_max) == ((None, 1, None, 0, None, None), 6)


@pytest.mark.parametrize("verdict", Verdict)
def test_a_coded_verdict(verdict, theirs, ours):
    assessment = read_assessment(theirs(code(private("ASSESSMENT"), private(verdict.upper()))))
    assert (assessment.verdict, assessment.score, assessment.zones) == (verdict, None, NOTHING)
    assert ours.SOPInstanceUID in assessment.subjects


def test_a_coded_verdict_stands_beside_values(theirs):
    assessment = read_assessment(
        theirs(code(private("ASSESSMENT"), private("REJECTED")), num("LUNG-SEV-0-6", 4))
    )
    assert (assessment.verdict, assessment.score) == (Verdict.REJECTED, 4)


def test_a_coded_verdict_may_say_what_it_judges(theirs, ours, film):
    assessment = read_assessment(
        theirs(code(private("ASSESSMENT"), private("ACCEPTED"), refers_to(ours, "INFERRED FROM")))
    )
    assert assessment.subjects == (ours.SOPInstanceUID,)


@pytest.mark.parametrize(("value", "verdict"), [("122775", Verdict.ACCEPTED), ("122776", Verdict.REJECTED)])
def test_agreement_in_standard_codes_needs_what_is_agreed_with(value, verdict, theirs, ours):
    answer = Code(value, "DCM", "with prior findings")
    assessment = read_assessment(theirs(code(standard.DCM.Comment, answer, refers_to(ours))))
    assert (assessment.verdict, assessment.subjects) == (verdict, (ours.SOPInstanceUID,))
    assert read_assessment(theirs(code(standard.DCM.Comment, answer))) is None


def test_a_verified_successor_accepts_its_predecessor(theirs, ours):
    assessment = read_assessment(theirs(previous_versions=[ours], **VERIFIED))
    assert (assessment.verdict, assessment.verified) == (Verdict.ACCEPTED, True)
    assert assessment.subjects == (ours.SOPInstanceUID,)
    assert assessment.assessed_at is not None
    assert read_assessment(theirs(previous_versions=[ours])) is None, "nobody is accountable for it"
    assert read_assessment(theirs(**VERIFIED)) is None, "evidence of a report is not judged by it"


def test_a_second_version_of_a_reading_does_not_accept_what_it_had_before_it(theirs, ours):
    first = theirs(**VERIFIED)
    second = read_assessment(theirs(previous_versions=[first], **VERIFIED))
    assert second.subjects == (first.SOPInstanceUID,)
    assert ours.SOPInstanceUID not in second.subjects


def test_a_verified_copy_with_changed_numbers_is_a_correction(theirs, ours):
    assessment = read_assessment(theirs(num("LUNG-SEV-0-6", 3), previous_versions=[ours], **VERIFIED))
    assert (assessment.verdict, assessment.score, assessment.verified) == (Verdict.CORRECTED, 3, True)
    assert assessment.subjects[0] == ours.SOPInstanceUID


@pytest.mark.parametrize(
    ("title", "verdict"),
    [
        ("113001", Verdict.REJECTED),
        ("113037", Verdict.REJECTED),
        ("113038", None),
        ("113039", None),
        ("113000", None),
    ],
)
def test_rejection_notes(title, verdict, film, ours, encoded):
    evidence = [film.dataset, ours]
    content = hd.ko.KeyObjectSelection(Code(title, "DCM", "a title"), [ours])
    note = hd.ko.KeyObjectSelectionDocument(
        evidence=evidence,
        content=content,
        series_instance_uid=generate_uid(),
        series_number=1,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Archive",
        manufacturer_model_name="A1",
        software_versions="1",
        device_serial_number="1",
    )
    assessment = read_assessment(read_dataset(encoded(note)))
    if verdict is None:
        assert assessment is None
    else:
        assert (assessment.verdict, assessment.subjects) == (verdict, (ours.SOPInstanceUID,))
        assert assessment.assessed_at is not None


@pytest.mark.parametrize("sr", [hd.sr.EnhancedSR, hd.sr.Comprehensive3DSR])
def test_other_classes_of_structured_report(sr, theirs):
    assessment = read_assessment(theirs(num("LUNG-SEV-0-6", 0), sr=sr))
    assert (assessment.score, assessment.sop_class_uid in DOCUMENT_SOP_CLASSES) == (0, True)


def test_basic_text(theirs, ours, encoded):
    document = theirs(previous_versions=[ours], **VERIFIED)
    document.SOPClassUID = document.file_meta.MediaStorageSOPClassUID = uid.BasicTextSRStorage
    assert read_assessment(document).verdict == Verdict.ACCEPTED


def test_what_holds_no_judgement(theirs, ours, film, context, encoded):
    assert read_assessment(theirs()) is None
    assert read_assessment(theirs(text("I reject the AI result. ASSESSMENT: REJECTED"))) is None
    assert read_assessment(ours) is None
    assert read_assessment(build_secondary_capture(context)) is None
    assert read_assessment(film.dataset) is None
    assert read_assessment(Dataset()) is None


def test_another_workers_report_is_no_judgement(film, severity_of, encoded, ours):
    """A Measurement Report of the same film with ours as evidence, in its maker's own codes."""
    severity = hd.sr.Measurement(Code("SEV", "99OTHER", "Severity"), 3, Code("1", "UCUM", "no units"))
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        hd.sr.TrackingIdentifier(uid=generate_uid(), identifier="right lower"),
        measurements=[severity],
        finding_sites=[hd.sr.FindingSite(Code(SITES["lower"], "SCT", "x"), Code(SIDES["right"], "SCT", "x"))],
    )
    device = hd.sr.ObserverContext(
        standard.DCM.Device, hd.sr.DeviceObserverIdentifyingAttributes(uid=generate_uid())
    )
    content = hd.sr.MeasurementReport(
        hd.sr.ObservationContext(observer_device_context=device),
        procedure_reported=standard.SCT.ImagingProcedure,
        imaging_measurements=[group],
    )
    document = hd.sr.Comprehensive3DSR(
        evidence=[film.dataset, ours],
        content=content[0],
        series_instance_uid=generate_uid(),
        series_number=1,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Another Worker",
        is_complete=True,
        is_final=True,
    )
    document = read_dataset(encoded(document))
    assert ours.SOPInstanceUID in referred_instances(document)
    assert read_assessment(document) is None


@pytest.mark.parametrize(
    "items",
    [
        [num("LUNG-SEV-0-6", 7)],
        [num("LUNG-SEV-0-6", 2.5)],
        [num("LUNG-SEV-0-6", -1)],
        [num("BRIXIA-0-18", 3), num("LUNG-SEV-0-6", 3)],
        [num("LUNG-SEV-0-6", 3), num("LUNG-SEV-0-6", 4)],
        [num("ZONE-SEV-0-1", 1)],
        [code(private("ASSESSMENT"), private("ACCEPTED")), code(private("ASSESSMENT"), private("REJECTED"))],
        [code(private("ASSESSMENT"), Code("ACCEPTED", "99OTHER", "accepted"))],
    ],
)
def test_contradictions_and_impossible_values_are_not_taken(items, theirs):
    assert read_assessment(theirs(*items)) is None


def test_everything_referred_to_is_found(theirs, ours, film):
    elsewhere = Dataset()
    elsewhere.SOPClassUID, elsewhere.SOPInstanceUID = uid.CTImageStorage, "2.25.31"
    elsewhere.StudyInstanceUID, elsewhere.SeriesInstanceUID = "2.25.32", "2.25.33"
    many = []
    for number in range(200):
        one = copy.deepcopy(elsewhere)
        one.SOPInstanceUID, one.StudyInstanceUID = f"2.25.9{number}", film.dataset.StudyInstanceUID
        many.append(one)
    first = theirs()
    document = theirs(
        code(standard.DCM.Comment, private("X"), refers_to(elsewhere)),
        evidence=(ours, elsewhere, *many),
        previous_versions=[first],
    )
    expected = {film.dataset.SOPInstanceUID, ours.SOPInstanceUID, "2.25.31", first.SOPInstanceUID}
    assert referred_instances(document) == expected | {one.SOPInstanceUID for one in many}
    assert referred_instances(ours) == {film.dataset.SOPInstanceUID}
    assert referred_instances(film.dataset) == frozenset()


@pytest.fixture(scope="module")
def intact(theirs, ours, encoded):
    items = [container(site("right", "lower"), num("ZONE-SEV-0-1", 0)), num("LUNG-SEV-0-6", 1)]
    return encoded(theirs(*items, previous_versions=[ours], **VERIFIED))


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(damage=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6), cut=st.floats(0.1, 1))
def test_damaged_documents_raise_nothing(damage, cut, intact):
    content = bytearray(intact[: max(int(cut * len(intact)), 400)])
    for at, value in damage:
        content[132 + int(at * (len(content) - 133))] = value
    try:
        dataset = read_dataset(bytes(content))
    except (UndecodableInstance, NotEligible):
        return
    referred_instances(dataset)
    assessment = read_assessment(dataset)
    if assessment is not None:
        assert set(assessment.subjects) <= referred_instances(dataset)
        assert assessment.score is None or 0 <= assessment.score <= assessment.score_max


def test_implicit_encoding_and_sequences_an_archive_did_not_know(theirs, encoded):
    document = theirs(container(site("left", "upper"), num("ZONE-SEV-0-1", 1)))
    expected = read_assessment(document)
    explicit, content = encoded(document), Dataset()
    document.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
    assert read_assessment(read_dataset(encoded(document))) == expected
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    content.ContentSequence = document.ContentSequence
    write_dataset(buffer, content)
    implicit = buffer.getvalue()[4:]
    tag = b"\x40\x00\x30\xa7"
    start = explicit.index(tag + b"SQ")
    end = start + 12 + int.from_bytes(explicit[start + 8 : start + 12], "little")
    unknown = explicit[:start] + tag + b"UN\0\0" + implicit + explicit[end:]
    assert read_assessment(read_dataset(unknown)) == expected


def test_it_holds_no_patient_data(theirs, ours, film):
    assessment = read_assessment(
        theirs(text("Doe, Test has pneumonia"), num("LUNG-SEV-0-6", 3), previous_versions=[ours], **VERIFIED)
    )
    told = str(dataclasses.asdict(assessment))
    for secret in ("Doe", "P-1", "Reader", "pneumonia", "1970"):
        assert secret not in told
