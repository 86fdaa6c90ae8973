import logging
import socket
import struct
import threading
import time
from contextlib import contextmanager
from io import BytesIO

import pytest
from pydicom import dcmread, uid
from pynetdicom import AE, build_context, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
    Verification,
)

from dicom_node.assessment import DOCUMENT_SOP_CLASSES
from dicom_node.errors import DicomNodeError, MismatchedInstance
from dicom_node.storage_scp import CannotListen, NodeSettings, StorageSCP
from dicom_node.storage_scu import RemoteAE, echo, store
from dicom_node.transfer_syntaxes import TRANSFER_SYNTAXES, UNCOMPRESSED

ANYONE = ("*",)
OTHERWISE_ENCODED = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)


@pytest.fixture
def node(start_node):
    return start_node()


@contextmanager
def association(port, contexts, calling="MODALITY", called="CXRWORKER"):
    ae = AE(calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    connections = []
    handlers = [(evt.EVT_ACSE_SENT, lambda event: connections.append(event.assoc.dul.socket.socket))]
    opened = ae.associate("127.0.0.1", port, contexts, called, evt_handlers=handlers)
    try:
        yield opened
    finally:
        opened.release()
        for connection in connections:
            connection.close()


def split(film):
    """Return file meta information and the encoded data set of a PS3.10 file."""
    meta = dcmread(BytesIO(film)).file_meta
    return meta, film[144 + meta.FileMetaInformationGroupLength :]


def send_raw(port, data_set, sop_class, sop_instance, syntax=uid.ExplicitVRLittleEndian, context=None):
    """Send any bytes under any names, as a broken or hostile sender would."""
    with association(port, [build_context(context or sop_class, syntax)]) as opened:
        assert opened.is_established
        request = C_STORE()
        request.MessageID = 1
        request.Priority = 2
        request.AffectedSOPClassUID = sop_class
        request.AffectedSOPInstanceUID = sop_instance
        request.DataSet = BytesIO(data_set)
        opened._reactor_checkpoint.clear()
        opened.dimse.send_msg(request, opened.accepted_contexts[0].context_id)
        _, answer = opened.dimse.get_msg(block=True)
        opened._reactor_checkpoint.set()
        return answer.Status, answer.ErrorComment


# --- what comes in ------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", sorted(set(TRANSFER_SYNTAXES) - set(OTHERWISE_ENCODED)))
def test_bytes_are_kept_exactly_as_sent_in_every_transfer_syntax(node, received, make_film, syntax):
    # the pixel data need not be of the syntax: nothing may look at them
    explicit = make_film()
    meta, data_set = split(explicit)
    status, _ = send_raw(
        node.port, data_set, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, syntax
    )
    assert status == 0x0000
    got_meta, got_data_set = split(received[0].encoded)
    assert got_data_set == data_set
    assert got_meta.TransferSyntaxUID == syntax
    assert got_meta.MediaStorageSOPInstanceUID == meta.MediaStorageSOPInstanceUID


def test_identity_is_handed_on(node, received, make_film, storescu, tmp_path):
    path = tmp_path / "film.dcm"
    path.write_bytes(make_film())
    sent = storescu(node.port, path, calling="ROOM1")
    assert sent.returncode == 0, sent.stderr
    (instance,) = received
    film = dcmread(path)
    assert instance.sop_class_uid == film.SOPClassUID
    assert instance.sop_instance_uid == film.SOPInstanceUID
    assert instance.study_instance_uid == film.StudyInstanceUID
    assert instance.series_instance_uid == film.SeriesInstanceUID
    assert instance.calling_ae_title == "ROOM1"
    assert instance.received_at.utcoffset().total_seconds() == 0
    assert dcmread(BytesIO(instance.encoded)) == film


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, *OTHERWISE_ENCODED])
def test_dcmtk_sends_every_encoding(node, received, make_film, storescu, tmp_path, syntax):
    path = tmp_path / "film.dcm"
    path.write_bytes(make_film(syntax))
    sent = storescu(node.port, path)
    assert sent.returncode == 0, sent.stderr
    assert dcmread(BytesIO(received[0].encoded)).PixelData == dcmread(path).PixelData
    assert dcmread(BytesIO(received[0].encoded)).file_meta.TransferSyntaxUID == syntax


