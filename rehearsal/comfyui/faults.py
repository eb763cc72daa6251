"""Faults on request, so that everything in front of ComfyUI can be tested against its bad days.

A fault is one line: a name and options, ``out_of_memory:step=3,times=1``. It comes from the
environment (``SIM_FAULT``, always on) or from a file (``SIM_FAULT_FILE``) that is read again at the
start of every prompt, so a test can switch faults on a running server. There is deliberately no
HTTP call for it: whoever reaches the server must not be able to break it.

| name            | what happens                                                                  |
| --------------- | ----------------------------------------------------------------------------- |
| `out_of_memory` | the sampler fails with CUDA's message after `step` steps                       |
| `crash`         | the process ends at once after `step` steps, with exit status 137              |
| `stall`         | the sampler hangs for `seconds` after `step` steps; interrupt still works      |
| `no_output`     | the prompt succeeds, but the output nodes report nothing                       |
| `slow_start`    | the port opens `seconds` after the start (environment only)                    |
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

NAMES = ("out_of_memory", "crash", "stall", "no_output", "slow_start")
CRASH_EXIT_STATUS = 137

log = logging.getLogger(__name__)


class FaultError(ValueError):
    """A fault line that cannot be understood."""


@dataclass(frozen=True)
class Fault:
    """One requested fault.

    Attributes:
        name: one of `NAMES`.
        step: sampler steps that still succeed before the fault.
        seconds: how long a stall or a slow start takes.
        times: how many prompts it hits; 0 means every prompt.
    """

    name: str
    step: int = 1
    seconds: float = 3600.0
    times: int = 0


def parse(line: str) -> Fault | None:
    """The fault that a line asks for; None for an empty line.

    Raises:
        FaultError: unknown name, unknown option or a value that is no number.
    """
    text = line.strip()
    if not text:
        return None
    name, _, tail = text.partition(":")
    if name not in NAMES:
        raise FaultError(
            f"Unknown fault {name!r} in {text!r}. Allowed: {', '.join(NAMES)}. Write "
            "name:option=value,option=value, or leave it empty for no fault."
        )
    options: dict[str, float] = {}
    for part in filter(None, tail.split(",")):
        key, _, value = part.partition("=")
        if key not in ("step", "seconds", "times"):
            raise FaultError(
                f"Unknown option {key!r} in fault {text!r}. Allowed: step, seconds, times."
            )
        try:
            options[key] = float(value)
        except ValueError as error:
            raise FaultError(
                f"Option {key}={value!r} in fault {text!r} is no number. Give one, e.g. {key}=2."
            ) from error
    return Fault(
        name,
        step=int(options.get("step", 1)),
        seconds=options.get("seconds", 3600.0),
        times=int(options.get("times", 0)),
    )


class Faults:
    """Decides which fault hits a prompt."""

    def __init__(self, line: str, file: Path | None) -> None:
        self._fixed = parse(line)
        self._file = file
        self._last_text = ""
        self._hits = 0

    @property
    def start_delay(self) -> float:
        """Seconds before the port opens (fault ``slow_start``)."""
        fixed = self._fixed
        return fixed.seconds if fixed is not None and fixed.name == "slow_start" else 0.0

    def for_prompt(self) -> Fault | None:
        """The fault of the prompt that starts now. A broken fault file is logged and ignored."""
        fault = self._fixed
        if self._file is not None:
            try:
                text = self._file.read_text(encoding="utf-8").strip()
            except FileNotFoundError:
                text = ""
            if text != self._last_text:
                self._last_text, self._hits = text, 0
            try:
                fault = parse(text) or fault
            except FaultError:
                log.exception("fault file %s ignored", self._file)
        if fault is None or fault.name == "slow_start":
            return None
        if fault.times and self._hits >= fault.times:
            return None
        self._hits += 1
        log.warning("SIMULATED FAULT %s hits the next prompt", fault)
        return fault
