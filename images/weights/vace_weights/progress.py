"""Tells how far a fetch is: one moving line on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from types import TracebackType
from typing import Protocol, TextIO

from vace_weights.files import readable_bytes, readable_seconds

TERMINAL_EVERY_S = 0.2
PLAIN_EVERY_S = 5.0
_WINDOW_S = 8.0
"""The rate is taken over this many seconds: old enough to be calm, young enough to be true."""


class Progress(Protocol):
    """Who wants to know. Methods are called from several threads."""

    def begin(self, total: int, present: int) -> None:
        """All files together have `total` bytes, of which `present` are there already."""

    def file(self, name: str, size: int) -> None:
        """Work on this file begins."""

    def advance(self, count: int) -> None:
        """So many more bytes arrived; below zero when bytes had to be dropped."""

    def message(self, text: str) -> None:
        """Something that the operator should know."""


class NoProgress:
    """Tells nobody."""

    def begin(self, total: int, present: int) -> None:
        """Nothing."""

    def file(self, name: str, size: int) -> None:
        """Nothing."""

    def advance(self, count: int) -> None:
        """Nothing."""

    def message(self, text: str) -> None:
        """Nothing."""


class ConsoleProgress:
    """Writes to a stream from a thread of its own while the ``with`` block runs."""

    def __init__(self, stream: TextIO | None = None, *, every_s: float | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        default = TERMINAL_EVERY_S if self._terminal else PLAIN_EVERY_S
        self._every_s = every_s if every_s is not None else default
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._tell_often, name="progress", daemon=True)
        self._name = ""
        self._total = 0
        self._done = 0
        self._samples: deque[tuple[float, int]] = deque()

    def __enter__(self) -> ConsoleProgress:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()
        self._thread.join()
        if self._name and self._terminal:
            self._stream.write("\n")
            self._stream.flush()

    def begin(self, total: int, present: int) -> None:
        """Take the totals."""
        with self._lock:
            self._total, self._done = total, present
            self._samples.clear()

    def file(self, name: str, size: int) -> None:
        """Name the file in the lines from now on."""
        with self._lock:
            self._name = name
        if not self._terminal:
            self._write(f"{name}: {readable_bytes(size)}")

    def advance(self, count: int) -> None:
        """Count bytes."""
        with self._lock:
            self._done += count

    def message(self, text: str) -> None:
        """Write a line of its own."""
        self._write(text)

    def line(self) -> str:
        """One line: file, bytes, share, rate, time left."""
        now = time.monotonic()
        with self._lock:
            name, done, total = self._name, self._done, self._total
            self._samples.append((now, done))
            while len(self._samples) > 2 and now - self._samples[0][0] > _WINDOW_S:
                self._samples.popleft()
            since, before = self._samples[0]
        rate = (done - before) / (now - since) if now > since else 0.0
        share = 100 * done / total if total else 100.0
        text = f"{name}: {readable_bytes(done)} of {readable_bytes(total)} ({share:.1f} %)"
        if rate > 0:
            left = readable_seconds((total - done) / rate)
            text += f", {readable_bytes(rate)}/s, {left} left"
        return text

    def _tell_often(self) -> None:
        while not self._closed.wait(self._every_s):
            with self._lock:
                idle = not self._name or self._done >= self._total
            if not idle:
                self._write(self.line(), moving=True)

    def _write(self, text: str, *, moving: bool = False) -> None:
        before, after = ("\r\033[K", "" if moving else "\n") if self._terminal else ("", "\n")
        with self._lock:
            self._stream.write(f"{before}{text}{after}")
            self._stream.flush()