@pytest.mark.parametrize(
    "sop_class",
    [
        ComputedRadiographyImageStorage,
        DigitalXRayImageStorageForPresentation,
        DigitalXRayImageStorageForProcessing,
        SecondaryCaptureImageStorage,
    ],
)
def test_every_radiograph_class_is_taken(node, received, make_film, sop_class):
    film = make_film(SOPClassUID=sop_class)
    (outcome,) = store(RemoteAE("CXRWORKER", "127.0.0.1", node.port), "MODALITY", [film])
    assert outcome.status == 0x0000
    assert received[0].sop_class_uid == sop_class


def test_echo(node):
    echo(RemoteAE("CXRWORKER", "127.0.0.1", node.port), "MODALITY")


def test_several_associations_at_once(start_node, make_film, received):
    node = start_node(maximum_associations=8)
    films = [make_film() for _ in range(8)]
    remote = RemoteAE("CXRWORKER", "127.0.0.1", node.port)
    threads = [threading.Thread(target=store, args=(remote, f"ROOM{k}", [films[k]])) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {instance.sop_instance_uid for instance in received} == {
        dcmread(BytesIO(film)).SOPInstanceUID for film in films
    }


# --- what each answer means ---------------------------------------------------------------------


def test_success_is_answered_only_after_accept_has_returned(start_node, make_film):
    order = []

    def accept(_instance):
        time.sleep(0.3)
        order.append("kept")

    node = start_node(accept)
    (outcome,) = store(RemoteAE("CXRWORKER", "127.0.0.1", node.port), "MODALITY", [make_film()])
    order.append("answered")
    assert outcome.status == 0x0000
    assert order == ["kept", "answered"]


class _PeerGone(DicomNodeError):
    transient = True


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OSError(28, "No space left on device"), 0xA700),
        (RuntimeError("PatientName Doe^Jane"), 0xA700),
        (_PeerGone("later"), 0xA700),
        (MismatchedInstance("not what it says"), 0xA900),
        (DicomNodeError("never"), 0xC000),
    ],
)
def test_what_accept_raises_decides_the_status(start_node, make_film, caplog, error, status):
    def accept(_instance):
        raise error

    node = start_node(accept)
    film = make_film()
    meta, data_set = split(film)
    uids = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    answered, comment = send_raw(node.port, data_set, *uids)
    assert answered == status
    assert 0 < len(comment) <= 64
    assert "Doe" not in comment + caplog.text
    assert uids[1] in caplog.text


def test_a_failure_does_not_end_the_association(start_node, make_film, received):
    films = [make_film(), make_film()]

    def accept(instance):
        received.append(instance)
        if len(received) == 1:
            raise OSError(28, "No space left on device")

    node = start_node(accept)
    outcomes = store(RemoteAE("CXRWORKER", "127.0.0.1", node.port), "MODALITY", films)
    assert [outcome.status for outcome in outcomes] == [0xA700, 0x0000]


def test_another_instance_than_announced_is_invalid(node, make_film, received):
    meta, data_set = split(make_film())
    status, comment = send_raw(node.port, data_set, meta.MediaStorageSOPClassUID, "1.2.3.4")
    assert status == 0x0117
    assert "SOP Instance UID" in comment
    assert received == []


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("wrong", ["../../../etc/passwd", "1.2.3.abc", "1.02.3"])
def test_a_malformed_uid_is_invalid(node, make_film, received, wrong):
    right = "1.2.3." + "9" * (len(wrong) - 6)
    _, data_set = split(make_film(SOPInstanceUID=right))
    data_set = data_set.replace(right.encode(), wrong.encode())
    status, comment = send_raw(node.port, data_set, DigitalXRayImageStorageForPresentation, wrong)
    assert status == 0x0117
    assert "not a valid UID" in comment
    assert received == []


