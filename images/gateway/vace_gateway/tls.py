"""TLS: one context for the life of the process, its certificate replaced in place.

``SSLContext.load_cert_chain`` on a live context changes what new handshakes present; connections
that are open keep their session. So a rotation drops nobody.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from vace_gateway.errors import Problem, SettingsError
from vace_gateway.settings import PREFIX

# Forward secrecy and authenticated encryption only; TLS 1.3 suites are chosen by OpenSSL itself.
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!eNULL:!SHA1"


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Make the listener's context (TLS 1.2 or newer).

    Raises SettingsError when the files are missing, unreadable or don't belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    load_certificate(context, certificate, key)
    return context


def load_certificate(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Load or replace the certificate; on any error the context stays as it was.

    Raises SettingsError.
    """
    # A failed load can leave a context with a new certificate and an old key, so a scratch
    # context goes first.
    for target in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), context):
        try:
            # The empty password makes an encrypted key an error instead of a question on stdin.
            target.load_cert_chain(certificate, key, password="")
        except (OSError, ValueError) as error:
            raise SettingsError(
                [
                    Problem(
                        f"{PREFIX}TLS_CERT and {PREFIX}TLS_KEY",
                        f"{certificate} and {key} ({error.__class__.__name__}: {error})",
                        "a PEM certificate chain (server first) and its unencrypted PEM key",
                        "a TLS listener can't answer without a matching pair",
                        "write both files anew, readable for the gateway's user, then send SIGHUP "
                        "or start again",
                    )
                ]
            ) from error


def certificate_expiry(certificate: Path) -> datetime:
    """``notAfter`` of the first certificate of a PEM file.

    Raises ValueError when the file holds no certificate. The standard library can't tell this
    without a connection, hence the small DER walk (RFC 5280, section 4.1).
    """
    text = certificate.read_text(encoding="ascii", errors="replace")
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    if begin not in text or end not in text:
        raise ValueError(f"{certificate} holds no PEM certificate")
    first = text[text.index(begin) : text.index(end) + len(end)]
    outer = _elements(ssl.PEM_cert_to_DER_cert(first))
    fields = _elements(_elements(outer[0][1])[0][1])
    if fields[0][0] == _TAG_VERSION:
        fields = fields[1:]
    serial_signature_issuer = 3
    tag, value = _elements(fields[serial_signature_issuer][1])[1]
    layout = "%y%m%d%H%M%SZ" if tag == _TAG_UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(value.decode("ascii"), layout).replace(tzinfo=UTC)


_TAG_VERSION: Final = 0xA0
_TAG_UTC_TIME: Final = 0x17


def _elements(der: bytes) -> list[tuple[int, bytes]]:
    """Split the content of a DER constructed value into (tag, content) pairs."""
    found = []
    position = 0
    while position < len(der):
        tag, length = der[position], der[position + 1]
        position += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(der[position : position + size], "big")
            position += size
        if position + length > len(der):
            raise ValueError("the certificate is cut short")
        found.append((tag, der[position : position + length]))
        position += length
    return found
