"""STOW-RS with Orthanc, and with a small server of the standard library that fails in every way."""

import base64
import json
import queue
import re
import socket
import ssl
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydicom import dcmread, uid

from dicom_node.association import RemoteAE
from dicom_node.errors import AssociationFailed, UndecodableInstance
from dicom_node.storage_scu import store
from dicom_node.stow_rs import RemoteWeb, echo_on_web, holds, store_on_web
from dicom_node.web_session import MAXIMUM_RESPONSE_BYTES

SECRET = "s3cret-Doe^Jane"


def uid_of(film):
    return str(dcmread(BytesIO(film)).SOPInstanceUID)


def data_set_of(film):
    return film[144 + dcmread(BytesIO(film)).file_meta.FileMetaInformationGroupLength :]


# --- Orthanc --------------------------------------------------------------------------------------


@pytest.fixture
def orthanc_web(orthanc):
    return RemoteWeb(f"{orthanc.url}/dicom-web")


@pytest.mark.parametrize(
    "syntax",
    [
        uid.ExplicitVRLittleEndian,
        uid.ImplicitVRLittleEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
    ],
)
def test_orthanc_gets_the_bytes_as_they_are(orthanc, orthanc_web, make_film, syntax):
    film = make_film(syntax)
    (outcome,) = store_on_web(orthanc_web, [film])
    assert (outcome.sop_instance_uid, outcome.status, outcome.comment) == (uid_of(film), 0x0000, "")
    assert orthanc.files() == [film]


def test_orthanc_holds_the_same_by_either_way(orthanc, orthanc_web, sample_films):
    films = [path.read_bytes() for path in sample_films]
    assert all(outcome.succeeded for outcome in store_on_web(orthanc_web, films))
    by_web = {uid_of(content): data_set_of(content) for content in orthanc.files()}
    orthanc.clear()
    remote = RemoteAE(orthanc.ae_title, "127.0.0.1", orthanc.dicom_port)
    assert all(outcome.succeeded for outcome in store(remote, "CXRWORKER", films))
    assert {uid_of(content): data_set_of(content) for content in orthanc.files()} == by_web
    assert len(by_web) == len(films)


def test_sending_again_is_no_error(orthanc, orthanc_web, make_film):
    film = make_film()
    for _ in range(2):
        assert [outcome.succeeded for outcome in store_on_web(orthanc_web, [film])] == [True]
    assert len(orthanc.instances()) == 1


def test_orthanc_is_asked_what_it_holds(orthanc_web, make_film):
    film = make_film()
    assert not holds(orthanc_web, uid_of(film))
    store_on_web(orthanc_web, [film])
    assert holds(orthanc_web, uid_of(film))
    assert not holds(orthanc_web, uid_of(film) + ".1")
    echo_on_web(orthanc_web)


def test_what_is_no_dicom_web_is_said_to_be_none(orthanc, make_film):
    remote = RemoteWeb(f"{orthanc.url}/no-such-service")
    for call in (lambda: store_on_web(remote, [make_film()]), lambda: echo_on_web(remote)):
        with pytest.raises(AssociationFailed, match=r"has no DICOMweb service at this URL.*HTTP 404"):
            call()