def test_another_sop_class_than_announced_is_a_mismatch(node, make_film, received):
    meta, data_set = split(make_film(SOPClassUID=CTImageStorage))
    status, comment = send_raw(
        node.port, data_set, DigitalXRayImageStorageForPresentation, meta.MediaStorageSOPInstanceUID
    )
    assert (status, comment) == (0xA900, "SOP Class UID of request and data set differ")
    assert received == []


def test_a_class_smuggled_through_another_context_is_a_mismatch(node, make_film, received):
    meta, data_set = split(make_film(SOPClassUID=CTImageStorage))
    status, _ = send_raw(
        node.port,
        data_set,
        CTImageStorage,
        meta.MediaStorageSOPInstanceUID,
        context=DigitalXRayImageStorageForPresentation,
    )
    assert status == 0xA900
    assert received == []


def test_a_study_without_a_uid_is_a_mismatch(node, make_film, received):
    meta, data_set = split(make_film(StudyInstanceUID=None))
    status, comment = send_raw(
        node.port, data_set, DigitalXRayImageStorageForPresentation, meta.MediaStorageSOPInstanceUID
    )
    assert (status, comment) == (0xA900, "Study Instance UID is missing or empty")
    assert received == []


def test_bytes_that_are_no_data_set_cannot_be_understood(node, received):
    status, comment = send_raw(node.port, b"\x89PNG" * 99, ComputedRadiographyImageStorage, "1.2.3")
    assert status == 0xC000
    assert comment
    assert received == []


# --- who may call, and with what ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "calling", "served"),
    [
        (("*",), "ANY", True),
        (("ROOM1", "ROOM2"), "ROOM2", True),
        (("ROOM1 ",), "ROOM1", True),
        (("ROOM1",), "room1", False),
        (("ROOM1",), "ROOM2", False),
        ((), "ROOM1", False),
    ],
)
def test_allow_list(start_node, caplog, allowed, calling, served):
    node = start_node(allowed_calling_ae_titles=allowed)
    with association(node.port, [build_context(Verification)], calling=calling) as opened:
        assert opened.is_established is served
        if not served:
            answer = opened.acceptor.primitive
            # rejected permanent, by the service user, calling AE title not recognised
            assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, 3)
            assert f"{calling} may not send here" in caplog.text


def test_a_caller_who_cannot_be_examined_is_refused(start_node):
    node = start_node(allowed_calling_ae_titles=(None,))  # makes the examination fail
    with association(node.port, [build_context(Verification)]) as opened:
        assert opened.is_rejected


def test_a_health_check_that_is_refused_is_no_warning(start_node, caplog):
    caplog.set_level(logging.DEBUG)
    node = start_node(allowed_calling_ae_titles=("ROOM1",))
    with association(node.port, [build_context(Verification)], calling="CXRWORKER") as opened:
        assert opened.is_rejected
    (record,) = [record for record in caplog.records if "association refused" in record.message]
    assert record.levelno == logging.DEBUG


@pytest.mark.parametrize(("required", "served"), [(False, True), (True, False)])
def test_called_ae_title(start_node, required, served):
    node = start_node(require_called_ae_title=required)
    with association(node.port, [build_context(Verification)], called="OTHER") as opened:
        assert opened.is_established is served
        if not served:
            answer = opened.acceptor.primitive
            assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, 7)
    echo(RemoteAE("CXRWORKER", "127.0.0.1", node.port), "MODALITY")


def test_association_limit(start_node):
    node = start_node(maximum_associations=2)
    verification = [build_context(Verification)]
    with association(node.port, verification) as first, association(node.port, verification) as second:
        assert first.is_established
        assert second.is_established
        with association(node.port, verification) as third:
            answer = third.acceptor.primitive
            # rejected transient, by the presentation service, local limit exceeded
            assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
    # a place is free again as soon as one has ended
    for _ in range(5):
        echo(RemoteAE("CXRWORKER", "127.0.0.1", node.port), "MODALITY")


