"""The emulator's own certificate authority and server certificate.

The CA is made on the first start and kept, so that a machine or a process that trusts it goes on
doing so after a restart.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rehearsal.cloud.vault import write_private

_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)
_CA_YEARS = 10
_SERVER_DAYS = 365


def server_names(regions: list[str]) -> list[str]:
    """The names that the API answers to: loopback, the metadata address, Alibaba's host names."""
    names = ["127.0.0.1", "::1", "localhost", "100.100.100.200", "*.aliyuncs.com"]
    for region in regions:
        names += [
            f"*.{region}.aliyuncs.com",
            f"*.oss-{region}.aliyuncs.com",
            f"*.oss-{region}-internal.aliyuncs.com",
        ]
    return names


class Authority:
    """A private CA in ``directory``: ca.pem, ca-key.pem, ca-bundle.pem (with the system's CAs)."""

    def __init__(self, directory: Path) -> None:
        self.ca_file = directory / "ca.pem"
        self.bundle_file = directory / "ca-bundle.pem"
        self.key_file = directory / "ca-key.pem"
        self._directory = directory
        if not (self.ca_file.exists() and self.key_file.exists()):
            self._create()
        self._key = serialization.load_pem_private_key(self.key_file.read_bytes(), password=None)
        self._certificate = x509.load_pem_x509_certificate(self.ca_file.read_bytes())
        self.bundle_file.write_bytes(_system_bundle() + self.ca_file.read_bytes())

    def issue(self, name: str, subjects: list[str]) -> tuple[Path, Path]:
        """Issue a server certificate for DNS names and addresses.

        Writes ``<name>.pem`` (certificate and CA) and ``<name>-key.pem`` (mode 0600) and returns
        both paths.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        alternatives = x509.SubjectAlternativeName([_general_name(s) for s in subjects])
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=_SERVER_DAYS))
            .add_extension(alternatives, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(self._authority_identifier(), critical=False)
        )
        certificate = builder.sign(_signing_key(self._key), hashes.SHA256())
        certificate_file = self._directory / f"{name}.pem"
        key_file = self._directory / f"{name}-key.pem"
        write_private(key_file, _pem_key(key))
        certificate_file.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM) + self.ca_file.read_bytes()
        )
        return certificate_file, key_file

    def server_context(self, name: str, subjects: list[str]) -> ssl.SSLContext:
        """A TLS server context with a fresh certificate for ``subjects``."""
        certificate_file, key_file = self.issue(name, subjects)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate_file, key_file)
        return context

    def _create(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, "Rehearsal cloud CA (not for production)")]
        )
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=365 * _CA_YEARS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(ca=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        write_private(self.key_file, _pem_key(key))
        self.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _authority_identifier(self) -> x509.AuthorityKeyIdentifier:
        extension = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(extension.value)


def _signing_key(key: object) -> ec.EllipticCurvePrivateKey:
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(
            f"ca-key.pem holds a {type(key).__name__}, not an elliptic curve key as this emulator "
            "makes. Delete ca.pem and ca-key.pem to have new ones made."
        )
    return key


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(subject: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(subject))
    except ValueError:
        return x509.DNSName(subject)


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _system_bundle() -> bytes:
    """The system's CA certificates; empty on a system without any."""
    default = ssl.get_default_verify_paths().openssl_cafile
    for candidate in (*_SYSTEM_BUNDLES, default):
        path = Path(candidate)
        if path.is_file() and os.access(path, os.R_OK):
            return path.read_bytes().rstrip(b"\n") + b"\n"
    return b""
