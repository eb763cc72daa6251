"""Out-of-memory and dead GPUs, seen in ComfyUI's log and confirmed by its history.

ComfyUI catches both, records an error for the prompt and goes on, broken or fragmented. The log
tells at once, but it also repeats what callers send; so a line is certain only where it stands as
ComfyUI or PyTorch write it, and any other is confirmed by a prompt that failed that way.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vace_comfyui.api import Api, NoAnswerError
from vace_comfyui.problems import Exit, say
from vace_comfyui.settings import Settings

CONFIRM_SECONDS = 10.0
POLL_SECONDS = 0.1
LOOK_BACK_ENTRIES = 4
LINE_BYTES = 16 * 1024
"""Of a longer line only the beginning is looked at."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_LEVEL = re.compile(r"^\[(?:DEBUG|DETAIL|INFO|WARNING|ERROR|CRITICAL)\]\s*")
_OOM_LINE = "Got an OOM, unloading all loaded models."
_OOM = re.compile(r"OutOfMemoryError|CUDA out of memory|CUDA error: out of memory|"
                  r"Allocation on device\b")  # fmt: skip
_HOST = re.compile(r"DefaultCPUAllocator: (?:can't|not enough)|^MemoryError\b")
# Errors after which every later CUDA call of the process fails (cudaError_t in driver_types.h).
_STICKY = (
    r"an illegal memory access|unspecified launch failure|device-side assert|misaligned address|"
    r"an illegal instruction|hardware stack error|uncorrectable (?:ECC|NVLink) error|"
    r"the launch timed out|invalid program counter|GPU is lost|unknown error"
)
_CUDA = re.compile(r"CUDA error: |CUDA driver error: |CUDNN_STATUS_EXECUTION_FAILED|"
                   r"CUBLAS_STATUS_(?:EXECUTION_FAILED|INTERNAL_ERROR)")  # fmt: skip
_CUDA_LINE = re.compile(
    r"^(?:!!! Exception during processing !!! |torch\.AcceleratorError: |RuntimeError: )"
    rf"CUDA error: (?:{_STICKY})"
)


@dataclass(frozen=True)
class Fault:
    """A line that speaks of a fault; `certain` when it needs no confirmation."""

    code: Exit
    line: str
    certain: bool


def classify(line: str) -> Fault | None:
    """What a line of ComfyUI's log says about memory and GPU; None for any other line."""
    text = _LEVEL.sub("", _COLOUR.sub("", line).strip())
    if text == _OOM_LINE:
        return Fault(Exit.OUT_OF_MEMORY, text, certain=True)
    if _CUDA_LINE.match(text):
        return Fault(Exit.GPU_DEAD, text, certain=True)
    for code, pattern in (
        (Exit.OUT_OF_MEMORY, _OOM),
        (Exit.KILLED, _HOST),
        (Exit.GPU_DEAD, _CUDA),
    ):
        if pattern.search(text):
            return Fault(code, text[:300], certain=False)
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


class Judge:
    """Confirms suspicions one at a time, and reports a fault once, after the grace time."""

    def __init__(
        self, settings: Settings, report: Callable[[Fault], None], stop: threading.Event
    ) -> None:
        self._settings, self._report, self._stop = settings, report, stop
        self._lock = threading.Lock()
        self._busy = False

    def suspect(self, fault: Fault) -> None:
        """Look into a line, in a thread; while one is looked into, further lines are left out.

        They belong to the same failure: a traceback names it several times.
        """
        with self._lock:
            if self._busy:
                return
            self._busy = True
        threading.Thread(target=self._look, args=(fault, time.time()), daemon=True).start()

    def _look(self, fault: Fault, seen: float) -> None:
        confirmed = self._confirmed(fault, seen)
        if not confirmed and not fault.certain:
            say(f"log: {fault.line!r} looks like a fault, but no prompt failed with it; going on")
            with self._lock:
                self._busy = False
            return
        say(f"fault: {fault.line!r}; ending in {self._settings.grace_seconds:g} s, so that the "
            "error can be fetched")  # fmt: skip
        self._stop.wait(self._settings.grace_seconds)
        self._report(fault)

    def _confirmed(self, fault: Fault, seen: float) -> bool:
        """Wait until the running prompt is recorded; says whether it failed like this."""
        deadline = time.monotonic() + CONFIRM_SECONDS
        while time.monotonic() < deadline and not self._stop.wait(POLL_SECONDS):
            try:
                with Api(self._settings, CONFIRM_SECONDS) as api:
                    # In this order: a prompt goes from the queue to the history in one step.
                    running = api.get("/queue")["queue_running"]
                    history = api.get(f"/history?max_items={LOOK_BACK_ENTRIES}")
            except NoAnswerError:
                continue
            if any(_failed_with(entry, fault.code, seen) for entry in history.values()):
                return True
            if not running:
                return False
        return False


def _failed_with(entry: dict[str, Any], code: Exit, seen: float) -> bool:
    for name, data in entry.get("status", {}).get("messages", ()):
        if name != "execution_error" or data.get("timestamp", 0) / 1000 < seen - CONFIRM_SECONDS:
            continue
        kind = str(data.get("exception_type"))
        text = f"{kind}: {data.get('exception_message')}"
        # The type is the interpreter's own word; a message may quote a caller.
        genuine = kind.startswith(("torch.", "RuntimeError", "MemoryError"))
        found = classify(text.splitlines()[0])
        if genuine and found is not None and found.code == code:
            return True
    return False
