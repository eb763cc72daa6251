"""Progress as one line that is rewritten on a terminal, and as few lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from smoke_tests.comfy_client.progress import Progress

TERMINAL_S = 0.1  # between two rewritings of the line
LOG_S = 15.0  # between two lines in a log, unless the state changes
TELLING_PERCENT = 5.0  # before that, an estimate of the time left would only jump
BLANK = "\r\033[K"  # to the line's start, and clear it


class ProgressLine:
    """Call it with each `Progress`; call `end` before writing anything else.

    Args:
        out: where to; a terminal gets one line that changes.
        clock: seconds that never go backwards; only tests pass another one.
    """

    def __init__(self, out: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._terminal = out.isatty()
        self._shown_at: float | None = None
        self._state = ""
        self._text = ""
        self._running_at: float | None = None

    def __call__(self, progress: Progress) -> None:
        """Show a moment, unless one was shown just before."""
        now = self._clock()
        if progress.state == "running" and self._running_at is None:
            self._running_at = now
        pause = TERMINAL_S if self._terminal else LOG_S
        due = self._shown_at is None or now - self._shown_at >= pause
        text = self._line(progress, now)
        if text == self._text or not (due or progress.state != self._state):
            return
        self._out.write(f"{BLANK}{text}" if self._terminal else f"{text}\n")
        self._out.flush()
        self._shown_at, self._state, self._text = now, progress.state, text

    def end(self) -> None:
        """Clear the line."""
        if self._terminal and self._text:
            self._out.write(BLANK)
            self._out.flush()
        self._text = ""

    def _line(self, progress: Progress, now: float) -> str:
        left = ""
        if self._running_at is not None and TELLING_PERCENT <= progress.percent < 100:
            rest = (now - self._running_at) * (100 - progress.percent) / progress.percent
            left = f"  about {_minutes(rest)} left"
        return f"{progress}{left}"


def _minutes(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{whole} s"
