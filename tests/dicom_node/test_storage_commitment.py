"""Storage commitment with pynetdicom as a PACS of every temper, and with Orthanc."""

import json
import queue
import socket
import threading
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from dicom_node.association import RemoteAE
from dicom_node.commitment_report import MAXIMUM_REFERENCES, MAXIMUM_REPORT_BYTES, TRANSFER_SYNTAXES
from dicom_node.errors import AssociationFailed, CommitmentRefused, InvalidInstance, UndecodableInstance
from dicom_node.storage_commitment import (
    CommitmentResult,
    answer_report,
    offers_commitment,
    read_commitment,
    references,
    request_commitment,
)
from dicom_node.storage_scu import store

CALLING = "CXRWORKER"
SR, SC = uid.ComprehensiveSRStorage, uid.SecondaryCaptureImageStorage
REPORT, CAPTURE = (str(SR), "1.2.826.1.1"), (str(SC), "1.2.826.1.2")
TRANSACTION = "1.2.826.2.1"
LONG_S = 3600.0


def information(transaction_uid, succeeded=(), failed=(), reason=0x0110):
    """Build a PACS's event information."""
    dataset = Dataset()
    dataset.TransactionUID = transaction_uid
    for keyword, pairs in (("ReferencedSOPSequence", succeeded), ("FailedSOPSequence", failed)):
        items = []
        for sop_class, instance in pairs:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
            if keyword == "FailedSOPSequence" and reason is not None:
                item.FailureReason = reason
            items.append(item)
        if items:
            setattr(dataset, keyword, items)
    return dataset


def all_committed(transaction_uid, asked):
    return [(1, information(transaction_uid, succeeded=asked))]


