"""Our earlier reports, found in Orthanc by either way, and in archives that do not go by the book."""

import json
import logging
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from dicom_node.association import RemoteAE
from dicom_node.errors import AssociationFailed, SearchRefused
from dicom_node.identity import SERIES_NUMBERS
from dicom_node.prior import PatientIdentity, ReportBasis
from dicom_node.prior_search import FoundReports, find_reports, find_reports_on_web
from dicom_node.query_retrieve import MAXIMUM_ANSWERS, REPORT_SOP_CLASSES
from dicom_node.report_context import ReportContext
from dicom_node.report_settings import ReportSettings
from dicom_node.storage_scu import echo, store
from dicom_node.structured_report import build_structured_report
from dicom_node.tls import TLSFiles, client_context, server_context
from dicom_node.web_session import RemoteWeb
from tests.certificates import Authority
from tests.conftest import find_program, free_port, running

CALLING = "CXRWORKER"
PATIENT = PatientIdentity("P-1", "HOSPITAL", "19700102")
SECRET = "P-4711-secret"


@pytest.fixture(scope="module")
def new_report(new_film, film_of, severity_of, created_at, encoded):
    """Build a report of ours: ``new_report(number, sr_class=, Keyword=value, ...)``."""

    @lru_cache
    def build(number=1, sr_class="comprehensive", patient=PATIENT, **keywords):
        attributes = {
            "SOPInstanceUID": f"2.25.{number}001",
            "StudyInstanceUID": f"2.25.{number}002",
            "SeriesInstanceUID": f"2.25.{number}003",
            "StudyDate": f"202603{number:02}",
            "PatientID": patient.patient_id,
            "IssuerOfPatientID": patient.issuer or None,
            "PatientBirthDate": patient.birth_date,
        }
        film = film_of(new_film(**(attributes | keywords)))
        context = ReportContext(
            film, severity_of(film.pixels.shape), ReportSettings(sr_class=sr_class), ReportBasis(created_at)
        )
        return encoded(build_structured_report(context))

    return build


@pytest.fixture(scope="module")
def foreign_report(new_report, encoded):
    """A report as ``new_report`` makes it, but by another manufacturer."""

    def build(number, **changes):
        dataset = dcmread(BytesIO(new_report(number)))
        for keyword, value in ({"Manufacturer": "Somebody Else"} | changes).items():
            setattr(dataset, keyword, value)
        return encoded(dataset)

    return build


def uid_of(report):
    return str(dcmread(BytesIO(report), stop_before_pixels=True).SOPInstanceUID)


def uids_of(found):
    return [uid_of(report) for report in found]


def test_our_series_are_searched_by_the_number_they_are_given(new_report):
    assert dcmread(BytesIO(new_report(1))).SeriesNumber == SERIES_NUMBERS["sr"]


# --- Orthanc --------------------------------------------------------------------------------------


@pytest.fixture
def remote(archive):
    return RemoteAE(archive.orthanc.ae_title, "127.0.0.1", archive.orthanc.dicom_port)


@pytest.fixture
def web(archive):
    return RemoteWeb(f"{archive.orthanc.url}/dicom-web")


@pytest.fixture
def our_node(archive, start_node):
    return start_node(ae_title=CALLING, port=archive.node_port)


@pytest.fixture
def kept(remote, new_report, foreign_report, make_film):
    """What the archive holds: three reports of ours of the patient, and much else."""
    ours = [new_report(1), new_report(2, "comprehensive-3d"), new_report(3, "enhanced")]
    others = [
        new_report(4, patient=PatientIdentity("P-10", "HOSPITAL", "19700102")),
        new_report(5, patient=PatientIdentity("P-1", "ELSEWHERE", "19700102")),
        new_report(6, patient=PatientIdentity("P-1", "HOSPITAL", "19800102")),
        foreign_report(7),
        foreign_report(8, SeriesNumber=1),
        make_film(PatientID="P-1", IssuerOfPatientID="HOSPITAL", PatientBirthDate="19700102"),
    ]
    outcomes = store(remote, "MODALITY", [*ours, *others])
    assert all(outcome.succeeded for outcome in outcomes)
    return ours


