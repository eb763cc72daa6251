"""What was called: calls.jsonl and unknown-actions.jsonl in the state directory.

Names of parameters are written, never their values: some of them are secrets.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from pathlib import Path
from typing import Any

_KEPT_IN_MEMORY = 10_000


class Journal:
    """Appends to the logs and answers what was called lately; safe to use from any thread."""

    def __init__(self, state_dir: Path) -> None:
        self._calls_path = state_dir / "calls.jsonl"
        self._unknown_path = state_dir / "unknown-actions.jsonl"
        self._lock = threading.Lock()
        self._calls: deque[dict[str, Any]] = deque(maxlen=_KEPT_IN_MEMORY)
        self._count = 0
        self._unknown: list[dict[str, Any]] = []
        if self._unknown_path.exists():
            lines = self._unknown_path.read_text().splitlines(keepends=True)
            # A process killed while writing leaves a last line without its end.
            self._unknown = [json.loads(line) for line in lines if line.endswith("\n")]

    def call(self, entry: dict[str, Any]) -> None:
        """Record one finished call; ``seq`` is added."""
        with self._lock:
            self._count += 1
            numbered = {"seq": self._count, **entry}
            self._calls.append(numbered)
            _append(self._calls_path, numbered)

    def unknown(self, entry: dict[str, Any]) -> None:
        """Record a call of something that is not emulated."""
        with self._lock:
            self._unknown.append(entry)
            _append(self._unknown_path, entry)

    def calls(self, since: int = 0) -> list[dict[str, Any]]:
        """The calls with a ``seq`` above ``since`` that are still in memory."""
        with self._lock:
            return [entry for entry in self._calls if entry["seq"] > since]

    def count(self) -> int:
        """How many calls this process has answered."""
        with self._lock:
            return self._count

    def unknown_actions(self) -> list[dict[str, Any]]:
        """Every call of something not emulated since the state directory was made or reset."""
        with self._lock:
            return list(self._unknown)

    def reset(self) -> None:
        """Forget the unknown actions and the calls in memory."""
        with self._lock:
            self._calls.clear()
            self._unknown.clear()
            self._unknown_path.unlink(missing_ok=True)


def _append(path: Path, entry: dict[str, Any]) -> None:
    with path.open("a") as stream:
        stream.write(json.dumps(entry, ensure_ascii=False) + "\n")
