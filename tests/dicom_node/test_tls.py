"""TLS at both doors, with certificates made here; outsiders are DCMTK's storescu and storescp."""

import logging
import os
import socket
import ssl
import subprocess
import time
import warnings
from dataclasses import replace
from io import BytesIO

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from pydicom import dcmread

from dicom_node.errors import AssociationFailed, AssociationRefused, TLSUnusable
from dicom_node.storage_scu import RemoteAE, echo, store
from dicom_node.tls import TLSFiles, client_context, server_context, unverified_context
from tests.certificates import DAY, NOW, Authority
from tests.conftest import find_program, free_port, missing, running, wait_until

HOST = "localhost"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority.new(tmp_path_factory.mktemp("authority"), "hospital")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority.new(tmp_path_factory.mktemp("stranger"), "elsewhere")


@pytest.fixture(scope="module")
def node_files(authority):
    return authority.issue("node")


@pytest.fixture(scope="module")
def peer_files(authority):
    return authority.issue("modality")


@pytest.fixture
def node(start_node, node_files):
    return start_node(tls=server_context(node_files, require_client_certificate=True))


def remote(port, tls, host=HOST, timeout_s=10.0):
    return RemoteAE("CXRWORKER", host, port, timeout_s, tls)


def node_says(caplog, words):
    """Wait for the one line in which the node tells why a connection came to nothing."""

    def lines():
        return [record for record in caplog.records if words in record.getMessage()]

    wait_until(lines, 10, f"{words!r} in the log")
    (record,) = lines()
    assert record.getMessage().startswith("connection from 127.0.0.1 closed: ")
    assert record.levelno == logging.WARNING
    assert record.exc_info is None


# --- what is right ------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_bytes_arrive_as_they_are(node, received, peer_files, make_film, version):
    context = client_context(peer_files)
    context.maximum_version = version
    films = [make_film(Rows=1500, Columns=1000, PixelData=os.urandom(3_000_000)), make_film()]
    assert all(outcome.succeeded for outcome in store(remote(node.port, context), "MODALITY", films))
    assert [instance.encoded[-3_000_000:] for instance in received[:1]] == [films[0][-3_000_000:]]
    for film, instance in zip(films, received, strict=True):
        length = 144 + dcmread(BytesIO(film)).file_meta.FileMetaInformationGroupLength
        assert instance.encoded.endswith(film[length:])


def test_the_newest_version_is_agreed_on(node, peer_files):
    with (
        socket.create_connection((HOST, node.port)) as plain,
        client_context(peer_files).wrap_socket(plain, server_hostname=HOST) as peer,
    ):
        assert peer.version() == "TLSv1.3"


def test_a_client_without_certificate_may_be_let_in(start_node, node_files, peer_files):
    node = start_node(tls=server_context(node_files, require_client_certificate=False))
    echo(remote(node.port, client_context(TLSFiles(ca=node_files.ca))), "MODALITY")
    without_ca = start_node(
        tls=server_context(replace(node_files, ca=None), require_client_certificate=False)
    )
    echo(remote(without_ca.port, client_context(peer_files)), "MODALITY")


def test_our_own_node_can_be_asked_whether_it_answers(node, node_files, stranger):
    echo(remote(node.port, unverified_context(node_files), "127.0.0.1"), "CXRWORKER")
    with pytest.raises(AssociationRefused):
        echo(remote(node.port, unverified_context(stranger.issue("other")), "127.0.0.1"), "CXRWORKER")
    with pytest.raises(AssociationFailed) as caught:
        echo(remote(free_port(), unverified_context(node_files)), "CXRWORKER")
    assert not isinstance(caught.value, AssociationRefused)


# --- who is not let in --------------------------------------------------------------------------


def _without_certificate(authority, _stranger):
    return TLSFiles(ca=authority.path)


def _of_another_authority(authority, stranger):
    return replace(stranger.issue("intruder"), ca=authority.path)


def _expired(authority, _stranger):
    return authority.issue("expired", begins=NOW - 3 * DAY, ends=NOW - DAY)


def _not_yet_valid(authority, _stranger):
    return authority.issue("tomorrow", begins=NOW + DAY, ends=NOW + 2 * DAY)


def _self_signed(authority, _stranger):
    alone = Authority.new(authority.folder, "alone")
    return replace(alone.issue("alone"), ca=authority.path)


BAD_PEERS = [
    (_without_certificate, "it showed no certificate", "wants a certificate of us|during TLS"),
    (_of_another_authority, "an authority that is not in tls_ca", "it does not accept this side's"),
    (_expired, "its certificate has expired", "it does not accept this side's"),
    (_not_yet_valid, "not valid yet: compare the clocks", "it does not accept this side's"),
    (_self_signed, "an authority that is not in tls_ca", "it does not accept this side's"),
]


