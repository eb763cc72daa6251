"""Exit codes, and the form of every complaint: what was given, what is allowed, why, what to do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of ``vace-comfyui serve`` (and of ``check``, as far as they apply)."""

    OK = 0
    NO = 1
    """`ready` and `health`: no; `check --build`: the image is not as it must be."""
    USAGE = 64
    WEIGHTS = 65
    GPU = 66
    SCRATCH = 67
    ENCODER = 68
    OUT_OF_MEMORY = 70
    """A prompt ended for want of GPU memory; the process is fragmented and is started anew."""
    GPU_DEAD = 71
    """CUDA failed in a way that no later call of this process survives."""
    KILLED = 72
    """The kernel killed ComfyUI, or the host had no memory left for it."""
    CUT_OFF = 73
    """Asked to stop, and a prompt was still running or waiting when it ended."""
    ENDED = 74
    """ComfyUI ended by itself, with whatever status."""
    WARM_UP = 75
    """The warm-up failed: it runs, but makes no video."""


@dataclass(frozen=True)
class Problem:
    """One reason not to start, told in four parts. `code` is the exit code it leads to."""

    code: Exit
    subject: str
    given: str
    allowed: str
    why: str
    remedy: str

    def __str__(self) -> str:
        return (
            f"{self.subject}: got {self.given}; allowed: {self.allowed}; "
            f"because {self.why}; to fix it: {self.remedy}."
        )


class SettingsError(Exception):
    """The environment or the image's description cannot be used; lists every problem."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(listing(problems))


def listing(problems: Sequence[Problem]) -> str:
    """All problems as text, one a line."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return f"{count}, nothing was started:\n" + "\n".join(f"  - {problem}" for problem in problems)


def exit_code(problems: Sequence[Problem]) -> Exit:
    """The code for several problems: the lowest one, which is the first in the order of checks."""
    return min((problem.code for problem in problems), default=Exit.OK)


def say(text: str) -> None:
    """One line of our own on stderr, marked so that it is told apart from ComfyUI's."""
    try:
        sys.stderr.write(f"vace-comfyui: {text}\n")
        sys.stderr.flush()
    except OSError:
        # Whoever read the log has gone; that is no reason to stop a render.
        return
