"""Certificates for tests, made on the spot."""

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dicom_node.tls import TLSFiles

HOST = "localhost"
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Authority:
    """Issues certificates as PEM files in a folder."""

    folder: Path
    name: str = "Test authority"
    key: ec.EllipticCurvePrivateKey = None
    certificate: x509.Certificate = None

    @property
    def path(self):
        return self.folder / f"{self.name}.pem"

    @classmethod
    def new(cls, folder, name):
        key = ec.generate_private_key(ec.SECP256R1())
        made = cls(folder, name, key, _certificate(name, key, name, key, authority=True))
        made.path.write_bytes(made.certificate.public_bytes(serialization.Encoding.PEM))
        return made

    def issue(self, name, hosts=(HOST,), begins=NOW - DAY, ends=NOW + DAY, key=None, password=None):
        """Return ``TLSFiles`` of a new certificate, with this authority as the one to trust."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(name, key, self.name, self.key, hosts, begins, ends)
        files = TLSFiles(self.folder / f"{name}.crt", self.folder / f"{name}.key", self.path)
        files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        cipher = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, cipher
        files.key.write_bytes(key.private_bytes(*form))
        return files


def _certificate(name, key, issuer, issuer_key, hosts=(), begins=NOW - DAY, ends=NOW + DAY, authority=False):
    named = lambda text: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])  # noqa: E731
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        names = [x509.DNSName(host) for host in hosts]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
