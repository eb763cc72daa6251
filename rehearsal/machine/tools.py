"""Runs host programs by name, without a shell."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from rehearsal.machine.errors import MachineError, ToolFailedError

_TIMEOUT_S = 60.0


def run(
    *command: str,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float = _TIMEOUT_S,
) -> str:
    """Standard output of ``command``. Raises ToolFailedError with its error output."""
    try:
        done = subprocess.run(
            command,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            env=env,
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError as error:
        raise MachineError(
            f"`{command[0]}` is not installed; `python -m rehearsal.machine check` lists "
            "everything that machines need and how to install it"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise MachineError(
            f"`{' '.join(command)}` gave no result within {timeout_s:.0f} s; "
            "`python -m rehearsal.machine clean` removes what it may have left"
        ) from error
    if done.returncode:
        raise ToolFailedError(command, done.returncode, done.stderr or done.stdout)
    return done.stdout


def succeeds(*command: str, stdin: str | None = None) -> bool:
    """Whether ``command`` exists and ends with status 0."""
    try:
        run(*command, stdin=stdin)
    except MachineError:
        return False
    return True
