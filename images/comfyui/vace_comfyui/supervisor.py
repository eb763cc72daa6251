"""Starts ComfyUI, passes signals and its log on, drains it, and says with which status it ended."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vace_comfyui import drain, flags, warmup
from vace_comfyui.api import Api, NoAnswerError
from vace_comfyui.faults import Fault, Judge, Lines, classify
from vace_comfyui.gpu import Probe
from vace_comfyui.problems import Exit, say
from vace_comfyui.settings import Settings
from vace_comfyui.state import Board, start_time

TICK_SECONDS = 0.1
PROGRESS_SECONDS = 15.0
ANSWER_SECONDS = 5.0
"""Longest wait for one answer while it drains."""
ACTIVITY_SECONDS = 1.0
STOP_STEPS = ((signal.SIGINT, 10.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
"""SIGINT is what ComfyUI tidies up after; the others are for one that hangs."""
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
PASSED_ON = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT, signal.SIGCONT)
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
OOM_KILLS = Path("/sys/fs/cgroup/memory.events")


class Supervisor:
    """One life of ComfyUI. `probe` asks the driver for the GPU; None where there is none."""

    def __init__(self, settings: Settings, board: Board, probe: Probe | None = None) -> None:
        self._probe = probe
        self.settings = settings
        self.board = board
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._stop_warm_up = threading.Event()
        self._served = threading.Event()
        self._phase = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._status: int | None = None
        self._oom_kills = _oom_kills()

    def run(self, command: Sequence[str]) -> Exit:
        """Run until it ends or is asked to; returns the exit code."""
        for number in (*STOPPING, *PASSED_ON):
            signal.signal(number, lambda number, _frame: self._events.put(signal.Signals(number)))
        # Helpers whose parent has died come to us, also where we are not process 1.
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
        self._start(command)
        try:
            code = self._watch()
        finally:
            self._stop.set()
            self._stop_warm_up.set()
            self._end()
        say(f"ended with {code.value} ({code.name})")
        return code

    def _start(self, command: Sequence[str]) -> None:
        # A session of its own, so that the helpers it leaves behind can be ended with it.
        self._child = subprocess.Popen(
            command,
            cwd=self.settings.home,
            env=flags.environment(self.settings),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
        self.board.update(
            pid=self._child.pid,
            started=start_time(self._child.pid) or 0,
            warm_up="pending" if self.settings.warm_up else "off",
        )
        self.board.touch()
        judge = Judge(
            self.settings,
            self._events.put,
            self._stop,
            serving=self._served.is_set,
            probe=self._probe,
        )
        for target, arguments in ((self._read, (judge,)), (self._warm, ())):
            threading.Thread(target=target, args=arguments, daemon=True).start()

    def _watch(self) -> Exit:
        draining = False
        while True:
            with contextlib.suppress(queue.Empty):
                event = self._events.get(timeout=TICK_SECONDS)
                if isinstance(event, Exit):
                    return event
                if isinstance(event, Fault):
                    return event.code
                if event in PASSED_ON:
                    self._signal(event)
                elif draining:
                    say(f"{event.name} again: ending at once")
                    return self._cut_off()
                elif event in STOPPING:
                    draining = True
                    # Whoever finds ComfyUI up at this moment must not call it serving again.
                    with self._phase:
                        self._stop_warm_up.set()
                        self.board.update(phase="draining")
                    say(f"{event.name}: draining for at most {self.settings.drain_seconds:g} s")
                    threading.Thread(target=self._drain, daemon=True).start()
            self._reap()
            if self._status is not None:
                return self._by_itself(self._status)

    def _by_itself(self, status: int) -> Exit:
        """ComfyUI ended without being told to."""
        if status in _KILLED:
            kills = _oom_kills() - self._oom_kills
            why = (
                "the container's memory limit was reached"
                if kills > 0
                else "probably the host ran out of memory (dmesg tells)"
            )
            say(f"ComfyUI was killed by SIGKILL: {why}")
            return Exit.KILLED
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        say(f"ComfyUI ended by itself with {how}; its last lines above say why")
        return Exit.ENDED

    def _read(self, judge: Judge) -> None:
        """Pass ComfyUI's log on unchanged, at once, and look at its lines."""
        assert self._child is not None and self._child.stderr is not None  # noqa: S101, PT018
        source, target = self._child.stderr.fileno(), sys.stderr.fileno()
        lines, touched = Lines(), 0.0
        while data := os.read(source, 65536):
            # Whoever reads our log may have gone; ComfyUI must still be able to write.
            with contextlib.suppress(OSError):
                left = memoryview(data)
                while left:
                    left = left[os.write(target, left) :]
            now = time.monotonic()
            if now - touched >= ACTIVITY_SECONDS:
                touched = now
                with contextlib.suppress(OSError):
                    self.board.touch()
            for line in lines.feed(data):
                fault = classify(line)
                if fault is not None:
                    judge.suspect(fault)

    def _warm(self) -> None:
        if not warmup.wait_until_up(self.settings, self._stop_warm_up):
            return
        self._served.set()
        with self._phase:
            if self._stop_warm_up.is_set():
                return
            self.board.update(phase="serving")
        if not self.settings.warm_up:
            say("ComfyUI answers; the warm-up is turned off (VACE_WARMUP=0)")
            return
        self.board.update(warm_up="running")
        outcome = warmup.run(self.settings, self.board.state.models, self._stop_warm_up, say)
        if outcome.ended == "stopped":
            return
        self.board.update(warm_up=outcome.ended, detail=outcome.detail)
        if outcome.ended == "done":
            say(f"warm-up: done in {outcome.seconds:.1f} s; ready")
            return
        say(
            f"warm-up: got: {outcome.detail}; allowed: one small video; because a service that "
            "makes none must not be taken for one; to fix it: see ComfyUI's log above, or set "
            "VACE_WARMUP=0 to look into the running service."
        )
        # If memory or GPU are the cause, their own verdict comes first.
        if not self._stop.wait(self.settings.grace_seconds + 1):
            self._events.put(Exit.WARM_UP)

    def _drain(self) -> None:
        """Wait until nothing runs or waits; then report how the stop may go on."""
        begun = time.monotonic()
        deadline = begun + self.settings.drain_seconds
        # The time that `vace-comfyui drain` has already waited counts: whoever sent the signal
        # gave one time for both, and kills what exceeds it.
        marked = drain.until(self.settings.state)
        if marked is not None:
            deadline = min(deadline, max(marked, begun))
        told, worked = -math.inf, False
        while True:
            left, unknown = self._left(max(deadline - time.monotonic(), TICK_SECONDS))
            # It answers late while it is busy: no answer is no reason to cut it off.
            alive = start_time(self.board.state.pid) is not None
            if unknown and alive and not self._served.is_set():
                say(f"drain: it has not begun to serve ({unknown})")
                self._events.put(Exit.OK)
                return
            if not left and not unknown:
                break
            worked = True
            now = time.monotonic()
            if now >= deadline:
                say(f"drain: {_remainder(left, unknown)} after {now - begun:.1f} s")
                self._events.put(Exit.CUT_OFF)
                return
            if now - told >= PROGRESS_SECONDS:
                told = now
                say(f"drain: {_remainder(left, unknown)}; waiting for {deadline - now:.0f} s more")
            if self._stop.wait(TICK_SECONDS):
                return
        if worked:
            self._stop.wait(self.settings.grace_seconds)
        say("drain: nothing runs or waits")
        self._events.put(Exit.OK)

    def _left(self, seconds: float) -> tuple[int, str]:
        """How many prompts run or wait; or 0, and why that is not known."""
        try:
            with Api(self.settings, min(ANSWER_SECONDS, seconds)) as api:
                left = len(api.queue().busy)
        except NoAnswerError as error:
            return 0, str(error)
        self._served.set()
        return left, ""

    def _cut_off(self) -> Exit:
        left, unknown = self._left(1.0)
        if not left and not unknown:
            return Exit.OK
        say(f"drain: {_remainder(left, unknown)}")
        return Exit.CUT_OFF

    def _signal(self, number: signal.Signals) -> None:
        assert self._child is not None  # noqa: S101
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child.pid, number)

    def _reap(self) -> None:
        """Collect ended processes, also those that only came to us because we are process 1."""
        assert self._child is not None  # noqa: S101
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid == self._child.pid:
                self._status = self._child.returncode = os.waitstatus_to_exitcode(status)

    def _end(self) -> None:
        """End ComfyUI, step by step, and whatever it has left behind."""
        assert self._child is not None  # noqa: S101
        with contextlib.suppress(OSError):
            self.board.update(phase="stopping")
        steps = STOP_STEPS
        for number, patience in steps:
            if self._status is not None:
                break
            self._signal(number)
            deadline = time.monotonic() + patience
            while self._status is None and time.monotonic() < deadline:
                # A further request to stop shortens the wait.
                with contextlib.suppress(queue.Empty):
                    if self._events.get(timeout=TICK_SECONDS) in STOPPING:
                        deadline = 0.0
                self._reap()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._reap()


def _remainder(left: int, unknown: str) -> str:
    """What a drain still waits for."""
    if unknown:
        return f"it is not known whether prompts are left ({unknown})"
    return f"{left} prompts are left"


def _oom_kills() -> int:
    """How often the kernel killed something in this container for want of memory (cgroup 2)."""
    try:
        rows = dict(line.split() for line in OOM_KILLS.read_text().splitlines())
        return int(rows.get("oom_kill", 0))
    except (OSError, ValueError):
        return 0
