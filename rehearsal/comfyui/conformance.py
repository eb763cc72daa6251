"""Holds the simulated ComfyUI against recordings of a real one.

    python -m rehearsal.comfyui.conformance

Starts the simulated server with an empty folder and runs `python -m smoke_tests.conformance`
against it as a program of its own; this package imports nothing from there.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

START_SECONDS = 30.0
#: Long enough that a running job can be asked about, short enough that all jobs end soon.
STEP_SECONDS = 0.1


class NotStartedError(Exception):
    """The simulated server did not come up; the message has its log."""


@contextlib.contextmanager
def simulated(folder: Path, *, step_seconds: float = STEP_SECONDS) -> Iterator[str]:
    """A running simulated server below ``folder``; gives its URL.

    Raises:
        NotStartedError: it ended or did not listen within 30 seconds.
    """
    port_file, log = folder / "port", folder / "comfyui.log"
    command = [sys.executable, "-m", "rehearsal.comfyui", "--listen", "127.0.0.1", "--port", "0",
               "--base", str(folder / "comfyui"), "--port-file", str(port_file),
               "--step-seconds", str(step_seconds)]  # fmt: skip
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + START_SECONDS
        while not (port_file.is_file() and port_file.read_text(encoding="utf-8").strip()):
            if process.poll() is not None or time.monotonic() > until:
                raise NotStartedError(
                    f"{' '.join(command)} did not open a port within {START_SECONDS:g} s. A folder "
                    f"that can be written and a free port are needed. Its log:\n"
                    f"{log.read_text(encoding='utf-8', errors='replace')}"
                )
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port_file.read_text(encoding='utf-8').strip()}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main() -> int:
    """Start, compare, stop; the exit status of the suite, or 4 when nothing could be compared."""
    with tempfile.TemporaryDirectory(prefix="comfyui-conformance-") as folder:
        try:
            with simulated(Path(folder)) as url:
                environment = {k: v for k, v in os.environ.items() if k != "VACE_API_TOKEN"}
                command = [sys.executable, "-m", "smoke_tests.conformance", "--url", url]
                return subprocess.run(command, env=environment, check=False).returncode
        except NotStartedError as error:
            print(f"conformance: {error}", file=sys.stderr)
            return 4


if __name__ == "__main__":
    sys.exit(main())
