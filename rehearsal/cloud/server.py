"""HTTP over sockets: keep-alive, chunked bodies, and TLS or plain HTTP on the same port.

The provider insists on TLS for some calls even where it was told to use plain HTTP, so one port
must speak both: the first byte of a TLS connection is always 0x16, and no HTTP request starts so.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from socketserver import BaseServer
from typing import Any, cast

from rehearsal.cloud.http import HttpRequest, HttpResponse

Route = Callable[[HttpRequest], HttpResponse]

MAX_BODY_BYTES = 512 * 1024 * 1024
_IDLE_S = 75.0
_TLS_HANDSHAKE_BYTE = b"\x16"


class HttpServer:
    """Serves one route on any number of listening sockets, a thread for each connection."""

    def __init__(self, route: Route, *, name: str, tls: ssl.SSLContext | None = None) -> None:
        self.route = route
        self.name = name
        self._tls = tls
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._acceptors: list[threading.Thread] = []
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._busy = 0
        # A socket that blocks in accept() is not woken by close() from another thread, so
        # acceptors also watch this pair: a byte in it tells them to end.
        self._wake, self._woken = socket.socketpair()

    def listen(self, host: str, port: int) -> tuple[str, int]:
        """Open a listening socket and serve it; returns the address (port 0 picks a free one)."""
        listener = socket.create_server((host, port), backlog=128)
        self.serve(listener)
        address: tuple[str, int] = listener.getsockname()[:2]
        return address

    def serve(self, listener: socket.socket) -> None:
        """Serve a socket that is already listening; the server closes it in the end."""
        thread = threading.Thread(
            target=self._accept, args=(listener,), name=f"{self.name}-accept", daemon=True
        )
        self._acceptors.append(thread)
        thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Stop accepting, let requests in progress end, close every connection."""
        self._closing.set()
        self._wake.send(b"\0")
        deadline = time.monotonic() + timeout_s
        for acceptor in self._acceptors:
            acceptor.join(max(0.0, deadline - time.monotonic()))
        idle = threading.Event()
        while time.monotonic() < deadline and self._busy:
            idle.wait(0.02)
        with self._lock:
            connections = dict(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in connections.values():
            thread.join(max(0.0, deadline - time.monotonic()))
        self._wake.close()
        self._woken.close()

    # ---- used by the connection handler

    def begin_request(self) -> None:
        """Note that a request is in progress, so that :meth:`close` waits for it."""
        with self._lock:
            self._busy += 1

    def end_request(self) -> None:
        """Note that the request is over."""
        with self._lock:
            self._busy -= 1

    # ---- threads

    def _accept(self, listener: socket.socket) -> None:
        with listener:
            while not self._closing.is_set():
                ready, _, _ = select.select([listener, self._woken], [], [])
                if listener not in ready:
                    continue
                try:
                    connection, address = listener.accept()
                except OSError:
                    continue
                thread = threading.Thread(
                    target=self._connection, args=(connection, address), name=self.name, daemon=True
                )
                with self._lock:
                    self._connections[connection] = thread
                thread.start()

    def _connection(self, connection: socket.socket, address: Any) -> None:
        stream: socket.socket = connection
        try:
            connection.settimeout(_IDLE_S)
            if self._tls is not None:
                first = connection.recv(1, socket.MSG_PEEK)
                if first == _TLS_HANDSHAKE_BYTE:
                    stream = self._tls.wrap_socket(connection, server_side=True)
                    with self._lock:
                        self._connections[stream] = self._connections.pop(connection)
            _Handler(stream, address, cast(BaseServer, self))
        except (OSError, ssl.SSLError):
            # The other side went away, or does not trust the CA: its problem, told on its side.
            pass
        except Exception:
            traceback.print_exc(file=sys.stderr)
        finally:
            with self._lock:
                self._connections.pop(stream, None)
                self._connections.pop(connection, None)
            with contextlib.suppress(OSError):
                stream.close()


class _BadRequestError(Exception):
    """The request cannot be read; carries the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S
    disable_nagle_algorithm = True
    server: Any

    def _answer(self) -> None:
        owner: HttpServer = self.server
        owner.begin_request()
        try:
            try:
                request = self._request()
            except _BadRequestError as error:
                self.close_connection = True
                text = f"{error}\n".encode()
                self._send(HttpResponse(error.status, {"Content-Type": "text/plain"}, text))
                return
            response = owner.route(request)
            if response.drop:
                self._drop()
                return
            self._send(response)
        finally:
            owner.end_request()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = _answer  # noqa: N815

    def _request(self) -> HttpRequest:
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            key = name.lower()
            headers[key] = f"{headers[key]},{value}" if key in headers else value
        target = self.path
        if target.startswith(("http://", "https://")):
            target = "/" + target.split("/", 3)[3] if target.count("/") >= 3 else "/"
        return HttpRequest(
            method=self.command,
            target=target,
            headers=headers,
            body=self._body(headers),
            secure=isinstance(self.connection, ssl.SSLSocket),
            source_ip=str(self.client_address[0]),
        )

    def _body(self, headers: dict[str, str]) -> bytes:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return self._chunks()
        text = headers.get("content-length", "0") or "0"
        if not text.isdigit():
            raise _BadRequestError(400, f"Content-Length is {text!r}; expected a number of bytes")
        length = int(text)
        if length > MAX_BODY_BYTES:
            raise _BadRequestError(413, _too_large(length))
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionError("the client closed the connection before the end of its body")
        return body

    def _chunks(self) -> bytes:
        body = bytearray()
        while True:
            size_text = self.rfile.readline(64).split(b";")[0].strip()
            try:
                size = int(size_text, 16)
            except ValueError:
                raise _BadRequestError(400, f"chunk size is {size_text!r}; expected hex") from None
            if len(body) + size > MAX_BODY_BYTES:
                raise _BadRequestError(413, _too_large(len(body) + size))
            if size == 0:
                while self.rfile.readline(65536).strip():  # trailers
                    pass
                return bytes(body)
            body += self.rfile.read(size)
            self.rfile.readline(8)

    def _send(self, response: HttpResponse) -> None:
        body = b"" if response.status in (204, 304) else response.body
        self.send_response(response.status)
        names = {name.lower() for name in response.headers}
        for name, value in response.headers.items():
            self.send_header(name, value)
        if "content-length" not in names and response.status != 204:
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _drop(self) -> None:
        """Close with a reset, as a connection does that breaks."""
        self.close_connection = True
        linger_on_with_zero_time = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_on_with_zero_time)
        self.connection.close()

    def version_string(self) -> str:
        """The Server header."""
        return "rehearsal-cloud"

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: calls are logged by the journal."""


def _too_large(size: int) -> str:
    return f"the body has {size} bytes or more; this emulator takes up to {MAX_BODY_BYTES}"
