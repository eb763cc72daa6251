"""Cloud Assistant: runs a script inside a machine and waits for it."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence

from rehearsal.cloud.hypervisor import CommandResult

_GRACE_S = 15
# The script comes over standard input, so that nothing of it is ever in an argument list, and is
# kept in a file that only its user can read. `timeout` ends the script's whole process group.
_RUNNER = """\
exec 2>&1
umask 077
script=$(mktemp /tmp/cloud-assistant.XXXXXX) || exit 1
cat > "$script"
cd -- {directory} || {{ rm -f "$script"; exit 1; }}
umask 022
timeout --kill-after=5 {seconds} {interpreter} "$script" < /dev/null
code=$?
rm -f "$script"
exit $code
"""
_TIMEOUT_CODES = (124, 137)  # of coreutils' timeout: ended by TERM, ended by KILL


def runner(interpreter: str, working_dir: str, timeout_s: int) -> str:
    """Shell program that reads a script from standard input and runs it (pure)."""
    return _RUNNER.format(
        directory=shlex.quote(working_dir or "/root"),
        seconds=max(1, timeout_s),
        interpreter=" ".join(shlex.quote(word) for word in shlex.split(interpreter or "sh")),
    )


def execute(
    exec_command: Sequence[str], environment: Mapping[str, str], script: bytes, timeout_s: int
) -> CommandResult:
    """Feed ``script`` to a command made of ``podman exec`` and ``runner``; collect the output."""
    began = time.monotonic()
    with subprocess.Popen(
        exec_command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
    ) as process:
        try:
            output, _ = process.communicate(script, timeout=timeout_s + _GRACE_S)
        except subprocess.TimeoutExpired:
            # The machine's own timeout did not work: the machine hangs or was stopped.
            process.kill()
            output, _ = process.communicate()
            return CommandResult(exit_code=124, output=output, timed_out=True)
    # A script may itself end with 124; it timed out only if the time is over, too.
    late = time.monotonic() - began >= timeout_s
    timed_out = process.returncode in _TIMEOUT_CODES and late
    return CommandResult(exit_code=process.returncode, output=output, timed_out=timed_out)
