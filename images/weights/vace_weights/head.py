"""A bound on the time that the head of an HTTP answer takes as a whole.

The timeout of a socket is for each byte: a server that sends a header a byte at a time would
keep a connection waiting for days. The body has its own guard, the least rate.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any


class SlowHeadError(TimeoutError):
    """The head did not end in time, although bytes of it came."""


class BoundedResponse(http.client.HTTPResponse):
    """An answer whose head must end within the timeout of its socket, counted once for all of it.

    That goes for the answer of a proxy to CONNECT too. Raises SlowHeadError, from `begin` or
    whatever else reads the head.
    """

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self._timed = _TimedReader(sock, self.fp.detach())
        self.fp = io.BufferedReader(self._timed)

    def begin(self) -> None:
        """Read the head; the time for the body is not bounded by it."""
        super().begin()
        self._timed.unbind()


class _TimedReader(io.RawIOBase):
    """Reads from a socket's stream, until a deadline first."""

    def __init__(self, sock: socket.socket, stream: io.RawIOBase) -> None:
        self._sock = sock
        self._stream = stream
        self._timeout = sock.gettimeout()
        self._deadline = None if self._timeout is None else time.monotonic() + self._timeout
        self._came = False

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Bytes into the buffer; raises SlowHeadError at the deadline if some came before it."""
        if self._deadline is None:
            return self._stream.readinto(buffer)
        # A timeout of zero would mean "do not wait", which is another kind of socket.
        left = max(0.001, self._deadline - time.monotonic())
        try:
            self._sock.settimeout(left)
            count = self._stream.readinto(buffer)
        except TimeoutError as error:
            if self._came:
                raise SlowHeadError(str(error)) from error
            raise
        self._came = True
        return count

    def unbind(self) -> None:
        """No deadline from now on; each read has the socket's own timeout again."""
        if self._deadline is not None:
            self._deadline = None
            self._sock.settimeout(self._timeout)

    def close(self) -> None:
        """Close the stream, and the socket with it where nobody else holds it."""
        if not self.closed:
            self._stream.close()
        super().close()
