"""The certificates: a real TLS handshake accepts them, and refuses what it should."""

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra import pki


def handshake(tmp_path: Path, server: pki.KeyPair, authority: str, name: str) -> str:
    """Shake hands over a socket pair; return the negotiated TLS version."""
    (tmp_path / "cert.pem").write_text(server.certificate + server.private_key)
    ours, theirs = socket.socketpair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem")

    def serve() -> None:
        try:
            context.wrap_socket(theirs, server_side=True).close()
        except (ssl.SSLError, OSError):
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client = ssl.create_default_context(cadata=authority)
        with client.wrap_socket(ours, server_hostname=name) as connection:
            return connection.version() or ""
    finally:
        ours.close()
        thread.join(timeout=5)


def test_a_client_that_knows_the_authority_accepts_the_server(tmp_path: Path) -> None:
    authority = pki.make_authority("test CA")
    server = pki.make_server(authority, ["203.0.113.10", "video.example.com"])
    assert handshake(tmp_path, server, authority.certificate, "203.0.113.10") == "TLSv1.3"
    assert handshake(tmp_path, server, authority.certificate, "video.example.com") == "TLSv1.3"


def test_another_authority_or_name_is_refused(tmp_path: Path) -> None:
    authority, other = pki.make_authority("one"), pki.make_authority("two")
    server = pki.make_server(authority, ["203.0.113.10"])
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, server, other.certificate, "203.0.113.10")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, server, authority.certificate, "203.0.113.11")


def test_a_certificate_is_renewed_in_its_last_month() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    authority = pki.make_authority("CA", now)
    server = pki.make_server(authority, ["203.0.113.10"], now)
    assert not pki.needs_renewal(server.certificate, now)
    assert pki.needs_renewal(server.certificate, now + timedelta(days=pki.SERVER_DAYS - 29))


def test_certificate_and_key_fit_into_one_secret_parameter() -> None:
    authority = pki.make_authority("wan-vace-" + "x" * 31 + " CA")
    server = pki.make_server(authority, ["203.0.113.10", "a" * 60 + ".example.com"])
    assert len(server.certificate) + len(server.private_key) < 3500
