"""Waiting for something with a deadline, instead of sleeping and hoping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(what: str, probe: Callable[[], T], within_s: float = 60, every_s: float = 0.1) -> T:
    """Return the first true answer of ``probe``; fail with its last one after ``within_s``."""
    deadline = time.monotonic() + within_s
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}; last: {answer!r}"
        time.sleep(every_s)
    return answer
