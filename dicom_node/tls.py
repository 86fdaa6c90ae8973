"""TLS on both doors of the node, by the BCP 195 RFC 8996, 9325 profile (PS3.15 B.12)."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from dicom_node.errors import TLSUnusable

CIPHER_SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)
"""Of TLS 1.2, by OpenSSL's names (RFC 9325, 4.2); what TLS 1.3 offers is good as it is."""

MINIMUM_VERSION = ssl.TLSVersion.TLSv1_2

_NOT_TLS = "it does not speak TLS: switch TLS on at that side, or off at this one"
_NO_VERSION = "no TLS version in common: this side takes TLS 1.2 and 1.3 (BCP 195)"
_NO_CIPHER = "no cipher suite in common: this side takes those of BCP 195 only (ECDHE with AES-GCM)"
_OUR_CERTIFICATE = "it does not accept this side's certificate"

# by OpenSSL's name of the reason
_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it showed no certificate: give it one that our tls_ca vouches for",
    "HTTP_REQUEST": _NOT_TLS,
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "UNKNOWN_PROTOCOL": _NOT_TLS,
    "UNEXPECTED_MESSAGE": _NOT_TLS,
    "BAD_RECORD_TYPE": _NOT_TLS,
    "RECORD_LAYER_FAILURE": _NOT_TLS,
    "RECORD_TOO_SMALL": _NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": _NOT_TLS,
    "ENCRYPTED_LENGTH_TOO_LONG": _NOT_TLS,
    "UNSUPPORTED_PROTOCOL": _NO_VERSION,
    "VERSION_TOO_LOW": _NO_VERSION,
    "TLSV1_ALERT_PROTOCOL_VERSION": _NO_VERSION,
    "NO_SHARED_CIPHER": _NO_CIPHER,
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "no signature algorithm in common: look at both sides' certificates",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": f"it broke off: {_NO_CIPHER}",
    "TLSV1_ALERT_UNKNOWN_CA": f"{_OUR_CERTIFICATE}: make the authority that issued it known there",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": f"{_OUR_CERTIFICATE}: see its log",
    "SSLV3_ALERT_BAD_CERTIFICATE": f"{_OUR_CERTIFICATE}: see its log",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": f"{_OUR_CERTIFICATE}: it must be good for servers and clients",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": f"{_OUR_CERTIFICATE}: it has expired; renew tls_certificate",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": f"{_OUR_CERTIFICATE}: it was revoked; renew tls_certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a certificate of us: set tls_certificate and tls_key",
}

# by X509_V_ERR_... of OpenSSL
_VERDICTS = {
    9: "its certificate is not valid yet: compare the clocks of both sides",
    10: "its certificate has expired: renew it there",
    18: "its certificate is self-signed and not in tls_ca: add it, or have one issued",
    19: "its certificate comes from an authority that is not in tls_ca: add that, or have another issued",
    20: "its certificate comes from an authority that is not in tls_ca: add that, or have another issued",
    21: "its certificate comes from an authority that is not in tls_ca: add that, or have another issued",
    26: "its certificate is not meant for this end of a connection: have one issued for servers and clients",
    62: "its certificate is made out to another host name: use the name in it, or have one issued for this",
    64: "its certificate is made out to another address: use the name in it, or have one issued for this",
}


@dataclass(frozen=True)
class TLSFiles:
    """Where one side's certificates lie; all are PEM files.

    Parameters
    ----------
    certificate : Path or None
        Our certificate, followed by those between it and the authority's.
    key : Path or None
        Its private key, not encrypted; it may be ``certificate`` itself.
    ca : Path or None
        The certificates that vouch for peers. None: for those we call, the system's; for those who call
        us, nobody.
    """

    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None


def server_context(files: TLSFiles, require_client_certificate: bool) -> ssl.SSLContext:
    """Return what the node needs to speak TLS with those who call it.

    Parameters
    ----------
    files : TLSFiles
        ``certificate`` and ``key`` are needed; ``ca`` too when clients must show a certificate.
    require_client_certificate : bool
        Whether a caller without a certificate that ``ca`` vouches for is turned away. One that shows a
        certificate has it checked in any case where ``ca`` is given.

    Returns
    -------
    ssl.SSLContext
        TLS 1.2 and 1.3, cipher suites of BCP 195 (RFC 9325, 4.2), no renegotiation, no resumption.

    Raises
    ------
    TLSUnusable
        If a file is missing, cannot be read, or does not hold what it should.
    """
    if files.certificate is None or files.key is None:
        raise TLSUnusable("TLS needs a certificate and its key: set tls_certificate and tls_key")
    if require_client_certificate and files.ca is None:
        raise TLSUnusable("callers' certificates cannot be checked: set tls_ca, or stop asking for them")
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    # a resumed session would outlive the certificate it began with
    context.num_tickets = 0
    _present(context, files.certificate, files.key)
    if files.ca is not None:
        _trust(context, files.ca)
        context.verify_mode = ssl.CERT_REQUIRED if require_client_certificate else ssl.CERT_OPTIONAL
    return context


