"""Servers, certificates and clips for the tests of the smoke tests."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from smoke_tests.comfy_client import ComfyClient, Target
from tests.smoke.scripted_comfyui import ScriptedComfyUI

Server = Callable[..., ScriptedComfyUI]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own settings must not leak into a test."""
    for name in ("VACE_API_TOKEN", "VACE_URL", "VACE_TOKEN_FILE", "VACE_CA_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def start() -> Iterator[Server]:
    """Start scripted servers; all are stopped at the end."""
    running: list[ScriptedComfyUI] = []

    def begin(*, token: str = "", context: ssl.SSLContext | None = None) -> ScriptedComfyUI:
        running.append(ScriptedComfyUI(token=token, context=context))
        return running[-1]

    yield begin
    for server in running:
        server.stop()


@pytest.fixture
def server(start: Server) -> ScriptedComfyUI:
    """A scripted ComfyUI without TLS and token."""
    return start()


@pytest.fixture
def client(server: ScriptedComfyUI) -> Iterator[ComfyClient]:
    """A client of `server`."""
    with ComfyClient(Target.of(server.url)) as connected:
        yield connected


@dataclass(frozen=True)
class Authority:
    """A private CA and a server certificate for 127.0.0.1 signed by it.

    Attributes:
        ca_file: the CA's certificate. chain: the server's certificate and key in one file.
    """

    ca_file: Path
    chain: Path
    context: ssl.SSLContext


@pytest.fixture(scope="session")
def make_authority(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Authority]:
    """Make a CA with a server certificate; `host` and `days` make it a wrong one."""

    def make(host: str = "127.0.0.1", days: int = 1) -> Authority:
        folder = tmp_path_factory.mktemp("authority")
        now = datetime.datetime.now(datetime.UTC)
        ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "smoke test CA")])

        def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey, end: int) -> object:
            return (
                x509.CertificateBuilder()
                .subject_name(subject)
                .issuer_name(ca_name)
                .public_key(public)
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(days=3))
                .not_valid_after(now + datetime.timedelta(days=end))
            )

        ca = (
            builder(ca_name, ca_key.public_key(), 1)  # type: ignore[attr-defined]
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(ca_key, hashes.SHA256())
        )
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "service")])
        leaf = (
            builder(name, key.public_key(), days)  # type: ignore[attr-defined]
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]),
                critical=False,
            )
            .sign(ca_key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        ca_file, chain = folder / "ca.pem", folder / "server.pem"
        ca_file.write_bytes(ca.public_bytes(pem))
        chain.write_bytes(
            leaf.public_bytes(pem)
            + key.private_bytes(
                pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        chain.chmod(0o600)  # it holds the key
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return Authority(ca_file, chain, context)

    return make


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of full recordings beside the repository; skips where it is missing."""
    folder = Path(__file__).parents[2] / ".." / "shared" / "contract" / "comfyui-0.33.0"
    if not folder.is_dir():
        pytest.skip(f"RECORDINGS MISSING: {folder.resolve()} is not there; nothing was compared")
    return folder.resolve()
