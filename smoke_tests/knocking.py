"""Requests that no polite HTTP library sends, for checks of the door: bounded in bytes and time."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from smoke_tests.comfy_client import Target

ANSWER_S = 15.0  # a door answers at once; a slow link across the world is still within this
MOST_READ = 1 << 20  # bytes of an answer that are kept


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        status: of the HTTP answer; 0 when the connection ended without one.
        headers: names in lower case; of several with one name the first.
        took_s: seconds until the answer was there.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    took_s: float = 0.0

    def __str__(self) -> str:
        return str(self.status) if self.status else "no answer"


def host_header(target: Target) -> str:
    """Host and port as the URL has them."""
    return urlsplit(target.url).netloc


def origin(target: Target) -> str:
    """The origin of the service's own pages."""
    return f"{urlsplit(target.url).scheme}://{host_header(target)}"


def websocket_headers() -> dict[str, str]:
    """The headers with which a browser opens a WebSocket (RFC 6455, 4.1)."""
    return {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode("ascii"),
    }


def knock(
    target: Target,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    *,
    encrypted: bool | None = None,
    port: int | None = None,
) -> Reply:
    """One request on a connection of its own; only what is given is sent, no token by itself.

    Args:
        headers: beside Host and Connection. `Content-Length` is that of the body unless given.
        encrypted: speak TLS or not, whatever the URL says.
        port: another one than the URL's.

    Raises:
        OSError: no connection, or TLS failed.
    """
    parts = urlsplit(target.url)
    secure = target.secure if encrypted is None else encrypted
    where = (target.host, port or parts.port or (443 if target.secure else 80))
    sent = {"Host": host_header(target), "Connection": "close", **(headers or {})}
    if body and "Content-Length" not in sent:
        sent["Content-Length"] = str(len(body))
    prefix = parts.path.rstrip("/")
    lines = [f"{method} {prefix}{path} HTTP/1.1", *(f"{k}: {v}" for k, v in sent.items()), "", ""]
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection(where, timeout=ANSWER_S))
        context = target.ssl_context() if secure else None
        if context is not None:
            connection = stack.enter_context(
                context.wrap_socket(connection, server_hostname=target.host)
            )
        with contextlib.suppress(ConnectionError):  # it may have answered and closed already
            connection.sendall("\r\n".join(lines).encode("latin-1") + body)
        return _read(connection, begun)


def _read(connection: socket.socket, begun: float) -> Reply:
    """The answer up to its Content-Length, the end, or the time limit."""
    data = b""
    until = begun + ANSWER_S
    while len(data) < MOST_READ and (left := until - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            piece = connection.recv(65536)
        except (TimeoutError, OSError):
            break
        data += piece
        if not piece or _whole(data):
            break
    head, _, body = data.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if not words[0].startswith("HTTP/") or len(words) < 2 or not words[1].isdigit():
        return Reply(0, {}, data, time.monotonic() - begun)
    headers: dict[str, str] = {}
    for line in rest:
        name, _, value = line.partition(":")
        headers.setdefault(name.strip().lower(), value.strip())
    return Reply(int(words[1]), headers, body, time.monotonic() - begun)


def _whole(data: bytes) -> bool:
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:
        return False
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length" and value.strip().isdigit():
            return len(body) >= int(value)
    return head.startswith((b"HTTP/1.1 101", b"HTTP/1.1 204", b"HTTP/1.1 304"))