def client_context(files: TLSFiles) -> ssl.SSLContext:
    """Return what is needed to call a peer over TLS: its chain and its host name are checked.

    Parameters
    ----------
    files : TLSFiles
        ``certificate`` and ``key``, both or none, are shown to a peer that asks for them.

    Returns
    -------
    ssl.SSLContext
        As ``server_context``'s, for the other end.

    Raises
    ------
    TLSUnusable
        If a file cannot be read or does not hold what it should.
    """
    if (files.certificate is None) != (files.key is None):
        raise TLSUnusable("a certificate needs its key: set both tls_certificate and tls_key, or none")
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = RememberingSocket
    if files.certificate is not None and files.key is not None:
        _present(context, files.certificate, files.key)
    if files.ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        _trust(context, files.ca)
    return context


def unverified_context(files: TLSFiles) -> ssl.SSLContext:
    """Return what is needed to ask the node of this very host whether it answers; nothing is checked.

    Our certificate is shown, but need not be made out to the loopback address. Send no image with it.

    Raises
    ------
    TLSUnusable
        As ``client_context``.
    """
    context = client_context(files)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def explain(error: OSError) -> str:
    """Say in one clause why a handshake failed and what to do; of the peer's bytes, nothing is quoted."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERDICTS.get(error.verify_code, f"its certificate is refused ({error.verify_message})")
    if isinstance(error, ssl.SSLError) and error.reason in _REASONS:
        return _REASONS[error.reason]
    if isinstance(error, TimeoutError):
        return "it did not finish the handshake in time: is TLS on at that side?"
    if isinstance(error, (ssl.SSLEOFError, ConnectionError)):
        return "it closed the connection during the handshake: is TLS on, and our certificate known there?"
    reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
    return f"the handshake failed ({reason}): see the log of that side"


class RememberingSocket(ssl.SSLSocket):
    """An outgoing connection that keeps why TLS failed, for whoever has to tell a person."""

    failure: OSError | None = None

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands."""
        try:
            super().do_handshake(block)
        except OSError as error:
            self.failure = error
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Receive; with TLS 1.3 a peer that refuses our certificate says so only here."""
        try:
            return super().recv(buflen, flags)
        except ssl.SSLError as error:
            self.failure = error
            raise


def _context(protocol: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = MINIMUM_VERSION
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(":".join((*CIPHER_SUITES, "@SECLEVEL=2")))
    return context


def _present(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    _require_readable(certificate, "the certificate")
    _require_readable(key, "the key")
    try:
        # without a password OpenSSL would ask for it on the terminal
        context.load_cert_chain(certificate, key, password=lambda: _refuse_encrypted(key))
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TLSUnusable(
                f"{key} is not the key of {certificate}: name the pair that belongs together"
            ) from error
        if error.reason in ("CA_MD_TOO_WEAK", "EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL"):
            raise TLSUnusable(
                f"{certificate} is too weak for BCP 195 ({error.reason}): have another issued"
            ) from error
        raise TLSUnusable(
            f"{certificate} and {key} cannot be used ({error.reason or 'not PEM'}): "
            "both must be PEM files, a certificate and its private key"
        ) from error


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    _require_readable(ca, "the authority's certificate")
    try:
        context.load_verify_locations(cafile=ca)
    except ssl.SSLError as error:
        raise TLSUnusable(
            f"{ca} holds no certificate ({error.reason or 'not PEM'}): it must be a PEM file of authorities"
        ) from error


def _require_readable(path: Path, what: str) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise TLSUnusable(
            f"{what}, {path}, cannot be read ({error.strerror or error}): check path and permissions"
        ) from error


def _refuse_encrypted(key: Path) -> NoReturn:
    raise TLSUnusable(f"{key} is encrypted: store it without a pass phrase, readable for this service only")
