"""Debian's docker-registry as a process on loopback, and a server that issues its tokens."""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import os
import re
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import NameOID

_START_SECONDS = 20.0
USERNAME, PASSWORD = "publisher", "only-a-test"
#: bcrypt of the password above.
HTPASSWD = f"{USERNAME}:$2b$04$mIAPtyxdCNxPPNu2cKNkEuNpKL39mTwM13pKhILwb5VJ58Q5znG8i\n"
SERVICE, ISSUER = "test registry", "test issuer"


@contextlib.contextmanager
def run_registry(folder: Path, **sections: Any) -> Iterator[str]:
    """A registry for the ``with`` block; gives ``127.0.0.1:<port>``."""
    folder.mkdir(parents=True, exist_ok=True)
    http = {"addr": "127.0.0.1:0", **sections.pop("http", {})}
    configuration = {
        "version": "0.1",
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}},
        "http": http,
        **sections,
    }
    (folder / "config.yml").write_text(json.dumps(configuration))
    log = folder / "registry.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(folder / "config.yml")],
            stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"},
        )  # fmt: skip
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not (found := re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield found[1]
    finally:
        process.terminate()
        process.wait(10)


class Identity:
    """A key and its self-signed certificate, in PEM files."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(subject).issuer_name(subject).public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), False
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
            .sign(self.key, hashes.SHA256())
        )  # fmt: skip
        self.certificate_file = folder / f"{name}.crt"
        self.key_file = folder / f"{name}.key"
        pem = serialization.Encoding.PEM
        self.certificate_file.write_bytes(self.certificate.public_bytes(pem))
        self.key_file.write_bytes(
            self.key.private_bytes(
                pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def token(self, scope: str) -> str:
        """A JSON Web Token that lets its bearer do what the scope says."""
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        now = int(time.time())
        der = base64.b64encode(self.certificate.public_bytes(serialization.Encoding.DER)).decode()
        claims = {
            "iss": ISSUER, "sub": USERNAME, "aud": SERVICE, "exp": now + 300, "nbf": now - 10,
            "iat": now, "jti": secrets.token_hex(8),
            "access": [{"type": kind, "name": name, "actions": actions.split(",")}],
        }  # fmt: skip
        head = {"typ": "JWT", "alg": "ES256", "x5c": [der]}
        signed = b".".join(_encode(json.dumps(part).encode()) for part in (head, claims))
        r, s = utils.decode_dss_signature(self.key.sign(signed, ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return b".".join([signed, _encode(signature)]).decode()


def _encode(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


@contextlib.contextmanager
def run_token_server(identity: Identity) -> Iterator[str]:
    """Gives tokens to whoever knows the password; yields the realm's address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            pair = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
            known = self.headers.get("Authorization") == f"Basic {pair}"
            scope = parse_qs(urlsplit(self.path).query).get("scope", [""])[0]
            body = json.dumps({"token": identity.token(scope)} if known else {"details": "no"})
            self.send_response(200 if known else 401)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/token"
        server.shutdown()
        thread.join()


class BreakingLine:
    """Forwards connections to a registry, and ends the first that has carried too much.

    Attributes:
        address: ``127.0.0.1:<port>``.
        broken: number of connections that were ended, at most one.
    """

    def __init__(self, target: str, limit: int) -> None:
        host, _, port = target.partition(":")
        self._target = (host, int(port))
        self._limit = limit
        self._carried = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.broken = 0

    def serve(self) -> None:
        """Take connections until the listener is closed."""
        with contextlib.suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                far = socket.create_connection(self._target)
                self._sockets += [near, far]
                for source, sink, counted in ((near, far, True), (far, near, False)):
                    threading.Thread(
                        target=self._forward, args=(source, sink, counted), daemon=True
                    ).start()

    def close(self) -> None:
        """End all connections."""
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _forward(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(1 << 14):
                self._carried += len(chunk) if counted else 0
                if counted and not self.broken and self._carried > self._limit:
                    self.broken += 1
                    break
                sink.sendall(chunk)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def run_breaking_line(target: str, limit: int) -> Iterator[BreakingLine]:
    """A line to ``target`` (host:port) that breaks once, after ``limit`` bytes towards it."""
    line = BreakingLine(target, limit)
    thread = threading.Thread(target=line.serve, daemon=True)
    thread.start()
    try:
        yield line
    finally:
        line.close()
        thread.join(10)
