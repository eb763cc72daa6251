"""Peak memory of GPU and host while something runs, by asking the service now and then."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from smoke_tests.comfy_client import ComfyClient, ComfyError, Deadline, Target

EVERY_S = 0.5
GIB = 1 << 30


@dataclass(frozen=True)
class Peak:
    """Largest use that was seen, in bytes; short peaks between two polls are missed.

    Attributes:
        vram: of the GPU, by all processes. ram: of the whole host, other processes included.
        polls: answers that it is from. failures: polls without an answer.
    """

    vram: int = 0
    vram_total: int = 0
    ram: int = 0
    ram_total: int = 0
    polls: int = 0
    failures: int = 0

    def with_stats(self, stats: dict[str, Any]) -> Peak:
        """The peak after another answer of /system_stats; the largest of several GPUs counts."""
        system = stats.get("system", {})
        used = [
            (int(row["vram_total"]) - int(row["vram_free"]), int(row["vram_total"]))
            for row in stats.get("devices", [])
            if row.get("vram_total")
        ]
        vram, vram_total = max(used, default=(0, 0))
        ram_total = int(system.get("ram_total", 0))
        ram = ram_total - int(system.get("ram_free", 0))
        return Peak(
            max(self.vram, vram),
            max(self.vram_total, vram_total),
            max(self.ram, ram),
            ram_total,
            self.polls + 1,
            self.failures,
        )


class Watch:
    """Polls /system_stats in a thread of its own, with a connection of its own."""

    def __init__(self, target: Target, every_s: float = EVERY_S) -> None:
        self._target = target
        self._every_s = every_s
        self._stop = threading.Event()
        self._peak = Peak()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    @property
    def peak(self) -> Peak:
        """What was seen up to now."""
        return self._peak

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(10)

    def _poll(self) -> None:
        with ComfyClient(self._target, pause=self._pause) as client:
            while True:
                try:
                    stats, _ = client.system_stats(Deadline(5))
                    self._peak = self._peak.with_stats(stats)
                except ComfyError:
                    # the run itself tells what is wrong; a missed poll is only counted
                    self._peak = replace(self._peak, failures=self._peak.failures + 1)
                if self._stop.wait(self._every_s):
                    return

    def _pause(self, seconds: float) -> None:
        self._stop.wait(seconds)
