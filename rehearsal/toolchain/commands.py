"""Runs the programs that download and build, so that stopping this run stops them too."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from rehearsal.toolchain.errors import CommandError, StoppedError

STOP_SECONDS = 5.0


class Commands:
    """Every program started here ends with `stop`, together with what it started itself."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def run(
        self,
        command: Sequence[str],
        *,
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> str:
        """Runs to the end and returns what was written to both streams.

        Raises CommandError for a status other than 0 or when `timeout` seconds have passed, and
        StoppedError once `stop` was called.
        """
        with self._guard:
            if self._stopped:
                raise StoppedError("stopped on request")
            try:
                process = subprocess.Popen(
                    command,
                    cwd=cwd,
                    env=dict(environ) if environ is not None else None,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    # A group of its own: compilers started by `go build` end with it.
                    start_new_session=True,
                )
            except OSError as error:
                raise CommandError(command, 127, str(error)) from error
            self._running.add(process)
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self._end(process)
            raise CommandError(command, 124, f"no end after {timeout:.0f} s") from None
        finally:
            if process.poll() is None:
                self._end(process)
            with self._guard:
                self._running.discard(process)
        text = output.decode(errors="replace")
        if self._stopped:
            raise StoppedError("stopped on request")
        if process.returncode != 0:
            raise CommandError(command, process.returncode, text)
        return text

    def stop(self) -> None:
        """Ends everything that runs, and lets nothing new start."""
        with self._guard:
            self._stopped = True
            running = list(self._running)
        for process in running:
            self._end(process)

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
                return
