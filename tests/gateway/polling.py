"""Wait for a condition with a deadline; never sleep and hope."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def eventually(
    condition: Callable[[], Awaitable[bool]] | Callable[[], bool], *, seconds: float = 5
) -> None:
    """Poll until ``condition`` is true; fails the test when it stays false."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        answer = condition()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return
        if loop.time() > end:
            raise AssertionError(f"still false after {seconds} s")
        await asyncio.sleep(0.01)