def data_set_of(report):
    """Every element of the data set, without the file meta information, which the archive writes anew."""
    return dcmread(BytesIO(report))


def test_orthanc_gives_our_reports_by_c_get(remote, kept):
    found = find_reports(remote, CALLING, PATIENT, by="c-get")
    assert found.moved == ()
    # the newest study's first
    assert [data_set_of(report) for report in found.encoded] == [data_set_of(report) for report in kept[::-1]]


def test_orthanc_sends_our_reports_by_c_move(remote, kept, our_node, received):
    found = find_reports(remote, CALLING, PATIENT, by="c-move")
    assert found.encoded == ()
    sent = {instance.sop_instance_uid: instance.encoded for instance in received}
    assert set(found.moved) == set(sent)
    assert set(uids_of(kept)) <= set(sent)
    for report in kept:
        assert data_set_of(sent[uid_of(report)]) == data_set_of(report)


def test_orthanc_gives_our_reports_over_the_web(web, kept):
    found = find_reports_on_web(web, PATIENT)
    assert [data_set_of(report) for report in found] == [data_set_of(report) for report in kept[::-1]]


@pytest.mark.parametrize("by", ["c-get", "c-move", "web"])
def test_a_patient_unknown_to_orthanc_has_no_reports(remote, web, kept, by):
    nobody = PatientIdentity("P-2", "HOSPITAL", "19700102")
    if by == "web":
        assert find_reports_on_web(web, nobody) == ()
    else:
        assert find_reports(remote, CALLING, nobody, by=by) == FoundReports()


def test_the_newest_come_when_there_are_more_than_wanted(remote, web, kept):
    found = find_reports(remote, CALLING, PATIENT, by="c-get", most=2)
    assert uids_of(found.encoded) == uids_of(kept[:0:-1])
    assert uids_of(find_reports_on_web(web, PATIENT, most=2)) == uids_of(kept[:0:-1])


@pytest.mark.parametrize("patient_id", ["山田-1", "Ä 1/2&x=y#%", "p-1", "1,2;3+4"])
def test_odd_patient_ids_are_found_and_no_others(remote, kept, new_report, patient_id):
    patient = PatientIdentity(patient_id, "HOSPITAL", "19700102")
    report = new_report(9, patient=patient, SpecificCharacterSet="ISO_IR 192")
    assert store(remote, "MODALITY", [report])[0].succeeded
    assert uids_of(find_reports(remote, CALLING, patient, by="c-get").encoded) == [uid_of(report)]


@pytest.mark.parametrize("patient_id", ["P-*", "P-?", "P-1\\P-2", "P" * 65])
def test_an_id_that_would_widen_the_search_is_not_searched_for(patient_id):
    patient = PatientIdentity(patient_id, "HOSPITAL", "19700102")
    with pytest.raises(SearchRefused, match="cannot be searched for") as caught:
        find_reports(RemoteAE("NOBODY", "127.0.0.1", 1), CALLING, patient, by="c-get")
    assert not caught.value.transient
    assert patient_id not in str(caught.value)
    with pytest.raises(SearchRefused, match="cannot be searched for"):
        find_reports_on_web(RemoteWeb("http://127.0.0.1:1"), patient)


def test_orthanc_does_not_answer_a_node_that_it_does_not_know(remote, kept):
    with pytest.raises(AssociationFailed, match="broke off or gave no answer to C-FIND"):
        find_reports(remote, "STRANGER", PATIENT, by="c-move")


def test_what_orthanc_cannot_deliver_is_not_said_to_be_sent(remote, kept):
    # our node is not running
    with pytest.raises(SearchRefused, match="refused C-MOVE with 0x"):
        find_reports(remote, CALLING, PATIENT, by="c-move")


# --- DCMTK's archive, which takes the hierarchical model at its word ------------------------------


@pytest.fixture
def dcmqrscp(tmp_path, our_node_port):
    program, port = find_program("dcmqrscp"), free_port()
    folder = tmp_path / "QRSCP"
    folder.mkdir()
    configuration = tmp_path / "dcmqrscp.cfg"
    configuration.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nworker = ({CALLING}, 127.0.0.1, {our_node_port})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nQRSCP {folder} RW (200, 1024mb) ANY\nAETable END\n"
    )
    remote = RemoteAE("QRSCP", "127.0.0.1", port, timeout_s=10.0)
    with running([program, "-c", str(configuration)], lambda: echo(remote, CALLING) is None, tmp_path):
        yield remote


