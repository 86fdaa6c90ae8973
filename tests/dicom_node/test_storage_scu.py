import socket
import threading
from io import BytesIO

import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from dicom_node.errors import AssociationFailed, UndecodableInstance
from dicom_node.storage_scu import RemoteAE, StoreOutcome, echo, store

CALLING = "CXRWORKER"


@pytest.fixture
def remote(loopback_pacs):
    return RemoteAE(loopback_pacs.ae_title, "127.0.0.1", loopback_pacs.port, timeout_s=5.0)


def uid_of(film):
    return dcmread(BytesIO(film)).SOPInstanceUID


def data_set_of(film):
    return film[144 + dcmread(BytesIO(film)).file_meta.FileMetaInformationGroupLength :]


# --- statuses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "succeeded", "warning", "transient"),
    [
        (0x0000, True, False, False),
        (0x0001, True, True, False),
        (0x0107, True, True, False),
        (0x0116, True, True, False),
        (0xB000, True, True, False),
        (0xB006, True, True, False),
        (0xB007, True, True, False),
        (0x0111, True, True, False),
        (None, False, False, True),
        (0xA700, False, False, True),
        (0xA7FF, False, False, True),
        (0x0110, False, False, True),
        (0x0213, False, False, True),
        (0xA900, False, False, False),
        (0xC000, False, False, False),
        (0xCFFF, False, False, False),
        (0x0117, False, False, False),
        (0x0122, False, False, False),
        (0x0124, False, False, False),
        (0x0210, False, False, False),
        (0x0211, False, False, False),
        (0x0212, False, False, False),
        (0xFE00, False, False, False),
        (0x1234, False, False, False),
    ],
)
def test_what_a_status_means(status, succeeded, warning, transient):
    outcome = StoreOutcome("1.2.3", status)
    assert (outcome.succeeded, outcome.warning, outcome.transient) == (succeeded, warning, transient)


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xA700, 0xC123])
def test_the_peers_answer_is_reported(loopback_pacs, remote, make_film, status):
    loopback_pacs.statuses[uid.DigitalXRayImageStorageForPresentation] = status
    film = make_film()
    assert store(remote, CALLING, [film]) == (StoreOutcome(uid_of(film), status),)


# --- bytes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "syntax",
    [
        uid.ExplicitVRLittleEndian,
        uid.ImplicitVRLittleEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
    ],
)
def test_bytes_arrive_as_they_are(loopback_pacs, remote, make_film, syntax):
    film = make_film(syntax)
    (outcome,) = store(remote, CALLING, [film])
    assert outcome.succeeded
    (stored,) = loopback_pacs.files
    assert data_set_of(stored) == data_set_of(film)
    assert loopback_pacs.datasets[0].file_meta.TransferSyntaxUID == syntax


def test_a_peer_with_implicit_little_endian_only_gets_that(loopback_pacs, remote, make_film):
    loopback_pacs.syntaxes = [uid.ImplicitVRLittleEndian]
    loopback_pacs.restart()
    films = [make_film(), make_film(uid.DeflatedExplicitVRLittleEndian)]
    assert all(outcome.succeeded for outcome in store(remote, CALLING, films))
    for film, stored in zip(films, loopback_pacs.datasets, strict=True):
        assert stored.file_meta.TransferSyntaxUID == uid.ImplicitVRLittleEndian
        assert stored.PixelData == dcmread(BytesIO(film)).PixelData
        assert stored.PatientName == "Synthetic^Film"


def test_what_cannot_be_rewritten_without_loss_is_refused(loopback_pacs, remote, make_film):
    loopback_pacs.syntaxes = [uid.ImplicitVRLittleEndian]
    loopback_pacs.restart()
    film = make_film(uid.ExplicitVRBigEndian)
    (outcome,) = store(remote, CALLING, [film])
    assert outcome.status == 0x0122
    assert not outcome.transient
    assert (
        "does not accept Digital X-Ray Image Storage - For Presentation in Explicit VR Big" in outcome.comment
    )


def test_orthanc_keeps_them(orthanc, make_film):
    films = [make_film(), make_film(SOPClassUID=uid.SecondaryCaptureImageStorage)]
    remote = RemoteAE(orthanc.ae_title, "127.0.0.1", orthanc.dicom_port)
    assert [outcome.status for outcome in store(remote, CALLING, films)] == [0, 0]
    assert {dataset.SOPInstanceUID for dataset in orthanc.datasets()} == {uid_of(film) for film in films}
    echo(remote, CALLING)


# --- one outcome for each instance --------------------------------------------------------------


def test_nothing_to_send_opens_no_association():
    assert store(RemoteAE("NOBODY", "127.0.0.1", 1), CALLING, []) == ()


def test_a_refused_class_does_not_keep_the_others_back(loopback_pacs, remote, make_film):
    loopback_pacs.refused = {uid.SecondaryCaptureImageStorage}
    loopback_pacs.restart()
    films = [make_film(SOPClassUID=uid.SecondaryCaptureImageStorage), make_film()]
    refused, stored = store(remote, CALLING, films)
    assert stored.succeeded
    assert (refused.sop_instance_uid, refused.status) == (uid_of(films[0]), 0x0122)
    assert refused.comment == f"{remote} does not accept Secondary Capture Image Storage"
    assert not refused.transient
    assert len(loopback_pacs.files) == 1


