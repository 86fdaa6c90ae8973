"""A DICOMweb server to call, and the HTTP session that it is called in: guarded in both directions."""

from __future__ import annotations

import logging
import math
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth

from dicom_node.errors import AssociationFailed, TLSUnusable
from dicom_node.tls import TLSFiles, client_context, explain

MAXIMUM_RESPONSE_BYTES = 1024 * 1024
"""How much of an answer is read; one instance's needs some hundred bytes."""

# dicomweb-client logs a server's remarks word by word, and both the URL, which may name a patient
logging.getLogger("dicomweb_client.web").setLevel(logging.ERROR)
logging.getLogger("urllib3").setLevel(logging.ERROR)


@dataclass(frozen=True)
class RemoteWeb:
    """A DICOMweb server to call.

    Parameters
    ----------
    url : str
        Base URL of its services (PS3.18 8.2), for example ``https://pacs.example/dicom-web``.
    timeout_s : float
        Seconds to wait for the connection and for each part of the answer; the whole of an answer may
        take twice as long.
    username, password : str
        For HTTP Basic authentication (RFC 7617); empty for none.
    token : str
        Bearer token (RFC 6750); empty for none.
    ca : Path or None
        Authorities that vouch for an ``https`` server; None for the system's.
    certificate, key : Path or None
        What is shown to a server that asks for a certificate.

    Raises
    ------
    ValueError
        If the URL or a credential cannot be used; neither is quoted.
    """

    url: str
    timeout_s: float = 30.0
    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("the URL must be http:// or https://, host and path, without query")
        if parts.username is not None or parts.password is not None:
            raise ValueError("the URL must not hold credentials: use username and password, or a token")
        if bool(self.token) + bool(self.username) > 1 or (self.password and not self.username):
            raise ValueError("set a token, or a username with its password")
        if ":" in self.username or not (self.username + self.password + self.token).isprintable():
            raise ValueError("a credential holds a character that HTTP does not allow there")
        if not self.token.isascii():
            raise ValueError("the token holds a character that HTTP does not allow there")

    def __str__(self) -> str:
        return self.url


@contextmanager
def open_session(
    remote: RemoteWeb, maximum_bytes: int = MAXIMUM_RESPONSE_BYTES, within_s: float = math.inf
) -> Iterator[requests.Session]:
    """Open an HTTP session with a server for the time of a ``with`` block.

    The environment has no say in it: neither proxies nor credentials of a ``.netrc`` are used. Redirects
    are never followed, so that credentials and images go to the server that was named and to no other.
    Of an answer, at most ``maximum_bytes`` are read; a longer one ends in ``AnswerTooLong``, and a redirect
    in ``requests.HTTPError``.

    Parameters
    ----------
    remote : RemoteWeb
        Whom to call.
    maximum_bytes : int
        How much of one answer is read.
    within_s : float
        Seconds that all requests together may take; what goes beyond ends in ``requests.Timeout``.

    Raises
    ------
    AssociationFailed
        If a certificate file cannot be used: calling again helps once a person has mended it.
    """
    try:
        session = _Session(remote, maximum_bytes, within_s)
    except TLSUnusable as error:
        raise AssociationFailed(f"{remote} cannot be called: {error}") from error
    with session:
        yield session


@contextmanager
def reaching(remote: RemoteWeb) -> Iterator[None]:
    """Turn what goes wrong on the way to a server and back into words.

    Raises
    ------
    AssociationFailed
        If the server cannot be reached, or breaks off, within the block.
    """
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        # its text is dropped: it may quote what the server said
        raise AssociationFailed(f"{remote} cannot be reached: {_why(error, remote)}") from None


class AnswerTooLong(requests.RequestException):
    """A server says more, or takes longer to say it, than is listened to."""


class _Session(requests.Session):
    def __init__(self, remote: RemoteWeb, maximum_bytes: int, within_s: float) -> None:
        super().__init__()
        self._maximum_bytes = maximum_bytes
        self._ends_at = time.monotonic() + within_s
        self.trust_env = False
        self.auth = _credentials(remote)
        self.headers["Accept-Encoding"] = "identity"
        self._seconds = 2 * remote.timeout_s
        if remote.url.startswith("https"):
            files = TLSFiles(remote.certificate, remote.key, remote.ca)
            self.mount("https://", _TLSAdapter(client_context(files)))

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send without following a redirect, and bound the answer."""
        # dicomweb-client leaves the port out of it
        request.headers.pop("Host", None)
        left_s = self._ends_at - time.monotonic()
        if left_s <= 0:
            raise requests.Timeout("no time left")
        options["timeout"] = min(left_s, self._seconds / 2)
        read_later = options.get("stream", False)
        response = super().send(request, **(options | {"stream": True, "allow_redirects": False}))
        if 300 <= response.status_code < 400:
            response.close()
            raise requests.HTTPError(response=response)
        response.raw = _Bounded(response.raw, self._maximum_bytes, min(self._seconds, left_s))
        if not read_later:
            _ = response.content
        return response


class _TLSAdapter(HTTPAdapter):
    """HTTPS with our own TLS context and nothing added to it."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Make connections with the context."""
        super().init_poolmanager(*arguments, **options, ssl_context=self._context)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave authorities as they are: requests would add its own to those that were named."""
        conn.cert_reqs = "CERT_REQUIRED"


class _Bounded:
    """A body that fails instead of going on for ever."""

    def __init__(self, raw: Any, maximum_bytes: int, seconds: float) -> None:
        self._raw = raw
        self._left = maximum_bytes
        self._deadline = time.monotonic() + seconds

    def close(self) -> None:
        """Give the connection up, or back where all was read."""
        self._raw.close()
        self._raw.release_conn()

    def read(self, size: int) -> bytes:
        """Read some bytes, as they come."""
        data: bytes = self._raw.read1(size, decode_content=False)
        self._left -= len(data)
        if self._left < 0 or time.monotonic() > self._deadline:
            raise AnswerTooLong("more than is listened to")
        return data


def _credentials(remote: RemoteWeb) -> Any:
    if remote.token:
        return _Bearer(remote.token)
    # bytes, or requests would encode them as Latin-1
    return HTTPBasicAuth(remote.username.encode(), remote.password.encode()) if remote.username else None


class _Bearer(requests.auth.AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _why(error: BaseException, remote: RemoteWeb) -> str:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return explain(cause)
        if isinstance(cause, ConnectionRefusedError):
            return "the connection was refused; check host, port and that it is running"
        if isinstance(cause, urllib3.exceptions.NameResolutionError):
            return "the host name is unknown; check it"
    if any(isinstance(cause, (requests.Timeout, TimeoutError)) for cause in causes):
        return f"no answer within {remote.timeout_s:g} s"
    return f"the connection broke ({type(causes[-1]).__name__}); see its log"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what lies beneath: requests and urllib3 wrap in arguments and attributes."""
    pending, seen = [error], set()
    while pending:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        beneath = [*current.args, getattr(current, "reason", None), current.__cause__, current.__context__]
        pending += [item for item in reversed(beneath) if isinstance(item, BaseException)]