@dataclass
class CommittingPACS:
    """A PACS that answers N-ACTION with ``status`` and then says what ``says`` returns, if anything.

    ``before`` sends the reports before the N-ACTION's answer; ``then`` is done to the association
    afterwards. ``told`` receives the transaction UID and the pairs of each request, ``answers`` the
    statuses that the reports were answered with.
    """

    status: int = 0x0000
    says: object = staticmethod(lambda _transaction_uid, _asked: [])
    before: bool = False
    then: object = staticmethod(lambda _association: None)
    delay_s: float = 0.0
    _answering: bool = False
    contexts: tuple = (StorageCommitmentPushModel,)
    requests: list = field(default_factory=list)
    answers: queue.SimpleQueue = field(default_factory=queue.SimpleQueue)

    def start(self):
        ae = AE("PACS")
        for context in self.contexts:
            ae.add_supported_context(context)
        handlers = [
            (evt.EVT_N_ACTION, self._on_action),
            (evt.EVT_DIMSE_SENT, self._on_message),
            (evt.EVT_PDU_SENT, self._on_pdu),
        ]
        self._server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.threads = []
        return RemoteAE("PACS", "127.0.0.1", self._server.server_address[1], timeout_s=60.0)

    def stop(self):
        for thread in self.threads:
            thread.join(10)
        self._server.shutdown()
        for thread in threading.enumerate():
            if thread in self._server.active_associations:
                thread.join(5)

    def _on_action(self, event):
        asked = event.action_information
        pairs = tuple(
            (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
            for item in asked.ReferencedSOPSequence
        )
        self.requests.append((event.action_type, str(asked.TransactionUID), pairs))
        self._reports = self.says(str(asked.TransactionUID), pairs)
        if self.before:
            self._report(event.assoc)
        answer = Dataset()
        answer.Status = self.status
        if self.status:
            answer.ErrorComment = "Doe^Jane is not ours"
        return answer, None

    def _on_message(self, event):
        self._answering = type(event.message).__name__ == "N_ACTION_RSP" and not self.before

    def _on_pdu(self, event):
        if self._answering and isinstance(event.pdu, P_DATA_TF):
            self._answering = False
            thread = threading.Timer(self.delay_s, self._report, [event.assoc])
            self.threads.append(thread)
            thread.start()

    def _report(self, association):
        for event_type, dataset in self._reports:
            try:
                answer, _ = association.send_n_event_report(
                    dataset, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
                )
            except RuntimeError:
                break  # the association was released meanwhile
            self.answers.put(answer.get("Status"))
        self.then(association)


@pytest.fixture
def start_pacs():
    started = []

    def start(**options):
        pacs = CommittingPACS(**options)
        started.append(pacs)
        return pacs, pacs.start()

    yield start
    for pacs in started:
        pacs.stop()


# --- what is asked ------------------------------------------------------------------------------


def test_what_is_asked_for(start_pacs):
    pacs, remote = start_pacs(says=all_committed)
    request_commitment(remote, CALLING, TRANSACTION, [REPORT, CAPTURE, REPORT], LONG_S)
    assert pacs.requests == [(1, TRANSACTION, (REPORT, CAPTURE))]


@pytest.mark.parametrize("count", [0, MAXIMUM_REFERENCES + 1])
def test_too_little_and_too_much_is_not_asked(count):
    instances = [(str(SR), f"1.2.{number}") for number in range(count)]
    with pytest.raises(ValueError, match=f"{count} instances"):
        request_commitment(RemoteAE("NOBODY", "127.0.0.1", 1), CALLING, TRANSACTION, instances, 0.0)


def test_as_much_as_is_allowed_is_asked_and_answered(start_pacs):
    pacs, remote = start_pacs(says=all_committed)
    instances = [(str(SR), f"1.2.{'9' * 50}.{number}") for number in range(1, MAXIMUM_REFERENCES + 1)]
    result = request_commitment(remote, CALLING, TRANSACTION, instances, LONG_S)
    assert len(result.committed) == MAXIMUM_REFERENCES
    assert pacs.answers.get(timeout=10) == 0x0000


def test_references_are_read_from_the_files(make_film):
    films = [make_film(SOPInstanceUID="1.2.3"), make_film(SOPInstanceUID="1.2.4", SOPClassUID=SC)]
    assert references(films) == (
        (str(uid.DigitalXRayImageStorageForPresentation), "1.2.3"),
        (str(SC), "1.2.4"),
    )
    with pytest.raises(UndecodableInstance, match="no PS3"):
        references([*films, b"no file"])


@pytest.mark.parametrize(
    ("contexts", "offered"), [((StorageCommitmentPushModel,), True), ((Verification,), False)]
)
def test_whether_it_is_offered(start_pacs, contexts, offered):
    pacs, remote = start_pacs(contexts=contexts)
    assert offers_commitment(remote, CALLING) is offered
    assert pacs.requests == []


# --- the answer on the same association -----------------------------------------------------------


@pytest.mark.parametrize("before", [False, True], ids=["after the answer", "before the answer"])
def test_an_answer_on_the_same_association(start_pacs, before):
    pacs, remote = start_pacs(says=all_committed, before=before)
    result = request_commitment(remote, CALLING, TRANSACTION, [REPORT, CAPTURE], LONG_S)
    assert result == CommitmentResult(TRANSACTION, frozenset({REPORT[1], CAPTURE[1]}), {})
    assert pacs.answers.get(timeout=10) == 0x0000


def test_every_answer_is_acknowledged_before_the_release(start_pacs):
    pacs, remote = start_pacs(says=all_committed)
    for number in range(1, 16):
        assert request_commitment(remote, CALLING, f"1.2.{number}", [REPORT], LONG_S)
        assert pacs.answers.get(timeout=10) == 0x0000


def test_partial_failure(start_pacs):
    def says(transaction_uid, asked):
        return [(2, information(transaction_uid, asked[:1], asked[1:], reason=0x0112))]

    _, remote = start_pacs(says=says)
    result = request_commitment(remote, CALLING, TRANSACTION, [REPORT, CAPTURE], LONG_S)
    assert result == CommitmentResult(TRANSACTION, frozenset({REPORT[1]}), {CAPTURE[1]: 0x0112})


def test_an_answer_given_twice_counts_once(start_pacs):
    pacs, remote = start_pacs(says=lambda *said: all_committed(*said) * 2, before=True)
    result = request_commitment(remote, CALLING, TRANSACTION, [REPORT], LONG_S)
    assert result.committed == {REPORT[1]}
    assert [pacs.answers.get(timeout=10) for _ in range(2)] == [0x0000, 0x0000]


def test_an_answer_for_another_transaction_is_not_ours(start_pacs):
    def says(transaction_uid, asked):
        return all_committed("1.2.3.4", asked) + all_committed(transaction_uid, asked)

    pacs, remote = start_pacs(says=says)
    result = request_commitment(remote, CALLING, TRANSACTION, [REPORT], LONG_S)
    assert result.transaction_uid == TRANSACTION
    assert [pacs.answers.get(timeout=10) for _ in range(2)] == [0x0115, 0x0000]


def test_a_malformed_answer_is_refused_and_the_next_one_is_read(start_pacs, caplog):
    def says(transaction_uid, asked):
        return [(1, information("Doe^Jane", asked)), *all_committed(transaction_uid, asked)]

    pacs, remote = start_pacs(says=says)
    result = request_commitment(remote, CALLING, TRANSACTION, [REPORT], LONG_S)
    assert result.transaction_uid == TRANSACTION
    assert [pacs.answers.get(timeout=10) for _ in range(2)] == [0x0115, 0x0000]
    assert "malformed" in caplog.text
    assert "Doe" not in caplog.text


def test_the_association_waits_longer_than_an_answer_may_take(start_pacs):
    _, remote = start_pacs(says=all_committed, delay_s=2.5)
    impatient = RemoteAE(remote.ae_title, remote.host, remote.port, timeout_s=2.0)
    assert request_commitment(impatient, CALLING, TRANSACTION, [REPORT], LONG_S) is not None


# --- no answer here -------------------------------------------------------------------------------


def test_no_answer_in_time(start_pacs):
    pacs, remote = start_pacs()
    assert request_commitment(remote, CALLING, TRANSACTION, [REPORT], 0.05) is None
    assert len(pacs.requests) == 1


@pytest.mark.parametrize("then", ["release", "abort"])
def test_a_peer_that_ends_the_association_is_waited_for_no_longer(start_pacs, then):
    _, remote = start_pacs(then=lambda association: getattr(association, then)())
    assert request_commitment(remote, CALLING, TRANSACTION, [REPORT], LONG_S) is None


# pynetdicom, the PACS here, aborts twice when it is aborted while it waits for an answer
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_answers_that_collide_with_the_release_block_nobody(start_pacs):
    def says(_transaction_uid, asked):
        return all_committed("1.2.3.4", asked) * 500

    pacs, remote = start_pacs(says=says)
    impatient = RemoteAE(remote.ae_title, remote.host, remote.port, timeout_s=2.0)
    for wait_s in (0.0, 0.1):
        assert request_commitment(impatient, CALLING, TRANSACTION, [REPORT], wait_s) is None
    assert len(pacs.requests) == 2


# --- refused or failed ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "transient"),
    [(0x0110, True), (0x0213, True), (0x0112, False), (0x0124, False), (0xC001, False)],
)
def test_refused_by_status(start_pacs, caplog, status, transient):
    _, remote = start_pacs(status=status)
    with pytest.raises(CommitmentRefused, match=f"PACS@.* refused .* 0x{status:04X}") as caught:
        request_commitment(remote, CALLING, TRANSACTION, [REPORT], LONG_S)
    assert (caught.value.status, caught.value.transient) == (status, transient)
    assert "Doe" not in f"{caught.value}{caplog.text}"