# --- a server that fails in every way -------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """Answers POST with ``replies`` in turn, the last one for ever, and GET with what ``held`` says.

    A reply is (HTTP status, body, further header fields) or a function of the request's handler.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies = [stored]
        self.search = (200, b"[]", {})
        self.requests = []
        self.over = threading.Event()
        self.broken = queue.SimpleQueue()

    @property
    def port(self):
        return self.server_address[1]

    def handle_error(self, request, client_address):
        self.broken.put(client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        server.requests.append((self.path, self.headers, body))
        reply = server.replies.pop(0) if len(server.replies) > 1 else server.replies[0]
        if reply is stored:
            stored(self, body)
        else:
            self.reply(reply)

    def do_GET(self):
        self.server.requests.append((self.path, self.headers, b""))
        self.reply(self.server.search)

    def reply(self, reply):
        if callable(reply):
            reply(self)
            self.close_connection = True
            return
        status, body, fields = reply
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def serving(context=None):
    server = Server()
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def server():
    with serving() as started:
        yield started


@pytest.fixture
def remote(server):
    return RemoteWeb(f"http://127.0.0.1:{server.port}/dicom-web/", timeout_s=30.0)


def module(film, keyword="ReferencedSOPSequence", **reasons):
    """Build a Store Instances Response Module (PS3.18 I.2) as JSON."""
    item = {"00081155": {"vr": "UI", "Value": [uid_of(film)]}}
    tags = {"WarningReason": "00081196", "FailureReason": "00081197"}
    item |= {tags[name]: {"vr": "US", "Value": [value]} for name, value in reasons.items()}
    tag = {
        "ReferencedSOPSequence": "00081199",
        "FailedSOPSequence": "00081198",
        "OtherFailuresSequence": "0008119A",
    }[keyword]
    return json.dumps({tag: {"vr": "SQ", "Value": [item]}}).encode()


def test_the_request_is_as_the_standard_wants_it(server, remote, make_film):
    film = make_film(uid.ImplicitVRLittleEndian)
    assert store_on_web(remote, [film])[0].succeeded
    ((path, fields, body),) = server.requests
    assert path == "/dicom-web/studies"
    assert fields["Host"] == f"127.0.0.1:{server.port}"
    assert fields["Accept"] == "application/dicom+json"
    assert fields["Authorization"] is None
    boundary = re.fullmatch(
        r'multipart/related; type="application/dicom"; boundary=(\w+)', fields["Content-Type"]
    ).group(1)
    assert body == b"".join(
        (
            f"--{boundary}\r\n".encode(),
            b"Content-Type: application/dicom\r\n\r\n",
            film,
            f"\r\n--{boundary}--\r\n".encode(),
        )
    )


def test_no_boundary_is_used_twice(server, remote, make_film):
    store_on_web(remote, [make_film(), make_film()])
    assert len({fields["Content-Type"] for _, fields, _ in server.requests}) == 2


def test_nothing_to_send_asks_nobody():
    assert store_on_web(RemoteWeb("http://127.0.0.1:1"), []) == ()


def test_what_is_no_file_is_not_sent(server, remote, make_film):
    with pytest.raises(UndecodableInstance):
        store_on_web(remote, [make_film(), b"not a PS3.10 file"])
    assert server.requests == []


def found(*uids):
    """Build the reply to a search."""
    items = [{"00080018": {"vr": "UI", "Value": [sop_instance_uid]}} for sop_instance_uid in uids]
    return 200, json.dumps(items).encode(), {"Content-Type": "application/dicom+json"}


def stored(handler, body):
    """Reply that the one instance in a request is stored."""
    film = body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
    handler.reply((200, module(film), {"Content-Type": "application/dicom+json"}))


# --- verdicts on an instance ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("http_status", "body", "status", "verdict"),
    [
        (200, {}, 0x0000, "stored"),
        (200, {"WarningReason": 0xB006}, 0xB006, "stored"),
        (200, {"WarningReason": 0x1234}, 0xB000, "stored"),
        (200, {"keyword": "FailedSOPSequence", "FailureReason": 0xA900}, 0xA900, "refused"),
        (202, {"WarningReason": 0xB000}, 0xB000, "stored"),
        (202, {}, 0x0000, "stored"),
        (202, {"keyword": "FailedSOPSequence", "FailureReason": 0xA701}, 0xA701, "again"),
        (202, {"keyword": "FailedSOPSequence", "FailureReason": 0x0110}, 0x0110, "again"),
        (202, {"keyword": "FailedSOPSequence", "FailureReason": 0x0122}, 0x0122, "refused"),
        (202, {"keyword": "FailedSOPSequence", "FailureReason": 0x0000}, 0x0110, "again"),
        (202, {"keyword": "FailedSOPSequence", "FailureReason": 0xB000}, 0x0110, "again"),
        (202, {"keyword": "FailedSOPSequence", "FailureReason": -1}, 0x0110, "again"),
        (202, {"keyword": "FailedSOPSequence", "FailureReason": "Doe^Jane"}, 0x0110, "again"),
        (202, {"keyword": "FailedSOPSequence"}, 0x0110, "again"),
        (202, {"keyword": "OtherFailuresSequence", "FailureReason": 0xC122}, 0xC122, "refused"),
        (202, b"", None, "again"),
        (202, b"{}", None, "again"),
        (204, b"", None, "again"),
        (409, {"keyword": "FailedSOPSequence", "FailureReason": 0xC001}, 0xC001, "refused"),
        (409, {"keyword": "FailedSOPSequence", "FailureReason": 0xA700}, 0xA700, "again"),
        (409, {"keyword": "FailedSOPSequence", "FailureReason": 0x0111}, 0x0111, "stored"),
        (409, b"", 0xC000, "refused"),
        (400, b"Doe^Jane", 0xC000, "refused"),
        (413, b"", 0xC000, "refused"),
        (415, b"", 0xC122, "refused"),
        (422, b"", 0xC000, "refused"),
        (500, b"Doe^Jane", 0x0110, "again"),
    ],
)
def test_verdicts(server, remote, make_film, caplog, http_status, body, status, verdict):
    film = make_film()
    content = body if isinstance(body, bytes) else module(film, **body)
    server.replies = [(http_status, content, {"Content-Type": "application/dicom+json"})]
    (outcome,) = store_on_web(remote, [film])
    assert outcome.status == status
    assert outcome.succeeded == (verdict == "stored")
    assert outcome.transient == (verdict == "again")
    assert "Doe" not in f"{outcome}{caplog.text}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<html>",
        b"[" * 100_000,
        b" " * (MAXIMUM_RESPONSE_BYTES + 1),
        b'{"00081198": {"Value": 1}, "00081199": {"Value": [7]}}',
        b'{"00081199": {"Value": [{"00081155": {"Value": ["1.2.3"]}}]}}',
    ],
    ids=lambda body: str(body[:20]),
)
@pytest.mark.parametrize("http_status", [200, 202])
@pytest.mark.parametrize("searched", ["there", "not there", "cannot be searched"])
def test_an_answer_that_says_nothing_is_not_believed(server, remote, make_film, http_status, body, searched):
    film = make_film()
    server.replies = [(http_status, body, {})]
    server.search = {
        "there": found(uid_of(film)),
        "not there": found(),
        "cannot be searched": (501, b"", {}),
    }[searched]
    (outcome,) = store_on_web(remote, [film])
    believed = searched == "there" or (searched == "cannot be searched" and http_status == 200)
    assert outcome.status == (0x0000 if believed else None)
    assert outcome.transient is not believed


