"""Out-of-memory and dead GPUs, suspected by ComfyUI's log and confirmed by something else.

ComfyUI catches both, records an error for the prompt and goes on, broken or fragmented. The log
tells at once, but it repeats what callers send, line breaks included, so any line of it may be a
caller's. A suspicion is confirmed by a prompt that failed that way in the history; where none is
recorded, a dead GPU by the driver, and anything by a ComfyUI that served and has fallen silent.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from vace_comfyui.api import Api, Failure, NoAnswerError, Queue
from vace_comfyui.gpu import Probe
from vace_comfyui.problems import Exit, say
from vace_comfyui.settings import Settings

CONFIRM_SECONDS = 30.0
"""Longest wait for an answer, or for the suspected prompt's row in the history.

A busy interpreter may keep a small answer waiting for 25 s (`ready.HEALTH_SECONDS`).
"""
POLL_SECONDS = 0.1
LOOK_BACK_ENTRIES = 16
STRENGTH = (Exit.GPU_DEAD, Exit.KILLED, Exit.OUT_OF_MEMORY)
"""Of several confirmed faults the first of these is reported."""
LINE_BYTES = 16 * 1024
"""Of a longer line only the beginning is looked at."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_LEVEL = re.compile(r"^\[(?:DEBUG|DETAIL|INFO|WARNING|ERROR|CRITICAL)\]\s*")
_OOM = re.compile(r"^Got an OOM, unloading all loaded models|OutOfMemoryError|CUDA out of memory|"
                  r"CUDA error: out of memory|Allocation on device\b")  # fmt: skip
_HOST = re.compile(r"DefaultCPUAllocator: (?:can't|not enough)|^MemoryError\b")
_CUDA = re.compile(r"CUDA error: |CUDA driver error: |CUDNN_STATUS_EXECUTION_FAILED|"
                   r"CUBLAS_STATUS_(?:EXECUTION_FAILED|INTERNAL_ERROR)")  # fmt: skip
# What ComfyUI's history says of a prompt that failed so: the beginning of "type: message". The
# type is the interpreter's own word; a message may quote a caller, but does not begin with that.
_RECORDED = re.compile(
    r"(?:torch\.[\w.]*OutOfMemoryError: |MemoryError\b|"
    r"(?:torch\.AcceleratorError|RuntimeError): (?:\[enforce fail at [^\]]*\] )?"
    r"(?:CUDA |cuDNN error: |DefaultCPUAllocator: |Allocation on device\b))"
)


@dataclass(frozen=True)
class Fault:
    """A line that speaks of a fault, and the exit code that the fault would lead to."""

    code: Exit
    line: str


def classify(line: str) -> Fault | None:
    """What a line of ComfyUI's log suggests about memory and GPU; None for any other line."""
    text = _LEVEL.sub("", _COLOUR.sub("", line).strip())
    for code, pattern in (
        (Exit.OUT_OF_MEMORY, _OOM),
        (Exit.KILLED, _HOST),
        (Exit.GPU_DEAD, _CUDA),
    ):
        if pattern.search(text):
            return Fault(code, text[:300])
    return None


class Lines:
    """Cuts a stream of bytes into lines; a carriage return ends one too (progress bars)."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Whole lines that this piece completes."""
        *whole, rest = re.split(rb"[\r\n]+", self._rest + data)
        self._rest = rest[:LINE_BYTES]
        return [line[:LINE_BYTES].decode(errors="replace") for line in whole if line]


@dataclass(frozen=True)
class _Suspicion:
    """A fault that is looked into.

    Attributes:
        seen: Unix time of its first line, to compare with the history.
        since: monotonic time of its latest line.
        heard: monotonic time of ComfyUI's latest answer, or of the line.
        running: the prompts that ran at the first answer; None before it.
    """

    fault: Fault
    seen: float
    since: float
    heard: float
    running: frozenset[str] | None = None


_Answer = tuple[Queue, list[Failure]]


