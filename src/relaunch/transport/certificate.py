"""The certificate by which a subscriber is known: made here, and recognised by its fingerprint.

Nobody signs it and nothing in it is believed: who dials was told its SHA-256 by a channel that is trusted. Refuses to
know where credentials are kept.
"""

import hashlib
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_LIFE = timedelta(days=36500)


@dataclass(frozen=True)
class Credentials:
    """A certificate and its private key, both as PEM."""

    certificate: bytes
    key: bytes = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate in DER, in hexadecimal."""
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.certificate.decode("ascii"))).hexdigest()


def fingerprint_of(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate that a library has parsed."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def make_credentials() -> Credentials:
    """A new key on P-256, and a certificate for it that does not run out."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "relaunch")])
    # The clock of whoever compares it may be behind; nobody looks at these dates, but a library might.
    begin = datetime.now(UTC) - timedelta(days=2)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + _LIFE)
        .sign(key, hashes.SHA256())
    )
    return Credentials(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