def test_not_offered(start_pacs):
    _, remote = start_pacs(contexts=(Verification,))
    with pytest.raises(CommitmentRefused, match="does not offer storage commitment") as caught:
        request_commitment(remote, CALLING, TRANSACTION, [REPORT], LONG_S)
    assert caught.value.status is None
    assert not caught.value.transient


def test_a_peer_that_aborts_instead_of_answering(start_pacs):
    _, remote = start_pacs(before=True, then=lambda association: association.abort())
    with pytest.raises(AssociationFailed, match="gave no answer"):
        request_commitment(remote, CALLING, TRANSACTION, [REPORT], LONG_S)


def test_a_peer_that_never_answers(start_pacs):
    over = threading.Event()
    _, remote = start_pacs(says=lambda *_: over.wait(60) and [])
    silent = RemoteAE(remote.ae_title, remote.host, remote.port, timeout_s=2.0)
    try:
        with pytest.raises(AssociationFailed, match="gave no answer"):
            request_commitment(silent, CALLING, TRANSACTION, [REPORT], LONG_S)
    finally:
        over.set()


def test_nobody_there():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        remote = RemoteAE("NOBODY", "127.0.0.1", held.getsockname()[1], timeout_s=2.0)
        with pytest.raises(AssociationFailed, match="cannot be reached"):
            request_commitment(remote, CALLING, TRANSACTION, [REPORT], LONG_S)


