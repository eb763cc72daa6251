"""A model hub on loopback: the URLs, redirects and ranges of Hugging Face and ModelScope.

Hugging Face and its mirror answer ``/<repo>/resolve/<revision>/<path>`` with a redirect to a
content network, and name the file's size and SHA-256 in ``X-Linked-Size`` and ``X-Linked-ETag``.
ModelScope has the same path below ``/models/``. The content network, here ``/cdn/…`` on the same
port, gives ranges, and honours ``If-Range``.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_CHUNK = 1 << 18
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True)
class Served:
    """One file of a hub.

    Attributes:
        repo: owner and name, separated by a slash.
        revision: the only revision that the hub has of it.
        path: path in the repository.
        file: where its content lies.
    """

    repo: str
    revision: str
    path: str
    file: Path


@dataclass(frozen=True)
class _Content:
    file: Path
    size: int
    sha256: str


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WeightsServer

    def do_GET(self) -> None:
        """A redirect, or content."""
        self._answer(send_body=True)

    def do_HEAD(self) -> None:
        """The same without content."""
        self._answer(send_body=False)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged; `requests` of the server counts instead."""

    def _answer(self, *, send_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.note(path)
        if path.startswith("/cdn/"):
            self._content(self.server.by_hash.get(path.removeprefix("/cdn/")), send_body=send_body)
            return
        found = self.server.by_path.get(path.removeprefix("/models/").lstrip("/"))
        if found is None:
            self._plain(HTTPStatus.NOT_FOUND, {"X-Error-Code": "EntryNotFound"}, b"Entry not found")
            return
        headers = {
            # With a query, as a content network's signed addresses have.
            "Location": f"{self.server.url}/cdn/{found.sha256}?Expires=4102444800&Signature=none",
            "X-Linked-Size": str(found.size),
            "X-Linked-ETag": f'"{found.sha256}"',
            "ETag": f'"{found.sha256}"',
        }
        self._plain(HTTPStatus.FOUND, headers, b"" if not send_body else b"Found. Redirecting.")

    def _plain(self, status: HTTPStatus, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _content(self, content: _Content | None, *, send_body: bool) -> None:
        if content is None:
            self._plain(HTTPStatus.FORBIDDEN, {}, b"AccessDenied")
            return
        start, end, status = self._range(content)
        if status is HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            self._plain(status, {"Content-Range": f"bytes */{content.size}"}, b"")
            return
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(end - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{content.sha256}"')
        if status is HTTPStatus.PARTIAL_CONTENT:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{content.size}")
        self.end_headers()
        if send_body:
            self._send(content.file, start, end)

    def _range(self, content: _Content) -> tuple[int, int, HTTPStatus]:
        """First byte, end (not included) and the status that goes with them."""
        whole = (0, content.size, HTTPStatus.OK)
        match = _RANGE.fullmatch(self.headers.get("Range", "").strip())
        condition = self.headers.get("If-Range")
        if match is None or (condition and condition != f'"{content.sha256}"'):
            return whole
        first, last = match.groups()
        if not first and not last:
            return whole
        if not first:
            start, end = max(0, content.size - int(last)), content.size
        else:
            start = int(first)
            end = min(int(last) + 1, content.size) if last else content.size
        if start >= end:
            return 0, 0, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        return start, end, HTTPStatus.PARTIAL_CONTENT

    def _send(self, file: Path, start: int, end: int) -> None:
        with file.open("rb") as stream, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            stream.seek(start)
            left = end - start
            while left:
                chunk = stream.read(min(_CHUNK, left))
                self.wfile.write(chunk)
                left -= len(chunk)


class WeightsServer(ThreadingHTTPServer):
    """The hub; ``url`` is its address, as ``HF_ENDPOINT`` takes it."""

    daemon_threads = True

    def __init__(self, files: list[Served]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        contents = {row: _describe(row.file) for row in files}
        self.by_path = {
            f"{row.repo}/resolve/{row.revision}/{row.path}": contents[row] for row in files
        }
        self.by_hash = {content.sha256: content for content in contents.values()}
        self.requests: list[str] = []
        self._noting = threading.Lock()

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>``."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def note(self, path: str) -> None:
        """Remember a request, for whoever wants to know what was asked."""
        with self._noting:
            self.requests.append(path)


def _describe(file: Path) -> _Content:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return _Content(file, file.stat().st_size, digest)


@contextlib.contextmanager
def serve_weights(files: list[Served]) -> Iterator[WeightsServer]:
    """A running hub with these files for the ``with`` block."""
    with WeightsServer(files) as server:
        thread = threading.Thread(target=server.serve_forever, name="weights server", daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