def test_one_instance_refused_does_not_keep_the_others_back(server, remote, make_film):
    films = [make_film() for _ in range(3)]
    server.replies = [(400, b"", {}), (500, b"", {}), stored]
    outcomes = store_on_web(remote, films)
    assert [outcome.status for outcome in outcomes] == [0xC000, 0x0110, 0x0000]
    assert [outcome.sop_instance_uid for outcome in outcomes] == [uid_of(film) for film in films]
    assert outcomes[0].comment == f"{remote} answered HTTP 400"


@pytest.mark.parametrize("held", [True, False])
def test_what_the_server_refuses_because_it_has_it_is_stored(server, remote, make_film, held):
    film = make_film()
    server.replies = [(409, module(film, "FailedSOPSequence", FailureReason=0xB00E), {})]
    server.search = found(uid_of(film) if held else "1.2.3")
    (outcome,) = store_on_web(remote, [film])
    assert outcome.status == (0x0111 if held else 0x0110)
    assert outcome.succeeded is held
    path, fields, _ = server.requests[-1]
    assert path.startswith("/dicom-web/instances?")
    assert f"SOPInstanceUID={uid_of(film)}" in path
    assert fields["Host"] == f"127.0.0.1:{server.port}"


# --- refused calls --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("http_status", "words"),
    [
        (301, "points to another URL"),
        (307, "points to another URL"),
        (401, "does not accept the credentials"),
        (403, "does not let these credentials do this"),
        (404, "has no DICOMweb service at this URL"),
        (405, "does not offer this service"),
        (406, "does not answer in JSON"),
        (408, "in time"),
        (429, "less often"),
        (502, "cannot answer at present"),
        (503, "cannot answer at present"),
        (599, "cannot answer at present"),
    ],
)
def test_a_refused_call_is_no_verdict(server, remote, make_film, http_status, words):
    server.replies = [(http_status, b"Doe^Jane", {"Location": "http://elsewhere.invalid/Doe"})]
    with pytest.raises(AssociationFailed, match=rf"{words}.*\(HTTP {http_status}\)") as caught:
        store_on_web(remote, [make_film(), make_film()])
    assert caught.value.transient
    assert str(caught.value).startswith(str(remote))
    assert "Doe" not in str(caught.value)
    assert len(server.requests) == 1