# --- the answer on a new association --------------------------------------------------------------


@contextmanager
def listening(confirm):
    """Listen as our node does; yield the port."""
    ae = AE(CALLING)
    ae.add_supported_context(
        StorageCommitmentPushModel, list(TRANSFER_SYNTAXES), scu_role=False, scp_role=True
    )
    handlers = [(evt.EVT_N_EVENT_REPORT, answer_report, [confirm])]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def report(port, event_type, dataset):
    """Report as a PACS does on an association of its own; return the answer's status."""
    ae = AE("PACS")
    ae.add_requested_context(StorageCommitmentPushModel, list(TRANSFER_SYNTAXES))
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    association = ae.associate("127.0.0.1", port, ext_neg=[role])
    try:
        answer, _ = association.send_n_event_report(
            dataset, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        return answer.get("Status")
    finally:
        association.release()


def test_an_answer_on_a_new_association(caplog):
    heard = []
    with listening(lambda result: heard.append(result) or True) as port:
        for _ in range(2):
            assert report(port, 2, information(TRANSACTION, [REPORT], [CAPTURE], 0x0213)) == 0x0000
    assert heard == [CommitmentResult(TRANSACTION, frozenset({REPORT[1]}), {CAPTURE[1]: 0x0213})] * 2


def too_long():
    dataset = information(TRANSACTION, [REPORT])
    dataset.PixelData = b"\0" * MAXIMUM_REPORT_BYTES
    dataset["PixelData"].VR = "OW"
    return dataset


@pytest.mark.parametrize(
    ("event_type", "dataset", "status"),
    [
        (3, information(TRANSACTION, [REPORT]), 0x0113),
        (1, information("", [REPORT]), 0x0115),
        (1, None, 0x0115),
        (1, too_long(), 0x0115),
    ],
    ids=["event type", "no transaction", "nothing", "too long"],
)
def test_what_is_no_answer_is_not_passed_on(event_type, dataset, status):
    heard = []
    with listening(heard.append) as port:
        assert report(port, event_type, dataset) == status
    assert heard == []


def test_an_unknown_transaction():
    with listening(lambda _result: False) as port:
        assert report(port, 1, information(TRANSACTION, [REPORT])) == 0x0115


def test_an_answer_that_cannot_be_kept_may_come_again(caplog):
    def fail(_result):
        raise OSError("Doe^Jane")

    with listening(fail) as port:
        assert report(port, 1, information(TRANSACTION, [REPORT])) == 0x0110
    assert "could not be kept (OSError)" in caplog.text
    assert "Doe" not in caplog.text


# --- reading --------------------------------------------------------------------------------------


def as_received(dataset, implicit_vr):
    return decode(BytesIO(encode(dataset, implicit_vr, True)), implicit_vr, True)


@pytest.mark.parametrize("implicit_vr", [True, False])
def test_both_event_types_are_read(implicit_vr):
    read = read_commitment(1, as_received(information(TRANSACTION, [REPORT, CAPTURE]), implicit_vr))
    assert read == CommitmentResult(TRANSACTION, frozenset({REPORT[1], CAPTURE[1]}), {})
    read = read_commitment(
        2, as_received(information(TRANSACTION, [], [REPORT, CAPTURE], 0x0119), implicit_vr)
    )
    assert read == CommitmentResult(TRANSACTION, frozenset(), {REPORT[1]: 0x0119, CAPTURE[1]: 0x0119})


@pytest.mark.parametrize("event_type", [1, 2])
def test_the_sequences_decide(event_type):
    read = read_commitment(event_type, information(TRANSACTION, [REPORT, CAPTURE], [CAPTURE], 0x0112))
    assert read == CommitmentResult(TRANSACTION, frozenset({REPORT[1]}), {CAPTURE[1]: 0x0112})


def test_nothing_said_of_any_instance_is_no_commitment():
    assert read_commitment(1, information(TRANSACTION)) == CommitmentResult(TRANSACTION, frozenset(), {})


def test_a_failure_without_a_reason_is_a_failure():
    read = read_commitment(2, information(TRANSACTION, [], [REPORT], reason=None))
    assert read.failed == {REPORT[1]: 0x0110}


def test_a_failure_reason_of_another_kind_is_a_failure():
    dataset = information(TRANSACTION, [], [REPORT])
    dataset.FailedSOPSequence[0].add_new("FailureReason", "LO", "Doe^Jane")
    assert read_commitment(2, as_received(dataset, implicit_vr=False)).failed == {REPORT[1]: 0x0110}


def without_transaction():
    dataset = information(TRANSACTION, [REPORT])
    del dataset.TransactionUID
    return dataset


def sequence_of_another_kind(keyword):
    dataset = information(TRANSACTION, [REPORT])
    dataset.add_new(keyword, "LO", "Doe^Jane")
    return as_received(dataset, implicit_vr=False)


@pytest.mark.parametrize(
    "dataset",
    [
        Dataset(),
        without_transaction(),
        information(TRANSACTION, [(str(SR), "")]),
        information(TRANSACTION, [], [(str(SR), "")]),
        information(TRANSACTION, [(str(SR), f"1.2.{number}") for number in range(MAXIMUM_REFERENCES + 1)]),
        sequence_of_another_kind("ReferencedSOPSequence"),
        sequence_of_another_kind("FailedSOPSequence"),
    ],
)
def test_malformed_answers(dataset):
    with pytest.raises(InvalidInstance) as caught:
        read_commitment(1, dataset)
    assert "Doe" not in str(caught.value)


@pytest.mark.parametrize("event_type", [0, 3, None])
def test_other_event_types(event_type):
    with pytest.raises(InvalidInstance, match="neither 1 nor 2"):
        read_commitment(event_type, information(TRANSACTION, [REPORT]))


_VALID = bytearray(encode(information(TRANSACTION, [REPORT], [CAPTURE]), True, True))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(_VALID) - 1), st.integers(0, 255)), max_size=6), st.integers(0, 400)
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_answers_are_read_or_refused(changes, length):
    damaged = bytearray(_VALID)
    for place, value in changes:
        damaged[place] = value
    try:
        dataset = decode(BytesIO(bytes(damaged[:length])), True, True)
    except Exception:
        return
    try:
        read = read_commitment(2, dataset)
    except InvalidInstance:
        return
    assert not read.committed & read.failed.keys()


