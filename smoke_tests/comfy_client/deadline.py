"""One point in time until which a whole operation must be done."""

from __future__ import annotations

import time
from collections.abc import Callable

from smoke_tests.comfy_client.errors import Timeout


class Deadline:
    """A deadline on the monotonic clock, shared by all steps of one operation.

    Args:
        seconds: time from now, must be positive.
        clock: seconds that never go backwards; only tests pass another one.
    """

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        if seconds <= 0:
            raise ValueError(f"a deadline of {seconds} s has passed before it begins; use > 0")
        self.seconds = seconds
        self._clock = clock
        self._start = clock()

    def elapsed(self) -> float:
        """Seconds since the deadline was set."""
        return self._clock() - self._start

    def remaining(self) -> float:
        """Seconds left; never negative."""
        return max(0.0, self.seconds - self.elapsed())

    def check(self, doing: str) -> None:
        """Raise `Timeout` when the time is up; `doing` says what was going on."""
        if self.remaining() <= 0:
            raise self.passed(doing)

    def passed(self, doing: str) -> Timeout:
        """The error to raise when `doing` was still going on at the end."""
        return Timeout(f"The deadline of {self.seconds:g} s has passed while {doing}.")
