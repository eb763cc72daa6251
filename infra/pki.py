"""The private certificate authority of a deployment and its server certificate.

Pure: imports no Pulumi. Keys are EC P-256, which every TLS client of the last ten years knows
and which keep the secret under the 4096 characters of an OOS parameter.
"""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3650
"""Clients install the authority once; it outlives many server certificates."""
SERVER_DAYS = 397
"""Longest life that browsers accept for a server certificate (CA/Browser Forum, 398 days)."""
RENEW_BEFORE = timedelta(days=30)
"""``pulumi up`` renews a certificate that has less than this left."""


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key, both PEM text."""

    certificate: str
    private_key: str


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _builder(
    subject: str, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # An hour back: a client's clock may be a little behind.
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def make_authority(name: str, now: datetime | None = None) -> KeyPair:
    """Return a new authority called ``name``; it may sign server certificates only."""
    now = now or datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name, key.public_key(), now, AUTHORITY_DAYS)
    certificate = (
        builder.issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=False,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM).decode(), _pem(key))


def make_server(authority: KeyPair, names: list[str], now: datetime | None = None) -> KeyPair:
    """Return a server certificate for ``names`` (IP addresses or DNS names) and its key.

    Raises:
        ValueError: ``names`` is empty, or the authority's PEM is not readable.
    """
    if not names:
        raise ValueError("a server certificate needs at least one name")
    now = now or datetime.now(UTC)
    issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
    issuer_key = serialization.load_pem_private_key(authority.private_key.encode(), None)
    if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
        raise ValueError("the authority's key is not an EC key; make a new authority")  # noqa: TRY004
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(names[0], key.public_key(), now, SERVER_DAYS)
        .issuer_name(issuer.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_san(n) for n in names]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .sign(issuer_key, hashes.SHA256())
    )
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM).decode(), _pem(key))


def _san(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def expires(certificate: str) -> str:
    """Return the last day of a PEM certificate, like 2027-12-25."""
    parsed = x509.load_pem_x509_certificate(certificate.encode())
    return parsed.not_valid_after_utc.date().isoformat()


def needs_renewal(certificate: str, now: datetime | None = None) -> bool:
    """Whether a PEM certificate expires within :data:`RENEW_BEFORE`."""
    now = now or datetime.now(UTC)
    parsed = x509.load_pem_x509_certificate(certificate.encode())
    return parsed.not_valid_after_utc - now < RENEW_BEFORE
