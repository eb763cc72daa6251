"""Runs build tools: output to a log file, no shell, nothing left running after an interruption."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from images.builder.errors import BuildFailedError, ToolMissingError

_TAIL_LINES = 25


def require(program: str, package: str, purpose: str) -> None:
    """Raise ToolMissingError with the command that installs ``program`` if it is not on PATH."""
    if shutil.which(program) is None:
        raise ToolMissingError(program, package, purpose)


def run_logged(
    step: str,
    command: Sequence[str],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run ``command`` and append its output to ``log``.

    ``env`` is added to the environment. Raises BuildFailedError with the last lines of the log.
    When this process is interrupted, the whole process group of the tool is ended first.
    """
    with log.open("ab") as sink:
        sink.write(f"$ {' '.join(command)}\n".encode())
        sink.flush()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
        try:
            exit_code = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    if exit_code:
        lines = log.read_text(errors="replace").splitlines()
        raise BuildFailedError(step, exit_code, log, "\n".join(lines[-_TAIL_LINES:]))