def test_only_refused_classes_are_a_verdict_too(loopback_pacs, remote, make_film):
    loopback_pacs.refused = {uid.SecondaryCaptureImageStorage}
    loopback_pacs.restart()
    (outcome,) = store(remote, CALLING, [make_film(SOPClassUID=uid.SecondaryCaptureImageStorage)])
    assert outcome.status == 0x0122
    assert not outcome.transient


def test_an_abort_half_way_leaves_an_outcome_for_each(loopback_pacs, remote, make_film):
    loopback_pacs.abort_after = 1
    films = [make_film() for _ in range(3)]
    first, second, third = store(remote, CALLING, films)
    assert first.status == 0x0000
    assert [second.status, third.status] == [None, None]
    assert second.transient
    assert "gave no answer" in second.comment
    assert third.transient
    assert "broke off the association before this instance" in third.comment
    assert [outcome.sop_instance_uid for outcome in (first, second, third)] == [
        uid_of(film) for film in films
    ]


def test_what_is_no_file_is_not_sent(loopback_pacs, remote, make_film):
    with pytest.raises(UndecodableInstance):
        store(remote, CALLING, [make_film(), b"not a PS3.10 file"])
    assert loopback_pacs.files == []


# --- no association -----------------------------------------------------------------------------


def test_echo_succeeds(remote):
    assert echo(remote, CALLING) is None


def test_nobody_there(make_film):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        remote = RemoteAE("NOBODY", "127.0.0.1", held.getsockname()[1], timeout_s=2.0)
        with pytest.raises(
            AssociationFailed, match=r"NOBODY@127\.0\.0\.1:\d+ cannot be reached.*: check"
        ) as caught:
            store(remote, CALLING, [make_film()])
        assert caught.value.transient
        with pytest.raises(AssociationFailed):
            echo(remote, CALLING)


def test_an_unknown_host_is_named():
    with pytest.raises(AssociationFailed, match="host name"):
        echo(RemoteAE("NOBODY", "no-such-host.invalid", 104), CALLING)


def test_a_refused_association_says_whom_to_make_known(loopback_pacs, remote, make_film):
    loopback_pacs.callers = ["SOMEBODY"]
    loopback_pacs.restart()
    with pytest.raises(AssociationFailed, match=r"Calling AE title not recognised\): let it know CXRWORKER"):
        store(remote, CALLING, [make_film()])


def test_a_peer_that_never_answers_is_given_up(make_film):
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []
        thread = threading.Thread(target=lambda: held.append(server.accept()))
        thread.start()
        remote = RemoteAE("SILENT", "127.0.0.1", server.getsockname()[1], timeout_s=0.5)
        with pytest.raises(AssociationFailed, match="does not speak DICOM"):
            store(remote, CALLING, [make_film()])
        thread.join()
        held[0][0].close()


@pytest.mark.parametrize("after", ["half an answer to the request to associate", "half an answer to C-ECHO"])
def test_a_peer_that_stops_in_the_middle_of_a_pdu_is_given_up(after):
    def answer(server):
        peer, _ = server.accept()
        held.append(peer)
        request = peer.recv(65536)
        if "C-ECHO" in after:
            # PS3.8 9.3.3: the same titles, and the one context accepted in Implicit VR Little Endian
            context = b"\x21\0\0\x19\x01\0\0\0\x40\0\0\x111.2.840.10008.1.2"
            user = b"\x50\0\0\x11\x51\0\0\x04\0\0\x40\0\x52\0\0\x051.2.3"
            body = request[6:74] + b"\x10\0\0\x151.2.840.10008.3.1.1.1" + context + user
            peer.sendall(b"\x02\0" + len(body).to_bytes(4, "big") + body)
            peer.recv(65536)
            peer.sendall(b"\x04\0\0\0\x01\0\0")
        else:
            peer.sendall(b"\x02\0\0\0\x01\0\0")
        answered.set()

    held, answered = [], threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer, args=(server,))
        thread.start()
        with pytest.raises(AssociationFailed):
            echo(RemoteAE("STUCK", "127.0.0.1", server.getsockname()[1], timeout_s=0.5), CALLING)
        thread.join()
        assert answered.is_set()
        held[0].close()


def test_what_a_peer_remarks_about_a_patient_is_not_repeated(make_film, caplog):
    def refuse(_event):
        answer = Dataset()
        answer.Status, answer.ErrorComment = 0xC000, "Doe^Jane has another ID here"
        return answer

    ae = AE("PACS")
    ae.add_supported_context(uid.DigitalXRayImageStorageForPresentation, uid.ExplicitVRLittleEndian)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, refuse)])
    remote = RemoteAE("PACS", "127.0.0.1", server.server_address[1], timeout_s=5.0)
    try:
        (outcome,) = store(remote, CALLING, [make_film()])
    finally:
        server.shutdown()
    assert outcome.status == 0xC000
    assert "Doe" not in f"{outcome} {caplog.text}"
