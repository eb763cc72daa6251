"""/var/lib/vace/status.json: how far the node is, for people and for `vace-node wait`.

A step goes pending -> running -> done | failed; no other move is allowed. The phase of the node
is `booting` until the service answered once in this boot, then `ready`, and `failed` while the
last run ended with an error.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .errors import NodeError, RebootError
from .system import boot_id, redact, write_file

SCHEMA = 1
PATH = Path("/var/lib/vace/status.json")
MOVES = {"pending": ("running",), "running": ("done", "failed"), "done": (), "failed": ()}


@dataclass
class Step:
    """One step of a run. Times are seconds since the epoch, 0 before the event."""

    step: str
    state: str = "pending"
    started: float = 0.0
    finished: float = 0.0
    message: str = ""

    def move(self, state: str, now: float) -> None:
        """Change the state; raises ValueError for a move that the module forbids."""
        if state not in MOVES[self.state]:
            raise ValueError(f"step {self.step} cannot go from {self.state} to {state}")
        self.state = state
        if state == "running":
            self.started = now
        else:
            self.finished = now


@dataclass
class Report:
    """The content of the file."""

    phase: str = "booting"
    boot_id: str = ""
    pid: int = 0
    started: float = 0.0
    finished: float = 0.0
    error: dict[str, Any] | None = None
    steps: list[Step] = field(default_factory=list)

    @property
    def running(self) -> bool:
        """Whether the run that wrote this is still at work (and was not killed)."""
        if not self.started or self.finished or not self.pid:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True


def load(path: Path = PATH, *, boot: str | None = None) -> Report:
    """The last report of this boot; an empty one when there is none or it cannot be read."""
    boot = boot_id() if boot is None else boot
    try:
        document = json.loads(path.read_text())
        steps = [Step(**step) for step in document["steps"]]
        if document["schema"] == SCHEMA and document["boot_id"] == boot:
            values = {k: v for k, v in document.items() if k not in ("schema", "steps")}
            return Report(**values, steps=steps)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return Report(boot_id=boot)


class Run:
    """One run of the steps, written to the file at every change."""

    def __init__(
        self,
        names: Sequence[str],
        path: Path = PATH,
        *,
        boot: str | None = None,
        clock: Callable[[], float] = time.time,
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        before = load(path, boot=boot)
        self._path = path
        self._clock = clock
        self._log = log
        # While the service keeps answering, a look at whether all is as wanted is not a boot.
        self.report = Report(
            phase="ready" if before.phase == "ready" else "booting",
            boot_id=before.boot_id,
            pid=os.getpid(),
            started=clock(),
            steps=[Step(name) for name in names],
        )
        self._write()

    def _write(self) -> None:
        document = {"schema": SCHEMA, **asdict(self.report)}
        write_file(self._path, json.dumps(document, indent=1) + "\n")

    def execute(self, name: str, action: Callable[[], str | None]) -> None:
        """Do one step; `action` returns what to remember of it. Errors end the run and go on."""
        step = next(step for step in self.report.steps if step.step == name)
        step.move("running", self._clock())
        self._write()
        try:
            message = action() or ""
        except BaseException as error:
            permanent = isinstance(error, NodeError) and error.permanent
            text = (
                str(error) if isinstance(error, NodeError) else f"{type(error).__name__}: {error}"
            )
            step.message = redact(text)
            step.move("failed", self._clock())
            self.report.phase = "failed"
            self.report.error = {
                "step": name,
                "message": step.message,
                "permanent": permanent,
                "restart": isinstance(error, RebootError),
            }
            self._end()
            self._log(f"{name}: FAILED: {step.message}")
            raise
        step.message = redact(message)
        step.move("done", self._clock())
        self._write()
        self._log(f"{name}: {step.message or 'done'} ({step.finished - step.started:.1f} s)")

    def progress(self, message: str) -> None:
        """Say what the running step is doing; equal messages are said once."""
        message = redact(message)
        for step in self.report.steps:
            if step.state == "running" and step.message != message:
                step.message = message
                self._write()
                self._log(f"{step.step}: {message}")

    def interrupted_service(self) -> None:
        """Note that the service is being (re)started, so that nobody takes it for ready."""
        self.report.phase = "booting"
        self._write()

    def finish(self) -> None:
        """All steps are done."""
        self.report.phase = "ready"
        self._end()

    def _end(self) -> None:
        self.report.finished = self._clock()
        self._write()
