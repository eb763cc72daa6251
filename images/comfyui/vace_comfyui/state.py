"""What the running service knows, in a file that `ready` and `health` read.

The file names the process that it speaks of, by id and start time, so that a file left by an
earlier process says nothing about this one.
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

STATE = "state.json"
ACTIVITY = "activity"


@dataclass
class State:
    """What is known of the running ComfyUI.

    Attributes:
        phase: `starting`, `serving`, `draining` or `stopping`.
        warm_up: `off`, `pending`, `running`, `done` or `failed`.
        encoder: whether the encoder test passed before the start.
        models: model file by folder, from the manifest.
    """

    pid: int = 0
    started: int = 0
    phase: str = "starting"
    warm_up: str = "pending"
    detail: str = ""
    encoder: bool = False
    models: dict[str, str] = field(default_factory=dict)


def start_time(pid: int) -> int | None:
    """When a process started, in the kernel's ticks; None when there is no such process.

    A zombie counts as gone.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name in brackets may hold anything, so fields are counted from behind it (proc(5)).
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] == "Z" else int(fields[19])


class Board:
    """Writes the state; each change replaces the file in one step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = State()
        self._lock = threading.Lock()

    def update(self, **changes: object) -> None:
        """Change some fields and write the file."""
        with self._lock:
            for key, value in changes.items():
                setattr(self.state, key, value)
            temporary = self.folder / f"{STATE}.tmp"
            temporary.write_text(json.dumps(asdict(self.state)) + "\n", encoding="utf-8")
            temporary.replace(self.folder / STATE)

    def touch(self) -> None:
        """Note that ComfyUI has just written to its log."""
        path = self.folder / ACTIVITY
        try:
            os.utime(path)
        except FileNotFoundError:
            path.touch()


def read(folder: Path) -> State | None:
    """The state of a ComfyUI that is alive; None when there is none."""
    try:
        state = State(**json.loads((folder / STATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return state if state.pid and start_time(state.pid) == state.started else None


def silent_seconds(folder: Path) -> float:
    """How long ago ComfyUI last wrote to its log; 0 when it has not written yet."""
    try:
        return max(0.0, time.time() - (folder / ACTIVITY).stat().st_mtime)
    except OSError:
        return 0.0
