"""Who may connect and associate, when storage is refused for now, and what a PACS may report to us."""

import json
import logging
import queue
import socket
import urllib.request

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, DigitalXRayImageStorageForPresentation
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from dicom_node.errors import AssociationFailed
from dicom_node.peers import AddressList, OncePerMinute, plain_address, printable
from dicom_node.storage_commitment import CommitmentResult, references, request_commitment
from dicom_node.storage_scp import NodeSettings, StorageSCP
from dicom_node.storage_scu import RemoteAE, echo, store
from tests.conftest import wait_until

DX = DigitalXRayImageStorageForPresentation


def remote(node, host="127.0.0.1"):
    return RemoteAE("CXRWORKER", host, node.port, timeout_s=10.0)


# --- addresses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "address", "held"),
    [
        ((), "203.0.113.9", True),
        (("10.0.0.5",), "10.0.0.5", True),
        (("10.0.0.5",), "10.0.0.6", False),
        (("10.1.0.0/16", "192.168.7.0/24"), "192.168.7.255", True),
        (("10.1.2.3/16",), "10.1.255.255", True),
        (("10.1.0.0/16",), "10.2.0.0", False),
        (("10.0.0.5",), "::ffff:10.0.0.5", True),
        (("::ffff:10.0.0.5",), "10.0.0.5", True),
        (("::ffff:10.1.0.0/112",), "10.1.9.9", True),
        (("::ffff:10.1.0.0/112",), "10.2.0.0", False),
        (("fd00::/8",), "fd12::1", True),
        (("fe80::/10",), "fe80::1%eth0", True),
        (("fd00::/8",), "10.0.0.5", False),
        (("0.0.0.0/0",), "::1", False),
        (("::1",), "::1", True),
        (("10.0.0.5",), "no address", False),
    ],
)
def test_addresses(texts, address, held):
    assert (address in AddressList(texts)) is held


@pytest.mark.parametrize("text", ["pacs.example", "10.0.0", "10.0.0.0/33", "", "10.0.0.1-9"])
def test_what_is_no_address_is_said(text):
    with pytest.raises(ValueError, match="is no address or network: write"):
        StorageSCP(NodeSettings(allowed_addresses=(text,)), print)


def test_other_addresses_are_closed_before_anything_is_read(start_node, received, make_film, caplog):
    node = start_node(allowed_addresses=("10.0.0.0/8", "fd00::/8"))
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", node.port), timeout=10) as peer:
            assert peer.recv(1) == b""
    with pytest.raises(AssociationFailed):
        store(remote(node), "MODALITY", [make_film()])
    lines = [record.getMessage() for record in caplog.records if record.name == "dicom_node.listener"]
    assert lines == ["connection from 127.0.0.1 closed: add it to the allowed addresses if it should"]
    assert received == []


@pytest.mark.parametrize("allowed", [("127.0.0.1",), ("127.0.0.0/8", "10.0.0.0/8"), ("::ffff:127.0.0.1",)])
def test_allowed_addresses_are_served(start_node, allowed):
    echo(remote(start_node(allowed_addresses=allowed)), "MODALITY")


def test_ipv4_callers_of_an_ipv6_node(start_node, caplog):
    if not socket.has_ipv6:
        pytest.skip("this host has no IPv6")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this host has no IPv6")
    node = start_node(host="::", allowed_addresses=("127.0.0.0/8",))
    echo(remote(node), "MODALITY")
    with pytest.raises(AssociationFailed):
        echo(remote(node, "::1"), "MODALITY")
    assert "connection from ::1 closed" in caplog.text


# --- the log ------------------------------------------------------------------------------------


