"""Answers that are not ComfyUI's, by the byte; also a ``main.py`` that gives them.

As ``main.py``, `/system_stats` is answered well, and everything else as `MALFORMED` names it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socketserver
import sys
import threading

HUNG, DRIPPING = "hung connection", "answer that never ends"
DRIP_SECONDS = 0.02


def _http(body: bytes, *, status: str = "200 OK", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + body


WELL = _http(json.dumps({"system": {}, "devices": []}).encode())
EVERYWHERE: dict[str, bytes] = {
    "no JSON": _http(b"ComfyUI is busy"),
    "no UTF-8": _http(b'{"\xff\xfe": 1}'),
    "HTML with 200": _http(b"<html><body>Please log in</body></html>"),
    "brackets within brackets": _http(b"[" * 100_000),
    "nothing": _http(b""),
    "null": _http(b"null"),
    "number": _http(b"3"),
    "list": _http(b"[]"),
    "truncated body": _http(b'{"queue_running": [', length=400),
    "truncated body without a length": b'HTTP/1.1 200 OK\r\n\r\n{"queue_running": [',
    "truncated header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "status 500": _http(b"500: Internal Server Error", status="500 Internal Server Error"),
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "closed connection": b"",
}
"""Wrong whatever was asked for."""
QUEUES = {
    "missing keys": b"{}",
    "one key": b'{"queue_running": []}',
    "texts": b'{"queue_running": "", "queue_pending": ""}',
    "objects": b'{"queue_running": {}, "queue_pending": {}}',
    "null": b'{"queue_running": null, "queue_pending": null}',
    "rows of another form": b'{"queue_running": [["a"]], "queue_pending": []}',
    "rows that are texts": b'{"queue_running": ["ab"], "queue_pending": []}',
    "ids that are no texts": b'{"queue_running": [[0, 1, {}, {}, []]], "queue_pending": []}',
}
NODES = {
    "a list for a class": b'{"%s": []}',
    "a text for a class": b'{"%s": "well"}',
    "a class without inputs": b'{"%s": {}}',
    "inputs of another form": b'{"%s": {"input": [1]}}',
    "a number for the files": b'{"%s": {"input": {"required": {"unet_name": [5]}}}}',
    "no files": b'{"%s": {"input": {"required": {"unet_name": []}}}}',
}


class Server(socketserver.ThreadingTCPServer):
    """Gives one answer to every request, and then closes; `well`: paths that are answered well."""

    daemon_threads = True
    allow_reuse_address = True
    # A hung connection is not waited for.
    block_on_close = False

    def __init__(self, port: int, answer: bytes | str, well: tuple[str, ...] = ()) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.answer, self.well = answer, well
        self.closed = threading.Event()


class _Handler(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            path = self.rfile.readline().split()[1].decode()
            while self.rfile.readline().strip():
                pass
            answer = WELL if path in self.server.well else self.server.answer
            if isinstance(answer, bytes):
                self.wfile.write(answer.replace(b"%s", path.rpartition("/")[2].encode()))
                return
            if answer == DRIPPING:
                self.wfile.write(_http(b"", length=1_000_000))
                while not self.server.closed.wait(DRIP_SECONDS):
                    self.wfile.write(b" ")
            self.server.closed.wait()


def whole(body: bytes) -> bytes:
    """A right answer in HTTP with this body; `%s` in it becomes the last part of the path."""
    # Without a length, since the body changes with the path.
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body


def named(name: str) -> bytes | str:
    """The answer of that name at `/queue`."""
    if name in (HUNG, DRIPPING):
        return name
    return whole(QUEUES[name]) if name in QUEUES else EVERYWHERE[name]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    options, _ = parser.parse_known_args()
    server = Server(options.port, named(os.environ["MALFORMED"]), ("/system_stats",))
    try:
        server.serve_forever(0.05)
    except KeyboardInterrupt:
        sys.exit(0)