@pytest.fixture
def our_node_port(start_node):
    return start_node(ae_title=CALLING).port


@pytest.mark.parametrize("by", ["c-get", "c-move"])
def test_dcmtk_gives_our_reports(dcmqrscp, new_report, make_film, received, by):
    ours = [new_report(1), new_report(2, "comprehensive-3d")]
    others = [
        new_report(4, patient=PatientIdentity("P-10", "HOSPITAL", "19700102")),
        make_film(PatientID="P-1", PatientBirthDate="19700102"),
    ]
    assert all(outcome.succeeded for outcome in store(dcmqrscp, "MODALITY", [*ours, *others]))
    found = find_reports(dcmqrscp, CALLING, PATIENT, by=by)
    if by == "c-get":
        assert set(uids_of(found.encoded)) == set(uids_of(ours))
    else:
        assert set(found.moved) == {one.sop_instance_uid for one in received} == set(uids_of(ours))


# --- an archive that does not go by the book ------------------------------------------------------


@dataclass
class OddArchive:
    """pynetdicom as an archive that holds what a test puts there, and misbehaves as it says.

    ``lacks`` are services that are not offered; ``ignores`` are keys that it does not go by, ``omits`` are
    attributes missing in its answers; ``replies`` is called with the level of a search and yields status and
    answer instead; ``end`` is the last status of a retrieval.
    """

    reports: list[bytes] = field(default_factory=list)
    lacks: tuple[str, ...] = ()
    ignores: tuple[str, ...] = ()
    omits: tuple[str, ...] = ()
    replies: Any = None
    end: int | None = None
    gives: Any = None
    destination: tuple[str, int] | None = None
    tls: Any = None
    asked: list[Dataset] = field(default_factory=list)

    def start(self):
        ae = AE("ODD")
        if "find" not in self.lacks:
            ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        if "get" not in self.lacks:
            ae.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
        if "move" not in self.lacks:
            ae.add_supported_context(StudyRootQueryRetrieveInformationModelMove)
        for sop_class in REPORT_SOP_CLASSES:
            ae.add_supported_context(sop_class, scu_role=True, scp_role=True)
            ae.add_requested_context(sop_class)
        handlers = [(evt.EVT_C_FIND, self._find), (evt.EVT_C_GET, self._get), (evt.EVT_C_MOVE, self._move)]
        self.server = ae.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=self.tls
        )
        return RemoteAE("ODD", "127.0.0.1", self.server.server_address[1], timeout_s=5.0)

    def stop(self):
        self.server.shutdown()
        for thread in threading.enumerate():
            if thread in self.server.active_associations:
                thread.abort()
                thread.join(5)

    def _find(self, event):
        asked = event.identifier
        self.asked.append(asked)
        if self.replies is not None:
            yield from self.replies(event, asked.QueryRetrieveLevel)
            return
        for dataset in self._matching(asked):
            answer = Dataset()
            answer.QueryRetrieveLevel = asked.QueryRetrieveLevel
            for element in asked:
                if element.keyword == "ModalitiesInStudy":
                    answer.ModalitiesInStudy = ["DX", "SR"]
                elif element.keyword in dataset and element.keyword not in self.omits:
                    answer[element.keyword] = dataset[element.keyword]
            yield 0xFF00, answer

    def _matching(self, asked):
        for report in self.reports:
            dataset = dcmread(BytesIO(report))
            wanted = {e.keyword: e.value for e in asked if e.value and e.keyword not in self.ignores}
            wanted.pop("QueryRetrieveLevel")
            wanted.pop("ModalitiesInStudy", None)
            if all(dataset.get(keyword) == value for keyword, value in wanted.items()):
                yield dataset

    def _wanted(self, event):
        uids = event.identifier.SOPInstanceUID
        wanted = [uids] if isinstance(uids, str) else list(uids)
        return [d for d in map(dcmread, map(BytesIO, self.reports)) if d.SOPInstanceUID in wanted]

    def _get(self, event):
        given = self._wanted(event) if self.gives is None else self.gives()
        yield max(1, len(given))
        for dataset in given:
            yield 0xFF00, dataset
        if self.end is not None:
            yield self.end, Dataset()

    def _move(self, event):
        yield self.destination or (None, None)
        given = self._wanted(event)
        yield len(given)
        for dataset in given:
            yield 0xFF00, dataset
        if self.end is not None:
            yield self.end, Dataset()


