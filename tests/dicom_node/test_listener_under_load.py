"""Many callers, slow callers, silent callers and hostile ones: each hurts itself and nobody else."""

import contextlib
import gc
import os
import socket
import struct
import threading
import time
from pathlib import Path

import pytest
from pydicom.uid import DigitalXRayImageStorageForPresentation
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from dicom_node.errors import AssociationFailed
from dicom_node.storage_scu import RemoteAE, echo, store
from tests.conftest import wait_until

DX = DigitalXRayImageStorageForPresentation
ACCEPTED, REJECTED, ABORTED = b"\x02", b"\x03", b"\x07"
RELEASE = b"\x05\0\0\0\0\x04\0\0\0\0"


def remote(node):
    return RemoteAE("CXRWORKER", "127.0.0.1", node.port, timeout_s=10.0)


def stores(node, film):
    (outcome,) = store(remote(node), "MODALITY", [film])
    return outcome.succeeded


# --- PDUs by hand -------------------------------------------------------------------------------


def associate_rq(classes=(Verification, DX, StorageCommitmentPushModel), calling="HOSTILE", maximum=16382):
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = calling, "CXRWORKER"
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received, implementation.implementation_class_uid = maximum, "1.2.3"
    primitive.user_information = [length, implementation]
    for number, sop_class in enumerate(classes):
        context = build_context(sop_class)
        context.context_id = 2 * number + 1
        primitive.presentation_context_definition_list.append(context)
    return A_ASSOCIATE_RQ(primitive).encode()


def item(kind, content):
    return struct.pack(">BBH", kind, 0, len(content)) + content


def context_item(number, abstract=b"1.2.840.10008.1.1", transfer=(b"1.2.840.10008.1.2",)):
    syntaxes = b"".join(item(0x40, syntax) for syntax in transfer)
    return item(0x20, bytes([number, 0, 0, 0]) + item(0x30, abstract) + syntaxes)


USER = item(0x51, struct.pack(">I", 16382)) + item(0x52, b"1.2.3")


def raw_rq(items, calling=b"HOSTILE"):
    titles = b"CXRWORKER".ljust(16) + calling.ljust(16)
    body = b"\0\1\0\0" + titles + bytes(32) + item(0x10, b"1.2.840.10008.3.1.1.1") + items
    return b"\x01\0" + struct.pack(">I", len(body)) + body


def p_data(*values):
    content = b"".join(struct.pack(">I", len(value)) + value for value in values)
    return b"\x04\0" + struct.pack(">I", len(content)) + content


def command(field, sop_class=b"1.2.840.10008.1.1\0", context=1, more=b""):
    content = struct.pack("<HHI", 0, 2, len(sop_class)) + sop_class
    for element, value in ((0x100, field), (0x110, 1), (0x800, 0x0101)):
        content += struct.pack("<HHIH", 0, element, 2, value)
    content += more
    return p_data(bytes([context, 3]) + struct.pack("<HHII", 0, 0, 4, len(content)) + content)


@contextlib.contextmanager
def connected(node):
    with socket.create_connection(("127.0.0.1", node.port), timeout=30) as peer:
        yield peer


def associated(node, **request):
    """Return a connection with an association, or with what the node answered instead."""
    peer = socket.create_connection(("127.0.0.1", node.port), timeout=30)
    peer.sendall(associate_rq(**request))
    try:
        answer = peer.recv(1)
        if answer == ACCEPTED:
            peer.recv(struct.unpack(">BI", peer.recv(5))[1], socket.MSG_WAITALL)
    except OSError:
        answer = b""
    return peer, answer


