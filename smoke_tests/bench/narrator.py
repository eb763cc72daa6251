"""What goes on, on stderr: a line at once for each video, then one every few seconds."""

from __future__ import annotations

import sys
import threading
import time
from typing import TextIO

from smoke_tests.comfy_client import Progress

EVERY_S = 2.0


class Narrator:
    """Tells progress from several threads, never more than a line in two seconds for each video.

    Args:
        mark: what every line begins with, for simulated runs.
    """

    def __init__(self, mark: str = "", *, out: TextIO | None = None, quiet: bool = False) -> None:
        self.mark = mark
        self._out = out or sys.stderr
        self._quiet = quiet
        self._lock = threading.Lock()
        self._began: dict[str, float] = {}
        self._told: dict[str, float] = {}

    def say(self, text: str) -> None:
        """One line, at once."""
        if not self._quiet:
            with self._lock:
                print(f"{self.mark}  {text}" if self.mark else text, file=self._out, flush=True)

    def progress(self, label: str, progress: Progress) -> None:
        """A video's progress."""
        now = time.monotonic()
        began = self._began.setdefault(label, now)
        if now - self._told.get(label, -EVERY_S) < EVERY_S:
            return
        self._told[label] = now
        self.say(f"{label:24} {now - began:6.1f} s  {progress}")

    def frames(self, number: int) -> None:
        """Frames compared up to now."""
        now = time.monotonic()
        if now - self._told.get("frames", -EVERY_S) >= EVERY_S:
            self._told["frames"] = now
            self.say(f"{'comparing pictures':24} frame {number}")