def test_a_server_that_goes_away_half_way(server, remote, make_film):
    server.replies = [stored, (503, b"", {})]
    first, second, third = store_on_web(remote, [make_film() for _ in range(3)])
    assert first.succeeded
    assert [second.status, third.status] == [None, None]
    assert second.transient
    assert "(HTTP 503)" in second.comment
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_nobody_is_sent_elsewhere(server, make_film, status):
    with serving() as other:
        server.replies = [(status, b"", {"Location": f"http://127.0.0.1:{other.port}/studies"})]
        server.search = server.replies[0]
        remote = RemoteWeb(f"http://127.0.0.1:{server.port}", username="cxr", password=SECRET)
        for call in (
            lambda: store_on_web(remote, [make_film()]),
            lambda: holds(remote, "1.2.3"),
            lambda: echo_on_web(remote),
        ):
            with pytest.raises(AssociationFailed):
                call()
        assert other.requests == []


# --- a connection that fails ----------------------------------------------------------------------


def silent(handler):
    handler.server.over.wait(60)


def broken_off(handler):
    handler.connection.shutdown(socket.SHUT_RDWR)


def no_http(handler):
    handler.wfile.write(b"SSH-2.0-OpenSSH Doe^Jane\r\n")


def half_an_answer(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")


@pytest.mark.parametrize("reply", [silent, broken_off, no_http, half_an_answer])
def test_a_call_that_breaks(server, make_film, reply):
    server.replies = [reply]
    server.search = reply
    remote = RemoteWeb(f"http://127.0.0.1:{server.port}", timeout_s=0.5)
    for call in (
        lambda: store_on_web(remote, [make_film()]),
        lambda: holds(remote, "1.2.3"),
        lambda: echo_on_web(remote),
    ):
        with pytest.raises(AssociationFailed, match=r"cannot be reached|does not answer") as caught:
            call()
        assert "Doe" not in str(caught.value)
    if reply is silent:
        assert "no answer within 0.5 s" in str(caught.value)


def test_an_answer_without_end_is_not_listened_to(server, make_film):
    def endless(handler):
        handler.wfile.write(b"HTTP/1.1 500 Oh\r\n\r\n")
        try:
            while not handler.server.over.is_set():
                handler.wfile.write(b"x" * 65536)
        except OSError:
            handler.server.broken.put("closed by the client")

    server.replies = [endless]
    remote = RemoteWeb(f"http://127.0.0.1:{server.port}", timeout_s=60.0)
    (outcome,) = store_on_web(remote, [make_film()])
    assert outcome.status == 0x0110
    assert server.broken.get(timeout=10) == "closed by the client"


def test_an_answer_that_trickles_in_for_ever_is_not_listened_to(server, make_film):
    def trickling(handler):
        handler.wfile.write(b"HTTP/1.1 500 Oh\r\n\r\n")
        try:
            while not handler.server.over.wait(0.05):
                handler.wfile.write(b" ")
        except OSError:
            handler.server.broken.put("closed by the client")

    server.replies = [trickling]
    (outcome,) = store_on_web(RemoteWeb(f"http://127.0.0.1:{server.port}", timeout_s=1.0), [make_film()])
    assert outcome.status == 0x0110
    assert server.broken.get(timeout=10) == "closed by the client"


def test_a_compressed_answer_is_not_unpacked(server, remote, make_film):
    server.replies = [(202, b"\x1f\x8b not unpacked", {"Content-Encoding": "gzip"})]
    (outcome,) = store_on_web(remote, [make_film()])
    assert outcome.status is None
    assert server.requests[0][1]["Accept-Encoding"] == "identity"


def test_nobody_there(make_film):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        remote = RemoteWeb(f"http://127.0.0.1:{held.getsockname()[1]}/dicom-web")
        with pytest.raises(AssociationFailed, match="connection was refused; check host"):
            store_on_web(remote, [make_film()])


def test_an_unknown_host_is_named(make_film):
    with pytest.raises(AssociationFailed, match=r"no-such-host\.invalid.*host name is unknown"):
        store_on_web(RemoteWeb("http://no-such-host.invalid/"), [make_film()])


# --- credentials and environment ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("credentials", "expected"),
    [
        (
            {"username": "cxr", "password": "Straße:5"},
            "Basic " + base64.b64encode("cxr:Straße:5".encode()).decode(),
        ),
        ({"token": "abc.def-123"}, "Bearer abc.def-123"),
    ],
)
def test_credentials(server, remote, make_film, credentials, expected):
    remote = RemoteWeb(remote.url, **credentials)
    store_on_web(remote, [make_film()])
    echo_on_web(remote)
    assert [fields["Authorization"] for _, fields, _ in server.requests] == [expected] * 2


