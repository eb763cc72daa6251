"""Faults on request, so that everything in front of ComfyUI can be tested against its bad days.

A fault is one line: a name and options, ``out_of_memory:step=3,times=1``. It comes from the
environment (``SIM_FAULT``, always on), from a file (``SIM_FAULT_FILE``) that is read again at the
start of every prompt and request, or from the control socket (`control`), which then decides alone.
There is deliberately no HTTP call for it: whoever reaches the server must not be able to break it.
The table of faults is `KINDS`; the README repeats it.

A prompt that a fault hits starts with an empty cache and leaves nothing in it, so that a fault is
always seen, and is gone when it is switched off. (`cached_only` is the exception by its nature.)
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CRASH_EXIT_STATUS = 137
When = Literal["prompt", "prompts route", "view", "any request", "start"]

log = logging.getLogger(__name__)


class FaultError(ValueError):
    """A fault line that cannot be understood."""


@dataclass(frozen=True)
class Kind:
    """One row of the table.

    Attributes:
        what: what happens, one sentence; ``step`` and ``seconds`` stand for the options.
        when: what it hits: a prompt as it runs, a call of POST /prompt, of GET /view, any request
            but the WebSocket, or the start of the server.
        seconds: the option's default.
    """

    what: str
    when: When = "prompt"
    seconds: float = 3600.0


KINDS: Mapping[str, Kind] = {
    # the program
    "out_of_memory": Kind("the sampler fails with CUDA's message after `step` steps"),
    "crash": Kind("the process ends at once after `step` steps, with exit status 137"),
    "stall": Kind("the sampler hangs for `seconds` after `step` steps; interrupt still works"),
    "slow_start": Kind("the port opens `seconds` after the start (only in `SIM_FAULT`)", "start"),
    # the job
    "no_output": Kind("the prompt succeeds, but the output nodes report nothing"),
    "cached_only": Kind("nothing runs: all nodes are cached, the outputs name an earlier file"),
    "lost_history": Kind("the job vanishes after `step` steps: no message, queue or history"),
    "ws_drop": Kind("all WebSockets are cut off, without a close, at each step from `step` on"),
    # the pictures
    "black": Kind("all frames are black"),
    "plain": Kind("all frames are of one colour"),
    "noise": Kind("all frames are noise in cells of the VAE, as from wrong weights"),
    "frozen": Kind("all frames are the first one"),
    "nan_blocks": Kind("one block of 16 by 16 pixels in six is black or garish, in every frame"),
    "flicker": Kind("every second frame is much darker"),
    "wrong_size": Kind("the frames have half the width and height"),
    "short": Kind("only the first half of the frames comes out"),
    "ignores_control": Kind("control video, mask and reference have no effect"),
    "ignores_mask": Kind("the mask has no effect: everything is painted"),
    # the file
    "wrong_rate": Kind("the file plays at half the frame rate"),
    "not_h264": Kind("the file holds MPEG-4 Part 2 instead of H.264"),
    "wrong_pixel_format": Kind("the file's pixels are yuv444p"),
    "full_range": Kind("light uses the full range, and the file says so"),
    "wrong_colour": Kind("the file names BT.470 colours for BT.709 data"),
    "corrupt_file": Kind("bits inside the coded pictures are flipped"),
    "metadata_leak": Kind("the graph is in the file although it was switched off"),
    "old_file": Kind("the outputs name an earlier file; without one the new file is a day old"),
    "slow_disk": Kind("the file appears only `seconds` after the success", seconds=3.0),
    # the answers
    "queue_full": Kind("POST /prompt answers 429 in the gateway's words", "prompts route"),
    "partial": Kind("videos are refused in `node_errors` beside status 200", "prompts route"),
    "truncated_view": Kind("a download ends after half of its Content-Length", "view"),
    "slow_view": Kind("a download takes `seconds`", "view", seconds=20.0),
    "http_500": Kind("answers 500, `path` limits it to paths that begin so", "any request"),
    "html": Kind("answers an HTML page with status 200; `path` as above", "any request"),
    "hang": Kind("takes `seconds` and then cuts the connection; `path` as above", "any request",
                 seconds=600.0),
}  # fmt: skip
NAMES = tuple(KINDS)
OPTIONS = ("step", "seconds", "times", "path")


@dataclass(frozen=True)
class Fault:
    """One requested fault.

    Attributes:
        name: one of `NAMES`.
        step: sampler steps that still succeed before the fault.
        seconds: how long it takes; the default differs, see `KINDS`.
        times: how many prompts or requests it hits; 0 means all.
        path: only requests whose path begins so (without ``/api``).
    """

    name: str
    step: int = 1
    seconds: float = 3600.0
    times: int = 0
    path: str = "/"

    @property
    def when(self) -> When:
        """What it hits."""
        return KINDS[self.name].when

    def line(self) -> str:
        """The fault as one line, all options written out."""
        return (
            f"{self.name}:step={self.step},seconds={self.seconds:g},times={self.times},"
            f"path={self.path}"
        )


def parse(line: str) -> Fault | None:
    """The fault that a line asks for; None for an empty line.

    Raises:
        FaultError: unknown name, unknown option or a value that is no number.
    """
    text = line.strip()
    if not text:
        return None
    name, _, tail = text.partition(":")
    if name not in KINDS:
        raise FaultError(
            f"Unknown fault {name!r} in {text!r}. Allowed: {', '.join(NAMES)}. Write "
            "name:option=value,option=value, or leave it empty for no fault."
        )
    options: dict[str, float] = {}
    path = "/"
    for part in filter(None, tail.split(",")):
        key, _, value = part.partition("=")
        if key not in OPTIONS:
            raise FaultError(
                f"Unknown option {key!r} in fault {text!r}. Allowed: {', '.join(OPTIONS)}."
            )
        if key == "path":
            path = value
            continue
        options[key] = _amount(key, value, text)
    return Fault(
        name,
        step=int(options.get("step", 1)),
        seconds=options.get("seconds", KINDS[name].seconds),
        times=int(options.get("times", 0)),
        path=path,
    )


def _amount(key: str, value: str, text: str) -> float:
    try:
        amount = float(value)
    except ValueError:
        amount = float("nan")
    if not 0 <= amount < float("inf"):
        raise FaultError(
            f"Option {key}={value!r} in fault {text!r} is no number from 0. Give one, e.g. {key}=2."
        )
    return amount


class Faults:
    """Decides which fault hits a prompt or a request; callable from any thread."""

    def __init__(self, line: str, file: Path | None) -> None:
        self._fixed = parse(line)
        self._file = file
        self._last_text = ""
        self._hits = 0
        self._ordered = False
        self._order: Fault | None = None
        self._lock = threading.Lock()

    @property
    def start_delay(self) -> float:
        """Seconds before the port opens (fault ``slow_start``)."""
        fixed = self._fixed
        return fixed.seconds if fixed is not None and fixed.name == "slow_start" else 0.0

    def order(self, line: str | None) -> None:
        """Set the fault from now on, whatever environment and file say; None for none.

        Raises:
            FaultError: the line cannot be understood; the fault before it stays.
        """
        fault = parse(line or "")
        with self._lock:
            self._ordered, self._order, self._hits = True, fault, 0

    def state(self) -> tuple[Fault | None, int]:
        """The fault in force, and how often it hit."""
        with self._lock:
            return self._current(), self._hits

    def for_prompt(self) -> Fault | None:
        """The fault of the prompt that starts now. A broken fault file is logged and ignored."""
        return self._take("prompt")

    def for_request(self, method: str, path: str) -> Fault | None:
        """The fault of one HTTP request; ``path`` without a leading ``/api``."""
        place: When = "any request"
        if (method, path) == ("POST", "/prompt"):
            place = "prompts route"
        elif path == "/view":
            place = "view"
        return self._take(place, path)

    def _take(self, place: When, path: str = "/") -> Fault | None:
        with self._lock:
            fault = self._current()
            if fault is None or not path.startswith(fault.path):
                return None
            everywhere = fault.when == "any request" and place != "prompt"
            if fault.when != place and not everywhere:
                return None
            if fault.times and self._hits >= fault.times:
                return None
            self._hits += 1
        log.warning("SIMULATED FAULT %s hits %s", fault, "a prompt" if place == "prompt" else path)
        return fault

    def _current(self) -> Fault | None:
        if self._ordered:
            return self._order
        if self._file is None:
            return self._fixed
        try:
            text = self._file.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            text = ""
        changed = text != self._last_text
        if changed:
            self._last_text, self._hits = text, 0
        try:
            return parse(text) or self._fixed
        except FaultError:
            if changed:
                log.exception("fault file %s ignored", self._file)
            return self._fixed
