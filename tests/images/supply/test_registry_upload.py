"""Uploads in chunks: against a real registry, and against one that fails when it is told to."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from images.builder.oci import MANIFEST_TYPE, Descriptor
from images.builder.registry import MANIFEST_LIMIT, Registry
from images.builder.registry_auth import Credentials
from images.builder.registry_bodies import FilePart
from images.builder.registry_errors import (
    RegistryAccessError,
    RegistryAnswerError,
    RegistryDigestError,
    RegistryUnreachableError,
)
from tests.images.supply.registries import run_breaking_line, run_registry

REPOSITORY = "vace/test"
CHUNK = 100_000
CONTENT = hashlib.shake_256(b"a blob").digest(950_000)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    """Nine chunks and a half."""
    file = tmp_path / "blob"
    file.write_bytes(CONTENT)
    return file


@dataclass
class Faults:
    """What a scripted registry does, and what it saw.

    Attributes:
        by_request: what to do instead of the right thing, by method and how many of it came
            before: a status, or ``drop`` (end the connection in the middle of the body), ``half``
            (take half of the chunk and say so) or ``mute`` (do it, but do not answer).
        token: bearers of another one get a 401; None: everybody may.
        keeps: a chunk that broke off is kept as far as it came, otherwise it is forgotten.
    """

    by_request: dict[tuple[str, int], int | str] = field(default_factory=dict)
    token: str | None = None
    keeps: bool = True
    forgets: bool = False
    seen: list[str] = field(default_factory=list)
    taken: int = 0
    received: bytearray = field(default_factory=bytearray)
    blobs: dict[str, bytes] = field(default_factory=dict)
    session: int = 0
    least: int | None = None


class Handler(BaseHTTPRequestHandler):
    """Sessions of uploads, as the distribution specification has them."""

    protocol_version = "HTTP/1.1"
    faults: Faults

    def do_HEAD(self) -> None:
        digest = self.path.rpartition("/")[2]
        self._answer(200 if digest in self.faults.blobs else 404)

    def do_GET(self) -> None:
        if self.path.startswith("/token"):
            self.faults.token = f"token-{len(self.faults.seen)}"
            self._answer(200, body=b'{"token": "%s"}' % self.faults.token.encode())
        elif not self._at_fault("GET", b""):
            self._told() if self._current() else self._answer(404)

    def do_POST(self) -> None:
        if not self._at_fault("POST", b""):
            self.faults.session += 1
            self.faults.received.clear()
            more = (
                {}
                if self.faults.least is None
                else {"OCI-Chunk-Min-Length": f"{self.faults.least}"}
            )
            self._answer(202, {"Location": self._place(), **more})

    def do_PATCH(self) -> None:
        found = re.fullmatch(r"(\d+)-(\d+)", self.headers["Content-Range"])
        assert found
        start, end = int(found[1]), int(found[2])
        length = int(self.headers["Content-Length"])
        assert end - start + 1 == length
        fault = self._fault("PATCH")
        if fault == "drop":
            part = self.rfile.read(length // 2)
            self.faults.received += part if self.faults.keeps else b""
            self.faults.session += self.faults.forgets
            self._hang_up()
            return
        body = self.rfile.read(length)
        self.faults.taken += length
        if self._at_fault("PATCH", fault):
            return
        if not self._current():
            self._answer(404)
        elif start != len(self.faults.received):
            self._answer(416, {"Location": self._place(), "Range": self._range()})
        else:
            self.faults.received += body[: length // 2] if fault == "half" else body
            self._told(202)

    def do_PUT(self) -> None:
        digest = parse_qs(urlsplit(self.path).query)["digest"][0]
        fault = self._fault("PUT")
        actual = f"sha256:{hashlib.sha256(self.faults.received).hexdigest()}"
        if fault == "mute":
            self.faults.blobs[actual] = bytes(self.faults.received)
            self.faults.session += 1
            self._hang_up()
        elif not self._at_fault("PUT", fault):
            if actual == digest:
                self.faults.blobs[digest] = bytes(self.faults.received)
            self._answer(201 if actual == digest else 400)

    def _fault(self, method: str) -> int | str:
        number = sum(row.startswith(method) for row in self.faults.seen)
        self.faults.seen.append(f"{method} {self.headers.get('Content-Range', '')}".strip())
        return self.faults.by_request.get((method, number), "")

    def _at_fault(self, method: str, fault: int | str | bytes) -> bool:
        found = self._fault(method) if fault == b"" else fault
        wanted = self.faults.token
        if found == 401 or (
            wanted is not None and self.headers.get("Authorization") != f"Bearer {wanted}"
        ):
            if found == 401:
                self.faults.token = "another"  # what was given is worth nothing from now on
            realm = f'Bearer realm="http://{self.headers["Host"]}/token",service="x"'
            self._answer(401, {"WWW-Authenticate": realm})
        elif isinstance(found, int):
            self._answer(found, body=b"as told")
        else:
            return False
        return True

    def _current(self) -> bool:
        return urlsplit(self.path).path.endswith(f"/{self.faults.session}")

    def _place(self) -> str:
        return (
            f"/v2/{REPOSITORY}/blobs/uploads/{self.faults.session}?_state={len(self.faults.seen)}"
        )

    def _range(self) -> str:
        return f"0-{max(0, len(self.faults.received) - 1)}"

    def _told(self, status: int = 204) -> None:
        self._answer(status, {"Location": self._place(), "Range": self._range()})

    def _answer(
        self, status: int, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def scripted() -> Iterator[tuple[str, Faults]]:
    """Address of a scripted registry, and its script."""
    faults = Faults()
    handler = type("Scripted", (Handler,), {"faults": faults})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}", faults
        server.shutdown()
        thread.join()


def push(host: str, blob: Path | bytes, chunk: int = CHUNK) -> tuple[list[float], list[str]]:
    """Push; gives the waits and what was told."""
    waits: list[float] = []
    told: list[str] = []
    credentials = Credentials("somebody", "only-a-test")
    with Registry(host, credentials=credentials, wait=waits.append) as registry:
        pushed = registry.push_blob(REPOSITORY, blob, tell=told.append, chunk_bytes=chunk)
    content = blob if isinstance(blob, bytes) else blob.read_bytes()
    assert pushed.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert pushed.size == len(content)
    return waits, told


@pytest.mark.parametrize("size", [0, 1, 2, CHUNK, CHUNK + 1, 950_000])
def test_a_real_registry_takes_blobs_in_chunks(tmp_path: Path, blob: Path, size: int) -> None:
    """Prevents: chunks that only a server of our own understands."""
    content = CONTENT[:size]
    blob.write_bytes(content)
    with run_registry(tmp_path / "registry") as host:
        assert push(host, blob) == ([], [])
        log = (tmp_path / "registry" / "registry.log").read_text()
        chunks = len(re.findall(r'"PATCH /v2/vace/test/blobs/uploads/[^"]*" 202', log))
        assert chunks == -(-size // CHUNK)
        found = Descriptor("", f"sha256:{hashlib.sha256(content).hexdigest()}", size)
        with Registry(host) as registry, registry.open_blob(REPOSITORY, found) as stream:
            assert stream.read() == content


def test_a_real_registry_gets_the_blob_over_a_line_that_breaks(tmp_path: Path, blob: Path) -> None:
    """Prevents: a resumed upload that only a server of our own understands."""
    with run_registry(tmp_path / "registry") as host, run_breaking_line(host, 250_000) as line:
        waits, told = push(line.address, blob)
        assert line.broken == 1
        # This registry ends a session of which it kept a part that it did not confirm (404), so
        # the second attempt begins a new one.
        assert waits == [2.0, 4.0]
        assert "attempt 1 failed at byte 200000 of 950000" in told[0]
        assert "404" in told[1]
        found = Descriptor("", DIGEST, len(CONTENT))
        with Registry(host) as registry, registry.open_blob(REPOSITORY, found) as stream:
            assert stream.read() == CONTENT


def test_a_connection_that_breaks_inside_a_chunk_goes_on_where_the_registry_got(
    scripted: tuple[str, Faults], blob: Path
) -> None:
    """Prevents: 6.7 GB that begin again because of one lost connection."""
    host, faults = scripted
    faults.by_request[("PATCH", 4)] = "drop"
    waits, told = push(host, blob)
    assert faults.blobs[DIGEST] == CONTENT
    assert waits == [2.0]
    assert "attempt 1 failed at byte 400000 of 950000" in told[0]
    chunks = [row for row in faults.seen if row.startswith("PATCH")]
    assert chunks[4:6] == ["PATCH 400000-499999", "PATCH 450000-549999"]


def test_a_chunk_that_the_registry_forgot_is_sent_again_from_the_file(
    scripted: tuple[str, Faults], blob: Path
) -> None:
    """Prevents: a body that goes on where the last attempt left the file."""
    host, faults = scripted
    faults.keeps = False
    faults.by_request = {("PATCH", 2): "drop", ("PATCH", 3): "drop"}
    waits, _ = push(host, blob)
    assert faults.blobs[DIGEST] == CONTENT
    assert waits == [2.0, 4.0]
    assert faults.seen.count("PATCH 200000-299999") == 3


def test_a_session_that_is_gone_is_opened_again_from_the_first_byte(
    scripted: tuple[str, Faults], blob: Path
) -> None:
    """Prevents: an upload that asks for ever about a session that a restart ended."""
    host, faults = scripted
    faults.forgets = True
    faults.by_request[("PATCH", 3)] = "drop"
    waits, _ = push(host, blob)
    assert faults.blobs[DIGEST] == CONTENT
    assert waits == [2.0, 4.0]
    assert faults.seen.count("POST") == 2


def test_a_registry_that_is_busy_is_waited_for(scripted: tuple[str, Faults], blob: Path) -> None:
    """Prevents: a publication that ends because of one 503."""
    host, faults = scripted
    faults.by_request = {
        ("POST", 0): 503, ("PATCH", 0): 503, ("PATCH", 3): 500, ("GET", 1): 429, ("PUT", 0): 502,
    }  # fmt: skip
    waits, _ = push(host, blob)
    assert faults.blobs[DIGEST] == CONTENT
    assert len(waits) == 5


def test_attempts_that_get_nowhere_end(scripted: tuple[str, Faults], blob: Path) -> None:
    """Prevents: an upload that tries for ever."""
    host, faults = scripted
    faults.by_request = {("PATCH", number): 503 for number in range(3, 20)}
    with pytest.raises(RegistryAnswerError, match="503 as told"):
        push(host, blob)
    assert faults.seen.count("PATCH 300000-399999") == 4


@pytest.mark.parametrize("status", [400, 403, 413])
def test_a_chunk_that_is_refused_is_not_sent_again(
    scripted: tuple[str, Faults], blob: Path, status: int
) -> None:
    """Prevents: minutes of waiting for an answer that will not change."""
    host, faults = scripted
    faults.by_request[("PATCH", 1)] = status
    with pytest.raises((RegistryAnswerError, RegistryAccessError), match=f"{status} as told"):
        push(host, blob)
    assert [row for row in faults.seen if row.startswith("PATCH")][-1] == "PATCH 100000-199999"
    assert len(faults.seen) == 3


def test_a_token_that_ends_in_the_middle_is_got_anew_and_nothing_is_lost(
    scripted: tuple[str, Faults], blob: Path
) -> None:
    """Prevents: uploads that fail when they take longer than the registry's tokens last."""
    host, faults = scripted
    faults.token = "unknown"
    faults.by_request = {("PATCH", 2): 401, ("PATCH", 6): 401, ("PUT", 0): 401}
    waits, _ = push(host, blob)
    assert faults.blobs[DIGEST] == CONTENT
    assert waits == []
    # Each refused chunk once more, and no other.
    assert faults.taken == len(CONTENT) + 2 * CHUNK