def test_credentials_are_never_said(server, caplog, make_film):
    remote = RemoteWeb(f"http://127.0.0.1:{server.port}", username="cxr", password=SECRET)
    server.replies = [(401, b"", {"WWW-Authenticate": "Basic"})]
    caplog.set_level("DEBUG")
    with pytest.raises(AssociationFailed, match="check username and password") as caught:
        store_on_web(remote, [make_film()])
    said = f"{caught.value}{remote}{remote!r}{RemoteWeb(remote.url, token=SECRET)!r}{caplog.text}"
    assert SECRET not in said
    assert base64.b64encode(f"cxr:{SECRET}".encode()).decode() not in said


@pytest.mark.parametrize(
    "unusable",
    [
        {"url": "ftp://pacs/"},
        {"url": "pacs/dicom-web"},
        {"url": "http:///dicom-web"},
        {"url": f"http://cxr:{SECRET}@pacs/"},
        {"url": f"http://pacs/?key={SECRET}"},
        {"url": "http://pacs/", "token": f"{SECRET}\r\nHost: elsewhere"},
        {"url": "http://pacs/", "token": "ä"},
        {"url": "http://pacs/", "username": "c:r", "password": SECRET},
        {"url": "http://pacs/", "username": "cxr\n", "password": SECRET},
        {"url": "http://pacs/", "username": "cxr", "token": SECRET},
        {"url": "http://pacs/", "password": SECRET},
    ],
)
def test_what_cannot_be_used_is_refused_at_once(unusable):
    with pytest.raises(ValueError) as caught:
        RemoteWeb(**unusable)
    assert SECRET not in str(caught.value)


