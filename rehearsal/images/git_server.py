"""Serves git repositories over HTTP on loopback, by git's own server program.

It answers as a public host does: the current protocol, and fetches of any commit that a branch
contains. With ``old_protocol`` it is a server that knows only the first protocol and gives only
what branches point to.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rehearsal.images.errors import SupplyError
from rehearsal.images.repositories import git_environment

_CHUNK = 1 << 16


class _Handler(BaseHTTPRequestHandler):
    """Hands requests to ``git http-backend`` as a web server does (CGI)."""

    protocol_version = "HTTP/1.0"
    server: GitServer

    def do_GET(self) -> None:
        """What a repository has."""
        self._serve(b"")

    def do_POST(self) -> None:
        """Objects that the client asks for."""
        self._serve(self._body())

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged: a rehearsal's own output says what is fetched."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _serve(self, body: bytes) -> None:
        address = urlsplit(self.path)
        variables = {
            **git_environment(),
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": address.path,
            "QUERY_STRING": address.query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "REMOTE_ADDR": self.client_address[0],
            "GATEWAY_INTERFACE": "CGI/1.1",
        }
        if not self.server.old_protocol:
            variables["GIT_PROTOCOL"] = self.headers.get("Git-Protocol", "")
        done = subprocess.run(
            ["git", "http-backend"], input=body, capture_output=True, env=variables, check=False
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        for start in range(0, len(content), _CHUNK):
            self.wfile.write(content[start : start + _CHUNK])


class GitServer(ThreadingHTTPServer):
    """All bare repositories below one folder, at ``http://127.0.0.1:<port>/<name>.git``."""

    daemon_threads = True

    def __init__(self, root: Path, *, old_protocol: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.old_protocol = old_protocol

    def url(self, name: str) -> str:
        """Address of the repository ``<name>.git``."""
        return f"http://127.0.0.1:{self.server_address[1]}/{name}.git"


@contextlib.contextmanager
def serve_git(root: Path, *, old_protocol: bool = False) -> Iterator[GitServer]:
    """A running server for the ``with`` block.

    Raises:
        SupplyError: git is not installed.
    """
    if shutil.which("git") is None:
        raise SupplyError(
            "`git` is not installed; the sources of a rehearsal build are served by it. "
            "Install it: apt-get install --no-install-recommends git"
        )
    with GitServer(root, old_protocol=old_protocol) as server:
        thread = threading.Thread(target=server.serve_forever, name="git server", daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