@pytest.mark.parametrize(("make", "in_our_log", "in_error"), BAD_PEERS)
def test_bad_callers_are_refused(
    node, received, authority, stranger, peer_files, make_film, caplog, make, in_our_log, in_error
):
    context = client_context(make(authority, stranger))
    with pytest.raises(AssociationFailed, match=in_error):
        store(remote(node.port, context), "MODALITY", [make_film()])
    node_says(caplog, in_our_log)
    assert received == []
    (outcome,) = store(remote(node.port, client_context(peer_files)), "MODALITY", [make_film()])
    assert outcome.succeeded


@pytest.mark.parametrize(
    ("make", "host", "why"),
    [
        (_expired, HOST, "its certificate has expired"),
        (_not_yet_valid, HOST, "not valid yet: compare the clocks"),
        (_of_another_authority, HOST, "an authority that is not in tls_ca"),
        (_self_signed, HOST, "an authority that is not in tls_ca"),
        (lambda authority, _: authority.issue("other", hosts=["pacs.example"]), HOST, "another host name"),
        (lambda authority, _: authority.issue("named"), "127.0.0.1", "another address"),
    ],
)
def test_bad_peers_are_not_sent_to(
    start_node, authority, stranger, peer_files, received, make_film, make, host, why
):
    pacs = start_node(tls=server_context(make(authority, stranger), require_client_certificate=False))
    with pytest.raises(
        AssociationFailed, match=rf"CXRWORKER@.* cannot be called over TLS: .*{why}"
    ) as caught:
        store(remote(pacs.port, client_context(peer_files), host), "CXRWORKER", [make_film()])
    assert caught.value.transient
    assert received == []


def test_plain_dicom_does_not_reach_a_node_with_tls(node, received, make_film, caplog):
    began = time.monotonic()
    with pytest.raises(AssociationFailed):
        store(RemoteAE("CXRWORKER", HOST, node.port, 30.0), "MODALITY", [make_film()])
    assert time.monotonic() - began < 10
    node_says(caplog, "it does not speak TLS: switch TLS on at that side")
    assert len([record for record in caplog.records if record.name == "dicom_node.connection"]) == 1
    assert received == []


def test_tls_does_not_reach_a_plain_node(start_node, peer_files, make_film, caplog):
    node = start_node(tls=None)
    began = time.monotonic()
    with pytest.raises(AssociationFailed, match="TLS"):
        store(remote(node.port, client_context(peer_files), timeout_s=30.0), "MODALITY", [make_film()])
    assert time.monotonic() - began < 10
    node_says(caplog, "it speaks TLS and this node does not")


def _old(context):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")


def _weak(context):
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA:AES128-SHA")


@pytest.mark.parametrize(
    ("weaken", "in_our_log"),
    [(_old, "no TLS version in common"), (_weak, "no cipher suite in common")],
)
def test_old_versions_and_weak_ciphers_are_refused(node, peer_files, caplog, weaken, in_our_log):
    context = client_context(peer_files)
    weaken(context)
    with pytest.raises(AssociationFailed, match="in common"):
        echo(remote(node.port, context), "MODALITY")
    node_says(caplog, in_our_log)