def test_the_environment_has_no_say(server, remote, make_film, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with serving() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert store_on_web(remote, [make_film()])[0].succeeded
        assert proxy.requests == []
    assert server.requests[0][1]["Authorization"] is None


# --- echo -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("http_status", [200, 204, 400, 405, 501])
def test_a_server_that_answers(server, remote, http_status):
    server.search = (http_status, b"", {})
    echo_on_web(remote)


@pytest.mark.parametrize("reply", [(401, b"", {}), (404, b"", {}), (503, b"", {}), (200, b"<html>Doe", {})])
def test_a_server_that_does_not(server, remote, caplog, reply):
    server.search = (*reply[:2], {"Warning": "299 Doe^Jane"})
    with pytest.raises(AssociationFailed) as caught:
        echo_on_web(remote)
    assert "Doe" not in f"{caught.value}{caplog.text}"


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


class Authority:
    """Issues certificates for tests; every file is PEM."""

    def __init__(self, folder, name="tests only"):
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.ca = self._write("ca.pem", certificate.sign(self._key, hashes.SHA256()))

    def issue(self, name, address="127.0.0.1", ends_in=timedelta(hours=1)):
        """Return the paths of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            self._builder(subject, key, ends_in)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = self._folder / f"{name}.key"
        path.write_bytes(pem)
        return self._write(f"{name}.pem", certificate), path

    def _builder(self, subject, key, ends_in=timedelta(hours=1)):
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + ends_in)
        )

    def _write(self, name, certificate):
        path = self._folder / name
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path


@contextmanager
def serving_tls(certificate, key, client_ca=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    with serving(context) as server:
        yield server


def test_tls_with_an_authority_of_our_own(authority, make_film):
    with serving_tls(*authority.issue("server")) as server:
        remote = RemoteWeb(f"https://127.0.0.1:{server.port}", ca=authority.ca, token="abc")
        assert store_on_web(remote, [make_film(), make_film()])[1].succeeded
        echo_on_web(remote)
        assert len(server.requests) == 3


def test_tls_with_a_certificate_of_ours(authority, make_film):
    certificate, key = authority.issue("worker")
    with serving_tls(*authority.issue("server"), client_ca=authority.ca) as server:
        url = f"https://127.0.0.1:{server.port}"
        ours = RemoteWeb(url, ca=authority.ca, certificate=certificate, key=key)
        assert store_on_web(ours, [make_film()])[0].succeeded
        with pytest.raises(AssociationFailed, match="cannot be reached"):
            store_on_web(RemoteWeb(url, ca=authority.ca), [make_film()])
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("issued", "words"),
    [
        ({"ends_in": timedelta(days=-1)}, "its certificate has expired"),
        ({"address": "192.0.2.1"}, "made out to another address"),
    ],
)
def test_a_certificate_that_is_not_good(authority, make_film, issued, words):
    with serving_tls(*authority.issue("bad", **issued)) as server:
        remote = RemoteWeb(f"https://127.0.0.1:{server.port}", ca=authority.ca, token="abc")
        with pytest.raises(AssociationFailed, match=words):
            store_on_web(remote, [make_film()])
        assert server.requests == []


def test_an_authority_that_nobody_named(authority, make_film, tmp_path):
    other = Authority(tmp_path, "somebody else")
    with serving_tls(*authority.issue("server")) as server:
        for ca in (other.ca, None):
            remote = RemoteWeb(f"https://127.0.0.1:{server.port}", ca=ca)
            with pytest.raises(AssociationFailed, match="authority that is not in tls_ca"):
                store_on_web(remote, [make_film()])


def test_only_the_authority_that_was_named_is_believed(authority, make_film, tmp_path, monkeypatch):
    # requests brings authorities of its own
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(authority.ca))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.ca))
    other = Authority(tmp_path, "somebody else")
    with serving_tls(*authority.issue("server")) as server:
        with pytest.raises(AssociationFailed, match="authority that is not in tls_ca"):
            store_on_web(RemoteWeb(f"https://127.0.0.1:{server.port}", ca=other.ca), [make_film()])
        assert server.requests == []


def test_plain_where_tls_is_set_and_the_other_way_round(authority, server, make_film):
    remote = RemoteWeb(f"https://127.0.0.1:{server.port}", ca=authority.ca)
    with pytest.raises(AssociationFailed, match="does not speak TLS"):
        store_on_web(remote, [make_film()])
    with serving_tls(*authority.issue("server")) as secure:
        with pytest.raises(AssociationFailed, match="cannot be reached"):
            store_on_web(RemoteWeb(f"http://127.0.0.1:{secure.port}"), [make_film()])
        assert secure.requests == []


def test_unusable_certificate_files(make_film, tmp_path):
    with pytest.raises(AssociationFailed, match=r"cannot be called: .*none\.pem.* cannot be read"):
        store_on_web(RemoteWeb("https://127.0.0.1:1", ca=tmp_path / "none.pem"), [make_film()])