def test_nobody_can_fill_the_log():
    news = OncePerMinute(period_s=0.2, maximum_keys=3)
    assert [news.is_due("a", "x"), news.is_due("a", "x"), news.is_due("a", "y")] == [True, False, True]
    assert [news.is_due(str(number)) for number in range(5)] == [True, False, False, False, False]
    wait_until(lambda: news.is_due("a", "x"), 10)
    assert [news.is_due(str(number)) for number in range(10, 15)].count(True) == 2


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("ROOM1 ", "ROOM1"),
        ("A\nB\r\x1b[31m\0", "A?B??[31m?"),
        ("Größe\u2028x", "Gr??e?x"),
        ("A" * 20, "A" * 16 + "..."),
        (None, "None"),
    ],
)
def test_what_peers_say_is_printed_safely(said, shown):
    assert printable(said, 16) == shown


def test_refusals_do_not_fill_the_log(start_node, caplog):
    node = start_node(allowed_calling_ae_titles=("ROOM1",))
    for _ in range(5):
        with pytest.raises(AssociationFailed):
            echo(remote(node), "ROOM2")
    lines = [record for record in caplog.records if "ROOM2 may not send here" in record.getMessage()]
    assert len(lines) == 1


def test_a_long_offer_makes_one_short_line(start_node, caplog):
    caplog.set_level(logging.INFO)
    node = start_node()
    ae = AE("SCANNER")
    for number in range(100):
        ae.add_requested_context(f"1.2.3.{number}")
    ae.associate("127.0.0.1", node.port)
    (line,) = [record.getMessage() for record in caplog.records if "not accepted" in record.getMessage()]
    assert len(line) < 400
    assert "and 92 more" in line


def test_an_address_without_its_zone():
    assert str(plain_address("fe80::1%eth0")) == "fe80::1"


# --- no room for now ----------------------------------------------------------------------------


def test_storage_is_refused_for_now(start_node, received, make_film, caplog):
    reasons = ["the disk is nearly full"]
    node = start_node(refuse=lambda: reasons[0] if reasons else None, confirm=lambda _result: True)
    ae = AE("MODALITY")
    ae.acse_timeout = 10
    for contexts in ([DX], [Verification, DX], [CTImageStorage]):
        association = ae.associate("127.0.0.1", node.port, [build_context(uid) for uid in contexts])
        answer = association.acceptor.primitive
        # rejected transient, by the presentation service, temporary congestion (PS3.8 table 9-21)
        assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 1)
    assert "MODALITY is to come again later: the disk is nearly full" in caplog.text
    echo(remote(node), "MODALITY")
    assert _report(node, _information("1.2.3")) == 0x0000
    reasons.clear()
    (outcome,) = store(remote(node), "MODALITY", [make_film()])
    assert outcome.succeeded
    assert len(received) == 1


def test_a_running_association_is_told_to_send_again(start_node, received, make_film, caplog):
    reasons = [None, None, "the disk is nearly full", None]
    node = start_node(refuse=lambda: reasons.pop(0))
    outcomes = store(remote(node), "MODALITY", [make_film() for _ in range(3)])
    assert [outcome.status for outcome in outcomes] == [0x0000, 0xA700, 0x0000]
    assert outcomes[1].transient
    assert "refused with 0xA700: the disk is nearly full" in caplog.text
    assert len(received) == 2


def test_a_disk_that_cannot_be_asked_is_no_room(start_node, received, make_film, caplog):
    def refuse():
        raise OSError(5, "Input/output error")

    node = start_node(refuse=refuse)
    with pytest.raises(AssociationFailed, match=r"refused the association \(Temporary congestion"):
        store(remote(node), "MODALITY", [make_film()])
    assert "it is not known whether there is room (OSError (Input/output error)" in caplog.text
    assert received == []


# --- storage commitment -------------------------------------------------------------------------


def _information(transaction_uid, committed=("1.2.3.1",), failed=()):
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = [_item(instance) for instance in committed]
    if failed:
        information.FailedSOPSequence = [_item(instance, 0x0112) for instance in failed]
    return information


def _item(instance, reason=None):
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = DX, instance
    if reason is not None:
        item.FailureReason = reason
    return item


