"""Our earlier reports, found in Orthanc by either way, and in archives that do not go by the book."""

from io import BytesIO

import pytest
from pydicom import dcmread

from dicom_node.association import RemoteAE
from dicom_node.errors import SearchRefused
from dicom_node.identity import SERIES_NUMBERS
from dicom_node.prior import PatientIdentity, ReportBasis
from dicom_node.prior_search import FoundReports, find_reports, find_reports_on_web
from dicom_node.report_context import ReportContext
from dicom_node.report_settings import ReportSettings
from dicom_node.storage_scu import store
from dicom_node.structured_report import build_structured_report
from dicom_node.web_session import RemoteWeb

CALLING = "CXRWORKER"
PATIENT = PatientIdentity("P-1", "HOSPITAL", "19700102")
SECRET = "P-4711-secret"


@pytest.fixture(scope="module")
def new_report(new_film, film_of, severity_of, created_at, encoded):
    """Build a report of ours: ``new_report(number, sr_class=, Keyword=value, ...)``."""

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