def test_a_registry_that_never_accepts_a_token_is_not_asked_for_ever(
    scripted: tuple[str, Faults], blob: Path
) -> None:
    """Prevents: an endless exchange of tokens with a registry that refuses the user."""
    host, faults = scripted
    faults.token = "unknown"
    faults.by_request = {("PATCH", number): 401 for number in range(50)}
    with pytest.raises(RegistryAccessError, match="credentials sent"):
        push(host, blob)
    assert len(faults.seen) < 8


def test_a_registry_that_takes_half_of_a_chunk_gets_the_rest(
    scripted: tuple[str, Faults], blob: Path
) -> None:
    """Prevents: a hole in the blob where the registry took less than it was sent."""
    host, faults = scripted
    faults.by_request[("PATCH", 1)] = "half"
    waits, _ = push(host, blob)
    assert faults.blobs[DIGEST] == CONTENT
    assert waits == []
    assert "PATCH 150000-249999" in faults.seen


def test_a_lost_answer_to_the_last_request_does_not_send_the_blob_again(
    scripted: tuple[str, Faults], blob: Path
) -> None:
    """Prevents: gigabytes that are sent twice because one answer was lost."""
    host, faults = scripted
    faults.by_request[("PUT", 0)] = "mute"
    waits, _ = push(host, blob)
    assert waits == [2.0]
    assert faults.taken == len(CONTENT)
    assert faults.seen.count("POST") == 1