def test_other_classes_are_refused_and_explained_in_one_line(node, make_film, caplog, received):
    caplog.set_level(logging.INFO)
    film = make_film(SOPClassUID=CTImageStorage)
    (outcome,) = store(RemoteAE("CXRWORKER", "127.0.0.1", node.port), "SCANNER", [film])
    assert not outcome.succeeded
    assert not outcome.transient
    assert "does not accept CT Image Storage" in outcome.comment
    lines = [record for record in caplog.records if "CT Image Storage: not accepted" in record.message]
    assert len(lines) == 1
    assert lines[0].message.startswith("SCANNER offered CT Image Storage")
    assert lines[0].levelno == logging.WARNING
    assert received == []


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
@pytest.mark.parametrize("sop_class", sorted(DOCUMENT_SOP_CLASSES))
def test_every_document_class_is_taken_uncompressed(node, make_film, received, sop_class, syntax):
    document = make_film(syntax, SOPClassUID=sop_class, PixelData=None, Rows=None, Columns=None)
    (outcome,) = store(RemoteAE("CXRWORKER", "127.0.0.1", node.port), "READER", [document])
    assert outcome.status == 0x0000
    assert received[0].sop_class_uid == sop_class
    assert split(received[0].encoded)[1] == split(document)[1]


@pytest.mark.parametrize("sop_class", sorted(DOCUMENT_SOP_CLASSES))
def test_dcmtk_sends_every_document(node, received, make_film, storescu, tmp_path, sop_class):
    document = make_film(SOPClassUID=sop_class, PixelData=None, Rows=None, Columns=None)
    path = tmp_path / "document.dcm"
    path.write_bytes(document)
    assert storescu(node.port, path).returncode == 0
    assert [instance.sop_class_uid for instance in received] == [sop_class]
    assert split(received[0].encoded)[1] == split(document)[1]


def test_a_document_is_not_taken_compressed(node):
    contexts = [build_context(uid.ComprehensiveSRStorage, uid.JPEGLosslessSV1), build_context(Verification)]
    with association(node.port, contexts) as opened:
        assert [context.abstract_syntax for context in opened.rejected_contexts] == [
            uid.ComprehensiveSRStorage
        ]


@pytest.mark.parametrize(
    "sop_class", [uid.GrayscaleSoftcopyPresentationStateStorage, uid.SegmentationStorage, uid.CTImageStorage]
)
def test_what_is_neither_radiograph_nor_document_is_not_negotiated(node, sop_class):
    with association(node.port, [build_context(Verification), build_context(sop_class)]) as opened:
        assert [context.abstract_syntax for context in opened.rejected_contexts] == [sop_class]


# --- peers that misbehave -----------------------------------------------------------------------


def _connect_and_close(port):
    for _ in range(50):
        socket.create_connection(("127.0.0.1", port)).close()


def _send_garbage(port):
    for payload in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff" * 4096,
        b"\x01\0\xff\xff\xff\xff",
        b"\x01\0\0\0\0\x04zzzz",
    ):
        with socket.create_connection(("127.0.0.1", port)) as peer:
            peer.sendall(payload)


def _send_huge_request_header(port):
    # an A-ASSOCIATE-RQ that announces 4 GiB and starts to deliver
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(b"\x01\0\xff\xff\xff\xff" + bytes(100_000))


def _open_and_say_nothing(port):
    peers = [socket.create_connection(("127.0.0.1", port)) for _ in range(10)]
    time.sleep(0.2)
    for peer in peers:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()


def _abort_in_the_middle(port):
    with association(port, [build_context(DigitalXRayImageStorageForPresentation)]) as opened:
        wire = opened.dul.socket.socket
        # P-DATA-TF with a data-set fragment that is not the last one, then the connection is cut
        wire.sendall(b"\x04\0\0\0\x10\0" + b"\0\0\x0f\xfc\x01\0" + bytes(500))
        opened.abort()