def read_to_the_end(peer):
    """Return what else the node says until it closes the connection; fails when it does not."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while data := peer.recv(65536):
            said += data
    return said


# --- hostile bytes ------------------------------------------------------------------------------

BEFORE_ASSOCIATION = {
    "a length of 4 GiB": b"\x01\0\xff\xff\xff\xff" + bytes(100_000),
    "a request of 2 MiB": b"\x01\0" + struct.pack(">I", 2**21) + bytes(100_000),
    "no request": b"\x01\0\0\0\0\0",
    "even context IDs": raw_rq(context_item(2) + item(0x50, USER)),
    "an item longer than the PDU": raw_rq(item(0x20, bytes(4))[:-2] + b"\xff" * 50),
    "a line break in the calling AE title": raw_rq(context_item(1) + item(0x50, USER), b"A\nB FORGED"),
    "an AE title that is no text": raw_rq(context_item(1) + item(0x50, USER), b"\xff\xfe\x80"),
    "an AE title of spaces": raw_rq(context_item(1) + item(0x50, USER), b" "),
    "data before the association": p_data(b"\x01\x03x"),
    "a release before the association": RELEASE,
    "an answer instead of a request": b"\x02" + associate_rq()[1:],
    "HTTP": b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n",
}

IN_ASSOCIATION = {
    "a second request": associate_rq(),
    "a value of no bytes": p_data(b""),
    "a value of one byte": p_data(b"\x01"),
    "a value longer than its PDU": b"\x04\0\0\0\0\x07\xff\xff\xff\xff\x01\x03a",
    "a command that is none": p_data(b"\x01\x03" + b"\xff" * 50),
    "an endless command": p_data(b"\x01\x01" + bytes(60_000)) * 4,
    "thousands of fragments": p_data(*[b"\x01\x01"] * 5000),
    "data without end": p_data(b"\x03\0" + bytes(500_000)) * 12,
    "a PDU of 4 GiB": b"\x04\0\xff\xff\xff\xff" + bytes(100_000),
    "a PDU of 17 MiB": b"\x04\0" + struct.pack(">I", 17 * 2**20) + bytes(100_000),
    "a release of 4 GiB": b"\x05\0\xff\xff\xff\xff" + bytes(100_000),
    "an operation that nobody knows": command(0x7777),
    "a query": command(0x20),
    "a request in a context that is none": command(0x30, context=99),
    "a class with a line break": command(0x30, b"9.9.9\nFORGED"),
}

UNTIL_SILENT = {
    "thousands of presentation contexts": raw_rq(context_item(1) * 16_000 + item(0x50, USER)),
    "50,000 transfer syntaxes": raw_rq(
        b"".join(context_item(2 * k + 1, transfer=[b"1.2.3.4"] * 500) for k in range(100)) + item(0x50, USER)
    ),
    "thousands of user information items": raw_rq(context_item(1) + item(0x50, USER) * 20_000),
    "thousands of roles": raw_rq(
        context_item(1) + item(0x50, USER + item(0x54, b"\0\x051.2.3\x01\x01") * 4000)
    ),
    "no presentation context": raw_rq(item(0x50, USER)),
    "a class name with a line break": raw_rq(context_item(1, b"1.2\nFORGED") + item(0x50, USER)),
}


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:End of file reached")
@pytest.mark.parametrize("hostile", [*BEFORE_ASSOCIATION, *IN_ASSOCIATION, *UNTIL_SILENT])
def test_hostile_bytes_end_their_own_connection_only(start_node, make_film, received, caplog, hostile):
    timeouts = {"network_timeout_s": 1.0, "association_timeout_s": 5.0}
    node = start_node(maximum_instance_bytes=5_000_000, confirm=lambda _result: True, **timeouts)
    begun, go_on = threading.Event(), threading.Event()
    outcomes = []

    def accept(instance):
        begun.set()
        assert go_on.wait(30)
        received.append(instance)

    node._accept = accept
    sender = threading.Thread(target=lambda: outcomes.extend(store(remote(node), "MODALITY", [make_film()])))
    sender.start()
    assert begun.wait(30)
    if hostile in IN_ASSOCIATION:
        peer, answer = associated(node)
        assert answer == ACCEPTED
        payload = IN_ASSOCIATION[hostile]
    else:
        peer = socket.create_connection(("127.0.0.1", node.port), timeout=30)
        payload = (BEFORE_ASSOCIATION | UNTIL_SILENT)[hostile]
    with peer:
        with contextlib.suppress(ConnectionError):
            peer.sendall(payload)
        read_to_the_end(peer)
    go_on.set()
    sender.join(30)
    assert [outcome.status for outcome in outcomes] == [0x0000]
    ours = [record for record in caplog.records if record.name.startswith("dicom_node")]
    assert not [record for record in ours if record.exc_info or "\n" in record.getMessage()]


def test_an_association_that_ends_while_it_owes_an_answer_leaves_nothing_behind(start_node, make_film):
    begun, go_on = threading.Event(), threading.Event()

    def accept(_instance):
        begun.set()
        assert go_on.wait(30)

    node = start_node(accept)
    sender = threading.Thread(target=store, args=(remote(node), "MODALITY", [make_film()]))
    sender.start()
    assert begun.wait(30)
    # what pynetdicom does when it has waited for too long: it waits for the connection's own thread to end
    (association,) = node._server._open
    ending = threading.Thread(target=association.kill, daemon=True)
    ending.start()
    ending.join(20)
    assert not ending.is_alive()
    go_on.set()
    sender.join(30)


def test_a_declared_length_is_not_allocated(start_node):
    node = start_node()
    peer, _ = associated(node)
    before = _resident_bytes()
    with peer:
        peer.sendall(b"\x04\0" + struct.pack(">I", 500 * 2**20) + bytes(1000))
        read_to_the_end(peer)
    assert _resident_bytes() - before < 50 * 2**20


def _resident_bytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("maximum", [1, 6])
def test_a_caller_that_can_receive_nothing_is_let_go(start_node, make_film, maximum):
    node = start_node()
    peer, answer = associated(node, maximum=maximum)
    assert answer == ACCEPTED
    with peer:
        peer.sendall(command(0x30))
        read_to_the_end(peer)
    assert stores(node, make_film())


def test_requests_sent_without_waiting_are_answered_one_after_the_other(start_node):
    most = []

    def confirm(_result):
        raise AssertionError("no report here is well-formed")

    node = start_node(confirm=confirm)
    peer, _ = associated(node)
    threads = threading.active_count()
    instance = b"1.2.840.10008.1.20.1.1"
    report = struct.pack("<HHI", 0, 0x1000, len(instance)) + instance
    report += struct.pack("<HHIH", 0, 0x1002, 2, 1)
    with peer:
        # pynetdicom starts a thread for each of these
        for _ in range(60):
            peer.sendall(command(0x100, b"1.2.840.10008.1.20.1", 5, report))
            peer.sendall(command(0x30))
            most.append(threading.active_count())
        peer.sendall(RELEASE)
        answers = read_to_the_end(peer)
    assert answers.count(b"\x02\0\0\0\x30\x80") == 60  # command field of the C-ECHO response
    assert max(most) <= threads + 2


# --- too many, too slow, too silent -------------------------------------------------------------


def test_silent_connections_keep_nobody_out(start_node, make_film):
    node = start_node(maximum_associations=2, association_timeout_s=60.0)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(connected(node)) for _ in range(100)]
        # beyond the limit the oldest of them go first
        for _ in range(5):
            echo(remote(node), "MODALITY")
            assert stores(node, make_film())
        assert read_to_the_end(silent[0]) == b""


def test_a_storm_is_weathered(start_node, make_film, received, caplog):
    node = start_node(maximum_associations=5)
    answers, ready, barrier = [], [], threading.Barrier(201, timeout=60)

    def call():
        barrier.wait()
        try:
            peer, answer = associated(node, classes=[Verification])
        except OSError:
            answers.append(b"")
            return
        answers.append(answer)
        with peer:
            if answer == ACCEPTED:
                peer.sendall(RELEASE)
            read_to_the_end(peer)

    callers = [threading.Thread(target=call) for _ in range(200)]
    for caller in callers:
        caller.start()
    barrier.wait()
    while any(caller.is_alive() for caller in callers):
        # what the health check asks: it goes on as long as anything is answered
        association = _ask_as_ourselves(node)
        ready.append(association.is_established or association.is_rejected)
        association.release()
    for caller in callers:
        caller.join(60)
    assert len(answers) == 200
    assert set(answers) <= {ACCEPTED, REJECTED, b""}
    assert answers.count(ACCEPTED) >= 5
    assert all(ready)
    assert stores(node, make_film())
    refusals = [record for record in caplog.records if "refused" in record.getMessage()]
    assert len(refusals) <= 2  # one for the storm, one perhaps of ourselves


def _ask_as_ourselves(node):
    ae = AE("CXRWORKER")
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = 30
    ae.add_requested_context(Verification)
    return ae.associate("127.0.0.1", node.port)


def test_the_association_that_is_idle_for_longest_makes_room(start_node, make_film, caplog):
    node = start_node(maximum_associations=3, idle_s=0.3)
    peers = [associated(node, calling=f"IDLE{number}") for number in range(3)]
    assert [answer for _, answer in peers] == [ACCEPTED] * 3
    wait_until(lambda: stores(node, make_film()), 10, "room")
    said = peers[0][0].recv(10)
    assert said[:1] in (ABORTED, b"")
    assert "association with IDLE0 aborted: idle for" in caplog.text
    for peer, _ in peers[1:]:
        peer.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.recv(1)  # the others live on
    for peer, _ in peers:
        peer.close()


def test_a_busy_association_is_never_the_one_to_go(start_node, make_film, received):
    begun, go_on = threading.Event(), threading.Event()

    def accept(instance):
        begun.set()
        assert go_on.wait(30)
        received.append(instance)

    node = start_node(accept, maximum_associations=1, idle_s=0.0)
    outcomes = []
    sender = threading.Thread(target=lambda: outcomes.extend(store(remote(node), "MODALITY", [make_film()])))
    sender.start()
    assert begun.wait(30)
    with pytest.raises(AssociationFailed, match="refused"):
        store(remote(node), "OTHER", [make_film()])
    go_on.set()
    sender.join(30)
    assert [outcome.status for outcome in outcomes] == [0x0000]


def test_a_request_that_trickles_in_is_ended(start_node, make_film, caplog):
    node = start_node(slow_request_s=1.0, network_timeout_s=30.0)
    peer, _ = associated(node)
    with peer:
        peer.sendall(b"\x04\0\0\x01\0\0")
        with contextlib.suppress(ConnectionError):
            for _ in range(400):
                peer.sendall(b"\0")
                time.sleep(0.02)
            pytest.fail("a byte every 20 ms was borne with")
    assert "are too slow" in caplog.text
    assert stores(node, make_film())


def test_a_request_to_associate_that_trickles_in_is_ended(start_node, caplog):
    node = start_node(association_timeout_s=1.0, network_timeout_s=30.0)
    with connected(node) as peer, contextlib.suppress(ConnectionError):
        for byte in associate_rq() * 2:
            peer.sendall(bytes([byte]))
            time.sleep(0.01)
        pytest.fail("a byte every 10 ms was borne with")
    wait_until(lambda: "its request to associate took more than 1 s" in caplog.text, 10)


def test_memory_is_shared_out(start_node, make_film, caplog):
    node = start_node(maximum_instance_bytes=1_000_000, maximum_buffered_bytes=0)
    half = p_data(b"\x03\0" + bytes(600_000))
    first, _ = associated(node)
    with first:
        first.sendall(half)
        wait_until(lambda: node._server.limits.has_memory() and _held(node) > 600_000, 10, "half an instance")
        second, _ = associated(node)
        with second, contextlib.suppress(ConnectionError):
            second.sendall(half)
            read_to_the_end(second)
        assert "all connections together wait for answers to 2000000 bytes" in caplog.text
        assert _held(node) > 600_000
    wait_until(lambda: _held(node) == 0, 10, "the memory to be given back")
    assert stores(node, make_film(Rows=600, Columns=700, PixelData=bytes(840_000)))


def _held(node):
    return sum(association.dul.socket.held_bytes for association in node._server._open)


# --- nothing is left behind ---------------------------------------------------------------------


def _scan_ports(node, _film):
    for _ in range(100):
        socket.create_connection(("127.0.0.1", node.port)).close()


def _scan_ports_and_reset(node, _film):
    for _ in range(100):
        peer = socket.create_connection(("127.0.0.1", node.port))
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()


def _abort(node, _film):
    for _ in range(20):
        peer, _ = associated(node)
        peer.sendall(b"\x07\0\0\0\0\x04\0\0\0\0")
        peer.close()


def _cut_off(node, _film):
    for _ in range(20):
        peer, _ = associated(node)
        peer.sendall(p_data(b"\x03\0" + bytes(100_000))[:50_000])
        peer.close()


def _store(node, film):
    for _ in range(10):
        assert stores(node, film)


def _half_open(node, _film):
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connected(node)).sendall(b"\x01\0")


@pytest.mark.parametrize("burden", [_scan_ports, _scan_ports_and_reset, _abort, _cut_off, _store, _half_open])
def test_threads_and_files_return_to_what_they_were(start_node, make_film, burden):
    node = start_node(association_timeout_s=5.0)
    echo(remote(node), "MODALITY")
    film = make_film()
    wait_until(lambda: threading.active_count() == _count_without(node), 10, "a quiet node")
    threads, files, associations = threading.active_count(), _open_files(), _live_associations()
    for _ in range(2):
        burden(node, film)
    wait_until(lambda: threading.active_count() <= threads and _open_files() <= files, 30, "quiet")
    wait_until(
        lambda: _live_associations() <= associations, 30, "the memory of associations to be given back"
    )


def _live_associations():
    gc.collect()
    return sum(type(found) is Association for found in gc.get_objects())


def _open_files():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _count_without(node):
    return sum(1 for thread in threading.enumerate() if thread not in node._server.active_associations)