# --- Orthanc --------------------------------------------------------------------------------------


@contextmanager
def known_to(orthanc, port):
    """Make our node known to Orthanc, so that it can answer."""
    address = f"{orthanc.url}/modalities/cxrworker"
    body = json.dumps({"AET": CALLING, "Host": "127.0.0.1", "Port": port}).encode()
    urllib.request.urlopen(urllib.request.Request(address, body, method="PUT"), timeout=10).close()
    try:
        yield
    finally:
        urllib.request.urlopen(urllib.request.Request(address, method="DELETE"), timeout=10).close()


def test_orthanc_commits_itself_to_what_it_holds_and_only_to_that(orthanc, make_film):
    films = [make_film(), make_film(SOPClassUID=SC)]
    lost = (str(SC), "1.2.826.9.9")
    heard = queue.SimpleQueue()
    remote = RemoteAE(orthanc.ae_title, "127.0.0.1", orthanc.dicom_port)
    assert all(outcome.succeeded for outcome in store(remote, CALLING, films))
    with listening(lambda result: heard.put(result) or True) as port, known_to(orthanc, port):
        request_commitment(remote, CALLING, "1.2.826.2.1", references(films), 0.0)
        request_commitment(remote, CALLING, "1.2.826.2.2", [*references(films), lost], 0.0)
        answers = {result.transaction_uid: result for result in (heard.get(timeout=60) for _ in range(2))}
    held = frozenset(instance for _, instance in references(films))
    assert answers["1.2.826.2.1"] == CommitmentResult("1.2.826.2.1", held, {})
    assert answers["1.2.826.2.2"] == CommitmentResult("1.2.826.2.2", held, {lost[1]: 0x0112})


def test_orthanc_that_does_not_know_us_refuses(orthanc):
    remote = RemoteAE(orthanc.ae_title, "127.0.0.1", orthanc.dicom_port, timeout_s=10.0)
    with pytest.raises((CommitmentRefused, AssociationFailed)):
        request_commitment(remote, "NOBODY", TRANSACTION, [REPORT], LONG_S)
