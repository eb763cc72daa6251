"""A web server whose answers can be made wrong, for the tests of fetching."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import ipaddress
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class Exchange(http.server.BaseHTTPRequestHandler):
    """One request and its answer; a fault is a function that takes it and answers."""

    protocol_version = "HTTP/1.1"
    server: FaultServer

    def do_GET(self) -> None:
        """Answer with the fault, or rightly."""
        site = self.server.site
        with site.lock:
            site.requests.append((self.path, dict(self.headers.items())))
            self.number = len(site.requests)
        site.answer(self)

    @property
    def data(self) -> bytes:
        """What the requested file holds."""
        return self.server.site.files[self.path.partition("?")[0]]

    @property
    def asked(self) -> tuple[int, int]:
        """The range that was asked for, or the whole file."""
        match = _RANGE.fullmatch(self.headers.get("Range", ""))
        if match is None:
            return 0, len(self.data)
        return int(match[1]), min(int(match[2]) + 1, len(self.data))

    def send(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        """An answer with these very headers and this very body."""
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def send_range(self, data: bytes | None = None, etag: str = '"one"') -> None:
        """The right answer to what was asked; 404 for a file that is not there."""
        if self.path.partition("?")[0] not in self.server.site.files:
            self.send(404, {"Content-Length": "0"})
            return
        whole = self.data if data is None else data
        start, end = self.asked
        headers = {"Content-Length": str(end - start), "ETag": etag}
        if "Range" in self.headers:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(whole)}"
        self.send(206 if "Range" in self.headers else 200, headers, whole[start:end])

    def send_whole(self) -> None:
        """The whole file with 200, whatever range was asked for."""
        self.send(200, {"Content-Length": str(len(self.data))}, self.data)

    def redirect(self, url: str) -> None:
        """302 to another place."""
        self.send(302, {"Location": url, "Content-Length": "0"})

    def drop(self) -> None:
        """Close the connection."""
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the tests look at `requests`."""


Fault = Callable[[Exchange], None]


@dataclass
class Site:
    """What a server serves, and how; `requests` is what it was asked, in order."""

    files: dict[str, bytes] = field(default_factory=dict)
    answer: Fault = Exchange.send_range
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""


class FaultServer(http.server.ThreadingHTTPServer):
    """Serves a Site on loopback."""

    daemon_threads = True
    block_on_close = False
    site: Site

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: clients that leave are part of the tests."""


@contextlib.contextmanager
def serving(site: Site, tls: Path | None = None) -> Iterator[Site]:
    """Run a server for the block; with `tls`, that PEM file has key and certificate."""
    server = FaultServer(("127.0.0.1", 0), Exchange)
    server.site = site
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    site.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def make_certificate(path: Path) -> Path:
    """Write a key and a self-signed certificate for 127.0.0.1 into one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "weights test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path