HARMS = [
    _connect_and_close,
    _send_garbage,
    _send_huge_request_header,
    _open_and_say_nothing,
    _abort_in_the_middle,
]


@pytest.mark.parametrize("harm", HARMS)
def test_peers_that_misbehave_leave_the_node_serving(start_node, make_film, received, harm):
    node = start_node(maximum_associations=2, association_timeout_s=1.0)
    harm(node.port)
    (outcome,) = store(RemoteAE("CXRWORKER", "127.0.0.1", node.port), "MODALITY", [make_film()])
    assert outcome.status == 0x0000
    assert len(received) == 1


def test_silent_connections_take_no_association_and_are_closed(start_node):
    node = start_node(maximum_associations=2, association_timeout_s=0.5)
    silent = [socket.create_connection(("127.0.0.1", node.port), timeout=10) for _ in range(6)]
    try:
        echo(RemoteAE("CXRWORKER", "127.0.0.1", node.port), "MODALITY")
        for peer in silent:
            while peer.recv(4096):  # what comes before the end of the stream may be an A-ABORT
                pass
    finally:
        for peer in silent:
            peer.close()


def test_a_sender_that_stops_in_the_middle_is_dropped(start_node):
    node = start_node(network_timeout_s=0.5)
    with association(node.port, [build_context(DigitalXRayImageStorageForPresentation)]) as opened:
        opened.dul.socket.socket.sendall(b"\x04\0\0\0\x10\0")
        deadline = time.monotonic() + 5
        while opened.is_established and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not opened.is_established


def test_requests_beyond_the_largest_instance_are_cut_off(start_node, make_film, received, caplog):
    node = start_node(maximum_instance_bytes=1_000_000)
    remote = RemoteAE("CXRWORKER", "127.0.0.1", node.port, timeout_s=10)
    large = make_film(Rows=1000, Columns=1000, PixelData=bytes(2_000_000))
    (outcome,) = store(remote, "MODALITY", [large])
    assert outcome.status is None
    assert "raise the largest instance size" in caplog.text
    # the limit holds for each request, not for the association
    small = [make_film(Rows=500, Columns=400, PixelData=bytes(400_000)) for _ in range(4)]
    assert all(outcome.succeeded for outcome in store(remote, "MODALITY", small))
    assert len(received) == 4


# --- starting and stopping ----------------------------------------------------------------------


def test_a_port_in_use_is_explained(node):
    with pytest.raises(
        CannotListen, match=r"cannot listen on 127\.0\.0\.1:\d+ \(Address already in use\): choose"
    ):
        StorageSCP(NodeSettings(port=node.port), print).start()


def test_stopping_lets_a_running_store_finish_and_takes_no_new_one(start_node, make_film, received):
    begun = threading.Event()

    def accept(instance):
        begun.set()
        time.sleep(0.5)
        received.append(instance)

    node = start_node(accept, shutdown_grace_s=5.0)
    port = node.port
    outcomes = []

    def send():
        outcomes.extend(store(RemoteAE("CXRWORKER", "127.0.0.1", port), "MODALITY", [make_film()]))

    sender = threading.Thread(target=send)
    sender.start()
    assert begun.wait(5)
    node.stop()
    sender.join(10)
    assert [outcome.status for outcome in outcomes] == [0x0000]
    assert len(received) == 1
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))


def test_every_accepted_file_of_the_data_folder_arrives(start_node, received, storescu, cxr_dataset):
    node = start_node()
    sent = 0
    for path in sorted((cxr_dataset / "dicom").glob("c[rx]_*.dcm")):
        header = dcmread(path, stop_before_pixels=True, force=True)
        if path.stem == "cr_chest_truncated" or header.file_meta.TransferSyntaxUID == uid.JPEGLossless:
            continue  # storescu itself cannot read or propose these
        result = storescu(node.port, path)
        assert result.returncode == 0, (path.name, result.stderr)
        sent += 1
        assert received[-1].sop_instance_uid == header.SOPInstanceUID
    assert sent >= 15