@pytest.fixture
def odd_archive():
    """Start an ``OddArchive``: returns how to call it, and itself."""
    started = []

    def start(**settings):
        archive = OddArchive(**settings)
        remote = archive.start()
        started.append(archive)
        return remote, archive

    yield start
    for archive in started:
        archive.stop()


@contextmanager
def takes_less_than(seconds):
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def everything(new_report, foreign_report):
    """Reports of ours of the patient, and what an archive that ignores keys would answer with."""
    ours = [new_report(1), new_report(2)]
    others = [
        new_report(4, patient=PatientIdentity("P-10", "HOSPITAL", "19700102")),
        new_report(5, patient=PatientIdentity("P-1", "ELSEWHERE", "19700102")),
        new_report(6, patient=PatientIdentity("P-1", "HOSPITAL", "19800102")),
        foreign_report(7),
        foreign_report(8, Manufacturer="cxr-severity-worker", SeriesNumber=1),
    ]
    return ours, others


@pytest.mark.parametrize(
    "omits", [(), ("IssuerOfPatientID", "PatientBirthDate"), ("SeriesNumber", "Modality")]
)
def test_an_archive_that_ignores_every_key_gives_ours_only(odd_archive, new_report, foreign_report, omits):
    ours, others = everything(new_report, foreign_report)
    keys = ("PatientID", "Modality", "SeriesNumber", "StudyInstanceUID", "SeriesInstanceUID")
    remote, _ = odd_archive(reports=[*others, *ours], ignores=keys, omits=omits)
    found = find_reports(remote, CALLING, PATIENT, by="c-get")
    # the one with another series number is ours too, where the archive does not tell its number
    expected = set(uids_of(ours)) | ({uid_of(others[-1])} if "SeriesNumber" in omits else set())
    assert set(uids_of(found.encoded)) == expected


def test_what_is_asked_names_one_patient_and_our_series(odd_archive, new_report):
    remote, archive = odd_archive(reports=[new_report(1)])
    find_reports(remote, CALLING, PATIENT, by="c-get")
    study, series, instance = archive.asked
    assert (study.QueryRetrieveLevel, study.PatientID, study.ModalitiesInStudy) == ("STUDY", "P-1", "SR")
    # universal matching: an archive that does not keep them must find the patient all the same
    assert study.IssuerOfPatientID == study.PatientBirthDate == ""
    assert "PatientName" not in study
    assert (series.QueryRetrieveLevel, series.Modality, series.SeriesNumber) == ("SERIES", "SR", 9801)
    assert instance.QueryRetrieveLevel == "IMAGE"
    assert instance.SeriesInstanceUID == dcmread(BytesIO(new_report(1))).SeriesInstanceUID


@pytest.mark.parametrize(
    ("lacks", "by", "words"),
    [
        ("find", "c-get", "does not offer search"),
        ("get", "c-get", "does not offer retrieval by C-GET"),
        ("move", "c-move", "does not offer retrieval by C-MOVE"),
    ],
)
def test_a_service_that_is_not_offered_is_named(odd_archive, lacks, by, words):
    remote, _ = odd_archive(lacks=(lacks,))
    with pytest.raises(SearchRefused, match=words) as caught:
        find_reports(remote, CALLING, PATIENT, by=by)
    assert not caught.value.transient
    assert caught.value.status is None


def test_nobody_there():
    with pytest.raises(AssociationFailed, match="cannot be reached"):
        find_reports(RemoteAE("NOBODY", "127.0.0.1", 1), CALLING, PATIENT, by="c-get")


