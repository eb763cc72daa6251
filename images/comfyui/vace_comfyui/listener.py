"""A small HTTP server for the status pages: GET and HEAD, no bodies, a bounded everything.

Each connection is one request: bytes, time and the number of connections are limited, so that
whoever reaches the port can neither fill the memory nor hold the supervisor up.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus

from vace_comfyui.problems import Exit, Problem
from vace_comfyui.status import Page

CONNECTIONS = 16
"""Open at a time; further ones are closed at once."""
HEAD_BYTES = 8 * 1024
HEAD_SECONDS = 5.0
"""Time for the whole request to arrive, and again for the answer to be taken."""
FAREWELL_BYTES = 64 * 1024
FAREWELL_SECONDS = 1.0
METHODS = ("GET", "HEAD")


class _RefusedError(Exception):
    """A request that gets no page."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Listener:
    """Serves pages in threads of its own, from `open` until `close`."""

    def __init__(self, address: tuple[str, int], page: Callable[[str], Page | None]) -> None:
        self._address, self._page = address, page
        self._socket: socket.socket | None = None
        self._slots = threading.BoundedSemaphore(CONNECTIONS)

    def open(self) -> Problem | None:
        """Begin to listen; gives what is wrong with the address, if anything is."""
        host, port = self._address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server(
                (host, port),
                family=family,
                backlog=CONNECTIONS,
                dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
            )
        except OSError as error:
            return Problem(
                Exit.USAGE,
                "VACE_STATUS_LISTEN",
                f"{host} port {port}, which gives: {error.strerror or error}",
                "an address of this container and a free port",
                "probes and the gateway would never get an answer",
                "correct the variable, or unset it to do without the status listener",
            )
        threading.Thread(target=self._accept, args=(self._socket,), daemon=True).start()
        return None

    def close(self) -> None:
        """Stop listening; what is being answered is answered."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except ConnectionError:
                continue
            except OSError:
                if listening.fileno() < 0 or not _listens(listening):
                    return
                # Out of file descriptors: a moment later there may be some.
                time.sleep(0.1)
                continue
            if not self._slots.acquire(blocking=False):
                connection.close()
                continue
            try:
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
            except RuntimeError:
                # The container's limit of threads is reached; a later one may find room.
                self._slots.release()
                connection.close()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError):
                self._exchange(connection)
        finally:
            self._slots.release()

    def _exchange(self, connection: socket.socket) -> None:
        method, refused = "GET", False
        try:
            method, path = _request(_head(connection))
            page = self._existing(path)
        except _RefusedError as error:
            refused = True
            page = Page(error.status, {"error": str(error)})
        connection.settimeout(HEAD_SECONDS)
        connection.sendall(_answer(page, with_body=method != "HEAD"))
        if refused:
            _farewell(connection)

    def _existing(self, path: str) -> Page:
        page = self._page(path)
        if page is None:
            raise _RefusedError(
                HTTPStatus.NOT_FOUND, "there are /readyz, /healthz and /status, and nothing else"
            )
        return page


def _listens(listening: socket.socket) -> bool:
    try:
        return bool(listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False


def _head(connection: socket.socket) -> str:
    """The request up to its empty line. Raises _RefusedError."""
    deadline = time.monotonic() + HEAD_SECONDS
    data = b""
    while b"\r\n\r\n" not in data:
        left = deadline - time.monotonic()
        if len(data) > HEAD_BYTES:
            raise _RefusedError(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"at most {HEAD_BYTES} bytes"
            )
        if left <= 0:
            raise _RefusedError(HTTPStatus.REQUEST_TIMEOUT, f"not whole within {HEAD_SECONDS:g} s")
        connection.settimeout(left)
        try:
            piece = connection.recv(4096)
        except TimeoutError:
            continue
        if not piece:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "the request breaks off")
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    if rest:
        raise _RefusedError(HTTPStatus.BAD_REQUEST, "one request for a connection, without a body")
    return head.decode("latin-1")


def _request(head: str) -> tuple[str, str]:
    """Method and path (without the query) of a request's head. Raises _RefusedError."""
    line, *fields = head.split("\r\n")
    words = line.split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise _RefusedError(HTTPStatus.BAD_REQUEST, "no request of HTTP/1.1 or HTTP/1.0")
    method, target, _ = words
    if method not in METHODS:
        raise _RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, "GET and HEAD are allowed")
    for field in fields:
        name, _, value = field.partition(":")
        if name.lower() == "transfer-encoding" or (
            name.lower() == "content-length" and value.strip() != "0"
        ):
            raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "a request has no body here")
    return method, target.partition("?")[0]


def _answer(page: Page, *, with_body: bool) -> bytes:
    body = json.dumps(page.document).encode() + b"\n"
    status = HTTPStatus(page.status)
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append(f"Allow: {', '.join(METHODS)}")
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return head + body if with_body else head


def _farewell(connection: socket.socket) -> None:
    """Take what still comes for a moment: closing over unread bytes destroys the answer."""
    connection.shutdown(socket.SHUT_WR)
    deadline, taken = time.monotonic() + FAREWELL_SECONDS, 0
    while taken < FAREWELL_BYTES and (left := deadline - time.monotonic()) > 0:
        connection.settimeout(left)
        piece = connection.recv(4096)
        if not piece:
            return
        taken += len(piece)