class Judge:
    """Looks into suspicions, all at once, and reports one fault, after the grace time.

    Args:
        serving: whether ComfyUI has begun to serve; before that its silence means nothing.
        probe: asks the driver for the GPU; None where there is none.
        confirm_seconds: see `CONFIRM_SECONDS`.
    """

    def __init__(
        self,
        settings: Settings,
        report: Callable[[Fault], None],
        stop: threading.Event,
        *,
        serving: Callable[[], bool],
        probe: Probe | None,
        confirm_seconds: float = CONFIRM_SECONDS,
    ) -> None:
        self._settings, self._report, self._stop = settings, report, stop
        self._serving, self._probe, self._confirm_seconds = serving, probe, confirm_seconds
        self._lock = threading.Lock()
        self._open: dict[Exit, _Suspicion] = {}
        self._busy = False

    def suspect(self, fault: Fault) -> None:
        """Look into a line, in a thread.

        A line that comes while others are looked into is looked into with them; one of the same
        kind begins the wait anew, for the prompt that it belongs to may be another.
        """
        now = time.monotonic()
        new = _Suspicion(fault, time.time(), now, now)
        with self._lock:
            known = self._open.get(fault.code)
            self._open[fault.code] = replace(new, seen=known.seen) if known else new
            if self._busy:
                return
            self._busy = True
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            with self._lock:
                taken = dict(self._open)
            answer = self._ask()
            for code in sorted(taken, key=STRENGTH.index):
                verdict = self._verdict(taken[code], answer)
                if isinstance(verdict, str):
                    self._end(taken[code].fault, verdict)
                    return
                with self._lock:
                    # A line that came meanwhile has replaced the suspicion and stays.
                    if self._open[code] is not taken[code]:
                        continue
                    if verdict is None:
                        del self._open[code]
                        say(f"log: {taken[code].fault.line!r} looks like a fault, but no prompt "
                            "failed with it; going on")  # fmt: skip
                    else:
                        self._open[code] = verdict
            with self._lock:
                if not self._open:
                    self._busy = False
                    return

    def _ask(self) -> _Answer | None:
        try:
            with Api(self._settings, self._confirm_seconds) as api:
                # In this order: a prompt goes from the queue to the history in one step.
                return api.queue(), api.failures(LOOK_BACK_ENTRIES)
        except NoAnswerError:
            return None

    def _verdict(self, suspicion: _Suspicion, answer: _Answer | None) -> _Suspicion | str | None:
        """Why the fault is confirmed; None when it is refuted; the suspicion while it is open."""
        now = time.monotonic()
        if answer is None:
            if now - suspicion.heard < self._confirm_seconds:
                return suspicion
            return self._without_a_record(suspicion.fault, silent=True)
        queue, failures = answer
        if any(_failed_with(failure, suspicion) for failure in failures):
            return "a prompt failed with it"
        running = suspicion.running
        running = frozenset(queue.running) if running is None else running
        if running.isdisjoint(queue.running):
            return None
        if now - suspicion.since < self._confirm_seconds:
            return replace(suspicion, heard=now, running=running)
        return self._without_a_record(suspicion.fault, silent=False)

    def _without_a_record(self, fault: Fault, *, silent: bool) -> str | None:
        """Why a fault counts that no prompt's record confirms; None when it does not."""
        if fault.code is Exit.GPU_DEAD:
            error = self._probe().error if self._probe is not None else ""
            return f"the driver confirms it: {error}" if error else None
        if silent and self._serving():
            return f"ComfyUI has not answered for {self._confirm_seconds:g} s"
        return None

    def _end(self, fault: Fault, why: str) -> None:
        say(f"fault: {fault.line!r} ({why}); ending in {self._settings.grace_seconds:g} s, so that "
            "the error can be fetched")  # fmt: skip
        self._stop.wait(self._settings.grace_seconds)
        self._report(fault)


def _failed_with(failure: Failure, suspicion: _Suspicion) -> bool:
    if failure.at < suspicion.seen - CONFIRM_SECONDS:
        return False
    text = f"{failure.kind}: {failure.message}".splitlines()[0]
    found = classify(text) if _RECORDED.match(text) else None
    return found is not None and found.code == suspicion.fault.code