@pytest.mark.parametrize(
    ("status", "transient"),
    [(0xA700, True), (0xA900, False), (0xC001, False), (0xFE00, False), (0x0122, False)],
)
def test_a_search_that_is_refused_says_how(odd_archive, caplog, status, transient):
    def refuse(_event, _level):
        answer = Dataset()
        answer.Status, answer.ErrorComment = status, f"no {SECRET}"
        yield answer, None

    remote, _ = odd_archive(replies=refuse)
    with pytest.raises(SearchRefused, match=f"refused C-FIND with 0x{status:04X}") as caught:
        find_reports(remote, CALLING, PATIENT, by="c-get")
    assert (caught.value.status, caught.value.transient) == (status, transient)
    assert SECRET not in str(caught.value) + caplog.text


def endless(_event, level):
    answer = Dataset()
    answer.QueryRetrieveLevel = level
    answer.PatientID, answer.StudyInstanceUID = "SOMEBODY", "2.25.1"
    for _ in range(100 * MAXIMUM_ANSWERS):
        yield 0xFF00, answer


def test_endless_answers_are_cut_off(odd_archive):
    remote, _ = odd_archive(replies=endless)
    with takes_less_than(20), pytest.raises(SearchRefused, match=f"more than {MAXIMUM_ANSWERS} matches"):
        find_reports(remote, CALLING, PATIENT, by="c-get", within_s=60)


def test_huge_answers_are_cut_off(odd_archive):
    def flood(_event, level):
        answer = Dataset()
        answer.QueryRetrieveLevel, answer.PatientID = level, "P-1"
        answer.StudyInstanceUID = "2.25.1"
        answer.PatientComments = "x" * 10_000_000
        for _ in range(10):
            yield 0xFF00, answer

    remote, _ = odd_archive(replies=flood)
    with takes_less_than(20), pytest.raises(AssociationFailed, match="sends far more than it was asked for"):
        find_reports(remote, CALLING, PATIENT, by="c-get")


def test_silence_in_a_search_ends_in_time(odd_archive):
    done = threading.Event()

    def hang(_event, _level):
        done.wait(30)
        yield 0x0000, None

    remote, _ = odd_archive(replies=hang)
    with takes_less_than(10), pytest.raises(AssociationFailed, match=r"took more than 1 s|gave no answer"):
        find_reports(remote, CALLING, PATIENT, by="c-get", within_s=1)
    done.set()


def drip(_event, level):
    answer = Dataset()
    answer.QueryRetrieveLevel = level
    for _ in range(100):
        time.sleep(0.3)
        yield 0xFF00, answer


def test_answers_that_drip_end_in_time(odd_archive):
    remote, _ = odd_archive(replies=drip)
    with takes_less_than(10), pytest.raises(AssociationFailed, match="took more than 2 s"):
        find_reports(remote, CALLING, PATIENT, by="c-get", within_s=2)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    return Authority.new(tmp_path_factory.mktemp("hospital"), "hospital")


def test_an_archive_is_asked_over_tls_and_cut_off_in_time_there_too(odd_archive, new_report, hospital):
    files = hospital.issue("archive")
    plain, archive = odd_archive(
        reports=[new_report(1)], tls=server_context(files, require_client_certificate=False)
    )
    remote = replace(plain, host="localhost", tls=client_context(TLSFiles(ca=files.ca)))
    assert uids_of(find_reports(remote, CALLING, PATIENT, by="c-get").encoded) == [uid_of(new_report(1))]
    archive.replies = drip
    with takes_less_than(10), pytest.raises(AssociationFailed, match="took more than 2 s"):
        find_reports(remote, CALLING, PATIENT, by="c-get", within_s=2)


def test_an_abort_in_a_search_is_a_failure(odd_archive):
    def abort(event, _level):
        event.assoc.abort()
        yield 0x0000, None

    remote, _ = odd_archive(replies=abort)
    with pytest.raises(AssociationFailed, match="broke off or gave no answer to C-FIND"):
        find_reports(remote, CALLING, PATIENT, by="c-get")