def test_a_registry_may_ask_for_larger_chunks(scripted: tuple[str, Faults], blob: Path) -> None:
    """Prevents: a store behind a registry that refuses parts below its least size."""
    host, faults = scripted
    faults.least = 500_000
    push(host, blob)
    chunks = [row for row in faults.seen if row.startswith("PATCH")]
    assert chunks == ["PATCH 0-499999", "PATCH 500000-949999"]


def test_a_file_that_shrinks_while_it_is_sent_is_an_error(blob: Path) -> None:
    """Prevents: a request that waits for bytes which no longer exist."""
    part = FilePart(lambda: blob.open("rb"), 900_000, 960_000)
    with pytest.raises(RegistryDigestError, match="ended 10000 bytes too early"):
        list(part)


def test_a_registry_that_stays_away_in_the_middle_is_named(
    scripted: tuple[str, Faults], blob: Path
) -> None:
    """Prevents: a stack trace after the last attempt."""
    host, faults = scripted
    faults.keeps = False
    faults.by_request = {("PATCH", number): "drop" for number in range(1, 20)}
    with pytest.raises(RegistryUnreachableError, match=host):
        push(host, blob)


def test_an_endless_manifest_is_given_up_at_its_limit() -> None:
    """Prevents: a registry that fills the memory of whoever asks for a tag."""
    sent = 0

    class Endless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal sent
            self.send_response(200)
            self.send_header("Content-Type", MANIFEST_TYPE)
            self.end_headers()
            try:
                while sent < 64 * MANIFEST_LIMIT:
                    sent += self.wfile.write(b" " * (1 << 20))
            except OSError:
                pass

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        host = f"127.0.0.1:{server.server_address[1]}"
        refusal = pytest.raises(RegistryAnswerError, match=f"at most {MANIFEST_LIMIT} are allowed")
        with Registry(host) as registry, refusal:
            registry.get_manifest(REPOSITORY, "one")
        server.shutdown()
        thread.join()
    # What lies in the buffers of two sockets was sent, too.
    assert sent < 8 * MANIFEST_LIMIT
