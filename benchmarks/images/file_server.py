"""A fast web server for one folder, on loopback: ranges, kept connections, sendfile.

Prints its port, serves until its standard input ends. Run by the benchmarks as a process of its
own, so that it does not share an interpreter with what is measured.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
from pathlib import Path

_RANGE = re.compile(rb"\r\nrange: *bytes=(\d+)-(\d+)", re.IGNORECASE)


def serve(connection: socket.socket, folder: Path) -> None:
    """Answer the requests of one connection."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    pending = b""
    with connection:
        while True:
            while b"\r\n\r\n" not in pending:
                data = connection.recv(65536)
                if not data:
                    return
                pending += data
            request, _, pending = pending.partition(b"\r\n\r\n")
            name = request.split(b" ", 2)[1].decode().rpartition("/")[2]
            answer(connection, folder / name, _RANGE.search(request))


def answer(connection: socket.socket, path: Path, asked: re.Match[bytes] | None) -> None:
    """Send a file, or the range of it that was asked for."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        return
    try:
        size = os.fstat(handle).st_size
        start, end, status, extra = 0, size, "200 OK", ""
        if asked is not None:
            start, end = int(asked[1]), min(size, int(asked[2]) + 1)
            status = "206 Partial Content"
            extra = f"Content-Range: bytes {start}-{end - 1}/{size}\r\n"
        head = f"HTTP/1.1 {status}\r\nContent-Length: {end - start}\r\n{extra}\r\n"
        connection.sendall(head.encode())
        while start < end:
            start += os.sendfile(connection.fileno(), handle, start, end - start)
    finally:
        os.close(handle)


def quiet(connection: socket.socket, folder: Path) -> None:
    """`serve`, for clients that leave in the middle."""
    try:
        serve(connection, folder)
    except OSError:
        return


def main() -> None:
    """Serve the folder named on the command line."""
    folder = Path(sys.argv[1])
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=quiet, args=(connection, folder), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