@pytest.mark.parametrize(
    "answer",
    [
        {"StudyInstanceUID": "2.25.1\\2.25.2"},
        {"StudyInstanceUID": "*"},
        {"StudyInstanceUID": "../../etc"},
        {"StudyInstanceUID": ""},
        {"PatientID": "P-1\\P-2"},
        {"ModalitiesInStudy": "DX"},
    ],
)
def test_answers_that_name_no_one_thing_are_passed_over(odd_archive, answer):
    def reply(_event, level):
        assert level == "STUDY"
        found = Dataset()
        found.QueryRetrieveLevel, found.PatientID, found.StudyInstanceUID = level, "P-1", "2.25.1"
        for keyword, value in answer.items():
            setattr(found, keyword, value)
        yield 0xFF00, found

    remote, archive = odd_archive(replies=reply)
    assert find_reports(remote, CALLING, PATIENT, by="c-get") == FoundReports()
    assert len(archive.asked) == 1


# --- retrieval ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0xA701, 0xA702, 0xA900, 0xC000])
def test_a_retrieval_that_is_refused_says_how(odd_archive, new_report, status):
    remote, _ = odd_archive(reports=[new_report(1)], gives=list, end=status)
    with pytest.raises(SearchRefused, match=f"refused C-GET with 0x{status:04X}") as caught:
        find_reports(remote, CALLING, PATIENT, by="c-get")
    assert caught.value.transient == (status in (0xA701, 0xA702))


def test_a_warning_does_not_cost_what_came(odd_archive, new_report):
    remote, _ = odd_archive(reports=[new_report(1)], end=0xB000)
    assert uids_of(find_reports(remote, CALLING, PATIENT, by="c-get").encoded) == [uid_of(new_report(1))]


def test_one_series_that_is_refused_does_not_cost_the_others(odd_archive, new_report):
    reports = [new_report(1), new_report(2)]
    remote, archive = odd_archive(reports=reports)
    wanted = archive._wanted
    archive._wanted = lambda event: [d for d in wanted(event) if d.SOPInstanceUID != uid_of(reports[1])]
    assert uids_of(find_reports(remote, CALLING, PATIENT, by="c-get").encoded) == [uid_of(reports[0])]


def test_what_nobody_asked_for_is_not_taken(odd_archive, new_report):
    reports = [new_report(1), new_report(2)]
    remote, archive = odd_archive(reports=reports[:1])
    archive.gives = lambda: [dcmread(BytesIO(report)) for report in reports]
    assert uids_of(find_reports(remote, CALLING, PATIENT, by="c-get").encoded) == [uid_of(reports[0])]


def test_another_instance_under_the_name_asked_for_is_not_taken(odd_archive, new_report, encoded):
    swapped = dcmread(BytesIO(new_report(4, patient=PatientIdentity("P-10", "HOSPITAL", "19700102"))))
    swapped.SOPInstanceUID = swapped.file_meta.MediaStorageSOPInstanceUID = uid_of(new_report(1))
    remote, archive = odd_archive(reports=[new_report(1)])
    archive.gives = lambda: [swapped]
    assert find_reports(remote, CALLING, PATIENT, by="c-get") == FoundReports()


def test_a_report_that_is_far_too_large_is_not_taken(odd_archive, new_report):
    large = dcmread(BytesIO(new_report(1)))
    large.add_new(0x00204000, "LT", "x" * 9_000_000)
    remote, archive = odd_archive(reports=[new_report(1)])
    archive.gives = lambda: [large]
    with pytest.raises(AssociationFailed, match="sends far more than it was asked for"):
        find_reports(remote, CALLING, PATIENT, by="c-get")


def test_a_destination_that_the_archive_does_not_know_is_explained(odd_archive, new_report):
    remote, _ = odd_archive(reports=[new_report(1)], destination=None)
    with pytest.raises(SearchRefused, match="0xA801: let it know CXRWORKER as a destination"):
        find_reports(remote, CALLING, PATIENT, by="c-move")


def test_what_an_archive_fails_to_send_is_not_said_to_be_sent(odd_archive, new_report, start_node, received):
    node = start_node(ae_title=CALLING)
    remote, archive = odd_archive(
        reports=[new_report(1), new_report(2)], destination=("127.0.0.1", node.port)
    )
    assert set(find_reports(remote, CALLING, PATIENT, by="c-move").moved) == set(uids_of(archive.reports))
    assert {instance.sop_instance_uid for instance in received} == set(uids_of(archive.reports))
    archive.destination = ("127.0.0.1", start_node(allowed_calling_ae_titles=()).port)
    with pytest.raises(SearchRefused, match="refused C-MOVE"):
        find_reports(remote, CALLING, PATIENT, by="c-move")


