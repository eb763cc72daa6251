"""Tells the user about slow builds: a sentence at least every two seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

ProgressCallback = Callable[[str], None]
INTERVAL_S = 1.5
"""Seconds between two sentences; under two, so that no silence lasts longer than that."""


def describe(what: str, elapsed_s: float, estimate_s: float) -> str:
    """One progress sentence; the estimate is dropped once it has been overtaken."""
    left = estimate_s - elapsed_s
    if left >= 1:
        return f"{what}: {elapsed_s:.0f} s, about {left:.0f} s left"
    return f"{what}: {elapsed_s:.0f} s, longer than the {estimate_s:.0f} s expected"


class Progress:
    """Calls ``callback`` from a thread of its own while the ``with`` block runs."""

    def __init__(self, what: str, estimate_s: float, callback: ProgressCallback) -> None:
        self._what = what
        self._estimate_s = estimate_s
        self._callback = callback
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._tell, name=f"progress {what}", daemon=True)
        self._began = 0.0

    def __enter__(self) -> Progress:
        self._began = time.monotonic()
        self._callback(describe(self._what, 0, self._estimate_s))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()
        if error is None:
            self._callback(f"{self._what}: done in {self.elapsed_s:.0f} s")

    @property
    def elapsed_s(self) -> float:
        """Seconds since the block was entered."""
        return time.monotonic() - self._began

    def _tell(self) -> None:
        while not self._done.wait(INTERVAL_S):
            self._callback(describe(self._what, self.elapsed_s, self._estimate_s))
