"""The queue limit that ComfyUI lacks: without one a burst of prompts ends in out-of-memory.

ComfyUI is asked on ``GET /prompt``, which answers one number; ``/queue`` would send every waiting
graph along.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from vace_gateway.errors import Refusal
from vace_gateway.metrics import Metrics
from vace_gateway.upstream import Upstream, UpstreamError

RETRY_AFTER_SECONDS: Final = 30
ANSWER_SECONDS: Final = 15.0
# ComfyUI executes one prompt at a time; all others that remain are waiting.
_RUNNING_AT_ONCE: Final = 1


class Admission:
    """Decides whether one more prompt may go to ComfyUI."""

    def __init__(self, upstream: Upstream, limit: int, metrics: Metrics) -> None:
        self._upstream = upstream
        self._limit = limit
        self._metrics = metrics
        self._entering = 0

    @contextmanager
    def entering(self) -> Iterator[int]:
        """Count a prompt that is on its way; gives how many others were before it.

        Of two prompts that arrive together, the later one sees the earlier either here or in
        ComfyUI's own count, so that a burst can't slip through between asking and sending.
        """
        before = self._entering
        self._entering += 1
        try:
            yield before
        finally:
            self._entering -= 1

    async def check(self, before: int) -> None:
        """Ask ComfyUI for the length of its queue.

        Raises Refusal ``queue_full`` (429) or ``upstream_unavailable`` (503).
        """
        if self._limit == 0:
            return
        try:
            answer = await self._upstream.json("prompt", seconds=ANSWER_SECONDS)
            remaining = int(answer["exec_info"]["queue_remaining"])
        except (UpstreamError, KeyError, TypeError, ValueError) as error:
            raise Refusal(
                "upstream_unavailable", headers={"Retry-After": "5"}, close=True
            ) from error
        waiting = max(0, remaining - _RUNNING_AT_ONCE) + before
        if waiting >= self._limit:
            self._metrics.queue_refusals.inc()
            raise Refusal(
                "queue_full",
                f"{waiting} prompts wait; at most {self._limit} may",
                headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
                close=True,
            )