def test_no_log_line_names_a_patient(odd_archive, new_report, caplog):
    caplog.set_level(logging.DEBUG)
    patient = PatientIdentity(SECRET, "HOSPITAL", "19700102")
    remote, _ = odd_archive(reports=[new_report(1, patient=patient)])
    assert len(find_reports(remote, CALLING, patient, by="c-get").encoded) == 1
    assert SECRET not in caplog.text


# --- a web server that does not go by the book ----------------------------------------------------


class OddServer(ThreadingHTTPServer):
    """A DICOMweb server that holds ``reports``, goes by no key, and misbehaves as ``replies`` says."""

    daemon_threads = True

    def __init__(self, reports):
        self.reports = [dcmread(BytesIO(report)) for report in reports]
        self.files = {str(d.SOPInstanceUID): r for d, r in zip(self.reports, reports, strict=True)}
        self.asked = []
        self.replies = None
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def remote(self):
        return RemoteWeb(f"http://127.0.0.1:{self.server_address[1]}/dicom-web", timeout_s=5.0)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        parts = urlsplit(self.path)
        path = parts.path.removeprefix("/dicom-web/").split("/")
        self.server.asked.append((path, parse_qs(parts.query)))
        if self.server.replies is not None and self.server.replies(self, path):
            return
        if len(path) == 6:
            self.give(self.server.files[path[5]])
        else:
            self.answer(self.found(path))

    def found(self, path):
        keys = [keyword for keyword in _RETURNED if keyword != "ModalitiesInStudy"]
        return [
            {
                f"{tag_for_keyword(keyword):08X}": {"Value": [_json_value(dataset[keyword])]}
                for keyword in keys
                if keyword in dataset
            }
            for dataset in self.server.reports
            if len(path) < 3 or dataset.StudyInstanceUID == path[1]
        ]

    def answer(self, found, status=200):
        self.reply(json.dumps(found).encode(), "application/dicom+json", status)

    def give(self, report):
        body = b"--gap\r\nContent-Type: application/dicom\r\n\r\n" + report + b"\r\n--gap--\r\n"
        self.reply(body, 'multipart/related; type="application/dicom"; boundary=gap')

    def reply(self, body, content_type, status=200):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *_):
        pass


_RETURNED = (
    "PatientID", "IssuerOfPatientID", "PatientBirthDate", "StudyDate", "StudyInstanceUID", "Modality",
    "SeriesNumber", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID",
)  # fmt: skip


def _json_value(element):
    return int(element.value) if element.VR == "IS" else str(element.value)


@pytest.fixture
def odd_server():
    servers = []

    def start(reports=()):
        server = OddServer(reports)
        servers.append((server, threading.Thread(target=server.serve_forever)))
        servers[-1][1].start()
        return server

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_server_that_ignores_every_key_gives_ours_only(odd_server, new_report, foreign_report):
    ours, others = everything(new_report, foreign_report)
    server = odd_server([*others, *ours])
    found = find_reports_on_web(server.remote, PATIENT)
    assert found == tuple(ours[::-1])
    fetched = {path[5] for path, _ in server.asked if len(path) == 6}
    # what its answers show to be another's is not even fetched
    assert fetched == set(uids_of([*ours, others[3]]))


@pytest.mark.parametrize("patient_id", ["山田-1", "Ä 1/2&x=y#%", "1,2;3+4"])
def test_odd_patient_ids_reach_a_server(odd_server, new_report, patient_id):
    patient = PatientIdentity(patient_id, "HOSPITAL", "19700102")
    server = odd_server([new_report(9, patient=patient, SpecificCharacterSet="ISO_IR 192")])
    assert len(find_reports_on_web(server.remote, patient)) == 1
    path, asked = server.asked[0]
    assert path == ["studies"]
    assert (asked["PatientID"], asked["ModalitiesInStudy"]) == ([patient_id], ["SR"])


@pytest.mark.parametrize("http_status", [400, 405, 501])
def test_a_search_that_a_server_does_not_offer_is_named(odd_server, http_status):
    server = odd_server()
    server.replies = lambda handler, path: handler.answer([], http_status) is None
    with pytest.raises(SearchRefused, match=rf"does not offer search \(QIDO-RS\) \(HTTP {http_status}\)"):
        find_reports_on_web(server.remote, PATIENT)