def _report(node, information, event_type=1, roles=True):
    """Report as a PACS does; return the status of the answer, None without one."""
    ae = AE("PACS")
    ae.acse_timeout = ae.dimse_timeout = 10
    ae.add_requested_context(StorageCommitmentPushModel)
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    association = ae.associate("127.0.0.1", node.port, ext_neg=[role] if roles else [])
    if not association.is_established:
        return None
    try:
        answer, _ = association.send_n_event_report(
            information, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        return answer.get("Status")
    finally:
        association.release()


def test_results_of_storage_commitment_are_heard(start_node):
    heard = []
    node = start_node(confirm=lambda result: heard.append(result) or True)
    assert _report(node, _information("1.2.3")) == 0x0000
    assert _report(node, _information("1.2.4", ["1.2.3.1"], ["1.2.3.2"]), 2) == 0x0000
    assert heard == [
        CommitmentResult("1.2.3", frozenset({"1.2.3.1"}), {}),
        CommitmentResult("1.2.4", frozenset({"1.2.3.1"}), {"1.2.3.2": 0x0112}),
    ]


@pytest.mark.parametrize(
    ("confirm", "transaction_uid", "event_type", "status"),
    [
        (lambda _result: False, "1.2.3", 1, 0x0115),
        (lambda _result: 1 / 0, "1.2.3", 1, 0x0110),
        (lambda _result: True, "", 1, 0x0115),
        (lambda _result: True, "1.2.3", 7, 0x0113),
    ],
)
def test_other_results_are_answered_too(start_node, confirm, transaction_uid, event_type, status):
    node = start_node(confirm=confirm)
    assert _report(node, _information(transaction_uid), event_type) == status
    echo(remote(node), "MODALITY")


def test_without_confirm_it_is_not_offered(start_node):
    assert _report(start_node(), _information("1.2.3")) is None


def test_orthanc_reports_to_the_node(orthanc, start_node, make_film):
    heard = queue.SimpleQueue()
    node = start_node(confirm=lambda result: heard.put(result) or True)
    address = f"{orthanc.url}/modalities/cxrworker"
    body = json.dumps({"AET": "CXRWORKER", "Host": "127.0.0.1", "Port": node.port}).encode()
    urllib.request.urlopen(urllib.request.Request(address, body, method="PUT"), timeout=10).close()
    films = [make_film(), make_film()]
    pacs = RemoteAE(orthanc.ae_title, "127.0.0.1", orthanc.dicom_port)
    try:
        assert all(outcome.succeeded for outcome in store(pacs, "CXRWORKER", films))
        request_commitment(pacs, "CXRWORKER", "1.2.826.7.1", references(films), 0.0)
        result = heard.get(timeout=60)
    finally:
        urllib.request.urlopen(urllib.request.Request(address, method="DELETE"), timeout=10).close()
    held = frozenset(instance for _, instance in references(films))
    assert result == CommitmentResult("1.2.826.7.1", held, {})


def test_a_report_on_an_association_that_also_stores(start_node, received, make_film):
    heard = []
    node = start_node(confirm=lambda result: heard.append(result) or True)
    ae = AE("PACS")
    ae.acse_timeout = ae.dimse_timeout = 10
    contexts = [build_context(StorageCommitmentPushModel), build_context(Verification)]
    connections = []
    handlers = [(evt.EVT_ACSE_SENT, lambda event: connections.append(event.assoc.dul.socket.socket))]
    association = ae.associate("127.0.0.1", node.port, contexts, evt_handlers=handlers)
    for number in range(3):
        answer, _ = association.send_n_event_report(
            _information(f"1.2.{number}"), 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        assert answer.Status == 0x0000
        assert association.send_c_echo().Status == 0x0000
    association.release()
    assert [result.transaction_uid for result in heard] == ["1.2.0", "1.2.1", "1.2.2"]