def test_what_is_offered_is_what_bcp_195_recommends(node_files, peer_files):
    for context in (server_context(node_files, True), client_context(peer_files)):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        older = {cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.2"}
        assert len(older) == 4
        assert all(name.startswith("ECDHE-") and "GCM" in name for name in older)
        assert context.verify_mode == ssl.CERT_REQUIRED
    assert client_context(peer_files).check_hostname


# --- files that cannot be used ------------------------------------------------------------------


def test_files_that_cannot_be_used(authority, stranger, node_files, tmp_path):
    other = stranger.issue("other")
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    locked = authority.issue("locked", password=b"secret")
    weak = authority.issue("weak", key=rsa.generate_private_key(65537, 1024))
    gone = tmp_path / "gone.pem"
    for files, why in [
        (TLSFiles(), "set tls_certificate and tls_key"),
        (replace(node_files, key=None), "set tls_certificate and tls_key"),
        (replace(node_files, ca=None), "set tls_ca"),
        (replace(node_files, key=other.key), "is not the key of"),
        (replace(node_files, certificate=gone), "gone.pem, cannot be read .No such file"),
        (replace(node_files, key=gone), "gone.pem, cannot be read"),
        (replace(node_files, ca=gone), "gone.pem, cannot be read"),
        (replace(node_files, key=tmp_path), "cannot be read .Is a directory"),
        (replace(node_files, certificate=text), "must be PEM files"),
        (replace(node_files, key=text), "must be PEM files"),
        (replace(node_files, ca=text), "holds no certificate"),
        (replace(node_files, certificate=node_files.key), "must be PEM files"),
        (locked, "is encrypted"),
        (weak, "too weak for BCP 195"),
    ]:
        with pytest.raises(TLSUnusable, match=why):
            server_context(files, require_client_certificate=True)
    with pytest.raises(TLSUnusable, match="needs its key"):
        client_context(TLSFiles(certificate=node_files.certificate))
    with pytest.raises(TLSUnusable, match="is not the key of"):
        client_context(replace(node_files, key=other.key))
    with pytest.raises(TLSUnusable, match="cannot be read"):
        client_context(TLSFiles(ca=gone))


# --- the limits hold over TLS too ---------------------------------------------------------------


def test_handshakes_that_are_never_finished_block_nobody(start_node, node_files, peer_files, make_film):
    tls = server_context(node_files, require_client_certificate=True)
    node = start_node(tls=tls, association_timeout_s=1.0, maximum_associations=1)
    silent = [socket.create_connection((HOST, node.port), timeout=10) for _ in range(20)]
    for number, peer in enumerate(silent):
        peer.sendall(b"\x16\x03\x01\x02\x00\x01"[: number % 7])  # nothing, or the beginning of a ClientHello
    (outcome,) = store(remote(node.port, client_context(peer_files)), "MODALITY", [make_film()])
    assert outcome.succeeded
    for peer in silent:
        with peer:
            while peer.recv(4096):
                pass


def test_too_large_a_request_is_cut_off(start_node, node_files, peer_files, make_film, received, caplog):
    tls = server_context(node_files, require_client_certificate=True)
    node = start_node(tls=tls, maximum_instance_bytes=1_000_000)
    large = make_film(Rows=1000, Columns=1000, PixelData=bytes(2_000_000))
    (outcome,) = store(remote(node.port, client_context(peer_files)), "MODALITY", [large])
    assert outcome.status is None
    node_says(caplog, "raise the largest instance size")
    assert received == []


def test_a_sender_that_stops_in_the_middle_is_dropped(start_node, node_files, peer_files, caplog):
    tls = server_context(node_files, require_client_certificate=True)
    node = start_node(tls=tls, association_timeout_s=0.5)
    with (
        socket.create_connection((HOST, node.port), timeout=10) as plain,
        client_context(peer_files).wrap_socket(plain, server_hostname=HOST) as peer,
    ):
        peer.sendall(b"\x01\0\0\0\x01\0AB")  # the beginning of a request to associate
        while peer.recv(4096):
            pass
    node_says(caplog, "its request to associate took more than 0.5 s")


# --- outsiders ----------------------------------------------------------------------------------


def _run(command):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def _dcmtk(name):
    program = find_program(name)
    if "OpenSSL" not in _run([program, "--version"]).stdout:
        missing(f"{name} is built without OpenSSL")
    return program


def _options(files):
    return ["+tls", str(files.key), str(files.certificate), "+cf", str(files.ca)]


def test_dcmtk_sends_over_tls(node, received, peer_files, stranger, make_film, tmp_path, caplog):
    program = _dcmtk("storescu")
    path = tmp_path / "film.dcm"
    path.write_bytes(make_film())
    target = ["-aec", "CXRWORKER", HOST, str(node.port), str(path)]
    sent = _run([program, "-v", *_options(peer_files), *target])
    assert sent.returncode == 0, sent.stderr
    assert dcmread(BytesIO(received[0].encoded)) == dcmread(path)

    intruder = replace(stranger.issue("intruder"), ca=peer_files.ca)
    refused = _run([program, *_options(intruder), *target])
    assert refused.returncode != 0
    node_says(caplog, "an authority that is not in tls_ca")
    plain = _run([program, *target])
    assert plain.returncode != 0
    assert len(received) == 1


def test_dcmtk_receives_over_tls(authority, stranger, peer_files, make_film, tmp_path):
    program, port = _dcmtk("storescp"), free_port()
    folder = tmp_path / "received"
    folder.mkdir()
    command = [program, *_options(authority.issue("pacs")), "-od", str(folder), "-aet", "PACS", str(port)]
    pacs = RemoteAE("PACS", HOST, port, 10.0, client_context(peer_files))
    film = make_film()
    with running(command, lambda: socket.create_connection((HOST, port)).close() is None, tmp_path):
        (outcome,) = store(pacs, "CXRWORKER", [film])
        assert outcome.status == 0
        (kept,) = folder.iterdir()
        assert dcmread(kept) == dcmread(BytesIO(film))
        intruder = replace(stranger.issue("intruder"), ca=peer_files.ca)
        with pytest.raises(AssociationFailed, match="TLS"):
            store(replace(pacs, tls=client_context(intruder)), "CXRWORKER", [film])
        with pytest.raises(AssociationFailed):
            store(replace(pacs, tls=None, timeout_s=3.0), "CXRWORKER", [film])
