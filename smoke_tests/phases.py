"""Where the time of a job went: its progress as spans of queue, load, text, sample and so on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from smoke_tests.comfy_client import Progress

Phase = Literal[
    "upload", "queue", "load", "text", "prepare", "sample", "decode", "encode", "download"
]
#: In the order in which a job goes through them.
PHASES: tuple[Phase, ...] = (
    "upload", "queue", "load", "text", "prepare", "sample", "decode", "encode", "download",
)  # fmt: skip

# By part of the node's class name. ComfyUI loads a model's file in its loader, but moves it into
# the GPU's memory with its first use, so that the first `text` and `sample` hold that, too.
_OF_NODES: tuple[tuple[str, Phase], ...] = (
    ("TextEncode", "text"),
    ("Sampler", "sample"),
    ("VAEDecode", "decode"),
    ("VideoCombine", "encode"),
    ("SaveVideo", "encode"),
    ("CreateVideo", "encode"),
    ("UNETLoader", "load"),
    ("CLIPLoader", "load"),
    ("VAELoader", "load"),
    ("CheckpointLoader", "load"),
    ("LoraLoader", "load"),
)


def phase_of(class_type: str) -> Phase:
    """The phase that a node's work belongs to; what only serves the inputs is `prepare`."""
    return next((phase for part, phase in _OF_NODES if part in class_type), "prepare")


@dataclass(frozen=True)
class Span:
    """A stretch of time in one phase; seconds from the first span's start."""

    phase: Phase
    start: float
    end: float

    def json(self) -> dict[str, str | float]:
        """As report.json keeps it."""
        return {"phase": self.phase, "start": round(self.start, 3), "end": round(self.end, 3)}


class PhaseClock:
    """Notes when a job enters which phase; use it as `on_progress`.

    A phase that came and went between two calls (they come with each event) is not seen; its
    time counts for the phase before.

    Args:
        follow: called with each moment too.
    """

    def __init__(
        self,
        follow: Callable[[Progress], None] = lambda progress: None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._follow = follow
        self._clock = clock
        self._zero = clock()
        self._phase: Phase | None = None
        self._since = 0.0
        self.spans: list[Span] = []
        self.step_s: list[float] = []
        self._last_step: tuple[int, float] | None = None

    def __call__(self, progress: Progress) -> None:
        """Take in a moment of the job."""
        if progress.state == "queued":
            self.enter("queue")
        elif progress.node_type:
            phase = phase_of(progress.node_type)
            if phase == "sample":
                self._step(progress.value)
            self.enter(phase)
        self._follow(progress)

    def enter(self, phase: Phase) -> None:
        """A phase begins now, and the one before ends."""
        if phase != self._phase:
            self.stop()
            self._phase, self._since = phase, self._now()

    def stop(self) -> None:
        """The phase that goes on ends now; phases may begin again later."""
        if self._phase is not None:
            self.spans.append(Span(self._phase, self._since, self._now()))
        self._phase = None

    def _step(self, value: int) -> None:
        now = self._now()
        if self._last_step and value > self._last_step[0]:
            steps, seconds = value - self._last_step[0], now - self._last_step[1]
            self.step_s += [seconds / steps] * steps
        if self._last_step is None or value != self._last_step[0]:
            self._last_step = (value, now)

    def _now(self) -> float:
        return self._clock() - self._zero


def totals(spans: Iterable[Span]) -> dict[str, float]:
    """Seconds by phase, in the order of `PHASES`; phases that did not occur are left out."""
    sums: dict[str, float] = {}
    for span in spans:
        sums[span.phase] = sums.get(span.phase, 0.0) + span.end - span.start
    return {phase: round(sums[phase], 3) for phase in PHASES if phase in sums}