@pytest.mark.parametrize(
    ("http_status", "words"),
    [(401, "credentials"), (403, "allow it there"), (404, "URL"), (503, "see its log")],
)
def test_a_call_that_a_server_refuses_is_a_failure(odd_server, http_status, words):
    server = odd_server()
    server.replies = lambda handler, path: handler.answer([{"x": SECRET}], http_status) is None
    with pytest.raises(AssociationFailed, match=words) as caught:
        find_reports_on_web(server.remote, PATIENT)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"3", b'"studies"', b"null", b"{}", b"[3, null, []]", b'[{"0020000D": {"Value": 7}}]', b"<html>", b"",
        b"[" * 100_000, b'[{"0020000D": {"Value": [{"a": [1]}]}, "00100020": {"Value": ["P-1"]}}]',
    ],
)  # fmt: skip
def test_answers_that_are_none_are_no_reports(odd_server, body):
    server = odd_server()
    server.replies = lambda handler, path: handler.reply(body, "application/dicom+json") is None
    try:
        assert find_reports_on_web(server.remote, PATIENT) == ()
    except AssociationFailed as failure:
        assert "does not answer as a DICOMweb server" in str(failure)  # noqa: PT017 - either will do


def test_endless_bodies_are_cut_off(odd_server, new_report):
    def flood(handler, path):
        if len(path) < 6:
            return False
        handler.give(b"x" * 9_000_000)
        return True

    server = odd_server([new_report(1)])
    server.replies = flood
    with pytest.raises(AssociationFailed, match=r"cannot be reached|does not answer"):
        find_reports_on_web(server.remote, PATIENT)


def test_a_server_that_drips_ends_in_time(odd_server, new_report):
    def drip(handler, path):
        time.sleep(0.5)
        return False

    server = odd_server([new_report(number) for number in range(1, 9)])
    server.replies = drip
    with (
        takes_less_than(10),
        pytest.raises(AssociationFailed, match="no answer within 2 s"),
    ):
        find_reports_on_web(server.remote, PATIENT, within_s=2)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ('multipart/related; type="application/dicom"; boundary=gap', b"no part"),
        ('multipart/related; type="application/dicom"; boundary=gap', b"--gap\r\n\r\nno end"),
        ("multipart/related", b"--gap\r\n\r\nno boundary\r\n--gap--"),
        ("text/html", b"<html>"),
    ],
)
def test_a_body_that_holds_no_report_is_passed_over(odd_server, new_report, content_type, body):
    def reply(handler, path):
        if len(path) < 6:
            return False
        handler.reply(body, content_type)
        return True

    server = odd_server([new_report(1)])
    server.replies = reply
    assert find_reports_on_web(server.remote, PATIENT) == ()


def test_a_report_in_a_body_of_one_part_is_taken(odd_server, new_report):
    def reply(handler, path):
        if len(path) < 6:
            return False
        handler.reply(new_report(1), "application/dicom")
        return True

    server = odd_server([new_report(1)])
    server.replies = reply
    assert find_reports_on_web(server.remote, PATIENT) == (new_report(1),)


def test_what_is_gone_meanwhile_is_left_out(odd_server, new_report):
    def gone(handler, path):
        if len(path) < 6 or path[5] != uid_of(new_report(2)):
            return False
        handler.answer([], 404)
        return True

    server = odd_server([new_report(1), new_report(2)])
    server.replies = gone
    assert find_reports_on_web(server.remote, PATIENT) == (new_report(1),)


def test_no_log_line_of_a_web_search_names_a_patient(odd_server, new_report, caplog):
    def broken_headers(handler, path):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nno header\r\n\r\n[]")
        handler.close_connection = True
        return True

    caplog.set_level(logging.DEBUG)
    patient = PatientIdentity(SECRET, "HOSPITAL", "19700102")
    server = odd_server([new_report(1, patient=patient)])
    assert len(find_reports_on_web(server.remote, patient)) == 1
    server.replies = broken_headers
    assert find_reports_on_web(server.remote, patient) == ()
    assert SECRET not in caplog.text
