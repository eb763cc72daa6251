"""Start and stop the servers that stand in front of a whole smoke run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
START_S = 30.0


@contextmanager
def running(
    module: str, environment: Mapping[str, str], log: Path, ready: Callable[[], bool]
) -> Iterator[None]:
    """Run `python -m module` until the block ends; `ready` is polled before it begins."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=REPOSITORY,
            env={**os.environ, **environment},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        until = time.monotonic() + START_S
        while not ready():
            assert process.poll() is None, f"{module} ended at once:\n{log.read_text()}"
            assert time.monotonic() < until, f"{module} was not ready:\n{log.read_text()}"
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
