"""Says on standard error what is going on, for anything that takes longer than two seconds.

On a terminal one line is updated in place; in a log there is a line every 15 seconds.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import TextIO

QUIET_SECONDS = 2.0
LIVE_INTERVAL = 0.5
LOG_INTERVAL = 15.0


def status_text(doing: str, elapsed: float, typical: float | None, position: str = "") -> str:
    """One step as a reader wants it: what, how long so far, how long it usually takes.

    >>> status_text("building pulumi", 63, 195, "1 of 2")
    'building pulumi: 63 of ~195 s, 1 of 2'
    """
    if typical is None:
        text = f"{doing}: {elapsed:.0f} s"
    elif elapsed <= typical:
        text = f"{doing}: {elapsed:.0f} of ~{typical:.0f} s"
    else:
        text = f"{doing}: {elapsed:.0f} s, longer than the usual {typical:.0f} s"
    return f"{text}, {position}" if position else text


@dataclass
class _Step:
    doing: str
    typical: float | None
    position: str
    started: float


@dataclass
class Progress:
    """Shows the steps that are running; use it as a context manager."""

    stream: TextIO
    live: bool
    clock: Callable[[], float] = time.monotonic
    _steps: list[_Step] = field(default_factory=list)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _ticker: threading.Thread | None = None
    _shown: bool = False
    _last: float = -LOG_INTERVAL

    def __enter__(self) -> Progress:
        self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)
        self._ticker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._ticker:
            self._ticker.join()
        with self._guard:
            self._clear()

    @contextlib.contextmanager
    def step(
        self, doing: str, *, typical: float | None = None, position: str = ""
    ) -> Iterator[None]:
        """Shows `doing` (with the usual seconds and "1 of 2") while the block runs."""
        step = _Step(doing, typical, position, self.clock())
        with self._guard:
            self._steps.append(step)
        try:
            yield
        finally:
            with self._guard:
                self._steps.remove(step)
                self._clear()

    def say(self, line: str) -> None:
        """Prints a line that stays."""
        with self._guard:
            self._clear()
            print(line, file=self.stream, flush=True)

    def show(self) -> None:
        """Writes what is running now; the ticker calls this, and tests do."""
        with self._guard:
            now = self.clock()
            slow = [s for s in self._steps if now - s.started >= QUIET_SECONDS]
            if not slow or (not self.live and now - self._last < LOG_INTERVAL):
                return
            self._last = now
            text = "; ".join(
                status_text(s.doing, now - s.started, s.typical, s.position) for s in slow
            )
            if self.live:
                self.stream.write(f"\r\x1b[K{text}")
                self.stream.flush()
                self._shown = True
            else:
                print(text, file=self.stream, flush=True)

    def _clear(self) -> None:
        if self._shown:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
            self._shown = False

    def _tick(self) -> None:
        while not self._stop.wait(LIVE_INTERVAL):
            self.show()
