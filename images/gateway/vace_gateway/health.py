"""Liveness and readiness.

``/healthz`` says that this process answers. ``/readyz`` says that a video can be made: ComfyUI
answers, and every required node class is there. The second matters because ComfyUI starts without
a custom node that failed to import and only writes a line into its log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from vace_gateway.metrics import Metrics
from vace_gateway.settings import Settings
from vace_gateway.upstream import Upstream, UpstreamError
from vace_gateway.upstream_status import UpstreamStatus

CACHE_SECONDS: Final = 2.0
ANSWER_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Readiness:
    """``reason`` is empty when ready; ``reasons`` are those of ComfyUI's own supervisor."""

    upstream_up: bool
    reason: str
    missing_nodes: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    draining: bool = False

    @property
    def ready(self) -> bool:
        """Whether a prompt sent now can be executed."""
        return not self.reason

    def document(self) -> dict[str, Any]:
        """The body of /readyz."""
        document: dict[str, Any] = {"ready": self.ready}
        if self.draining:
            document["draining"] = True
        if self.ready:
            return document
        document["reason"] = self.reason
        if self.reasons:
            document["reasons"] = list(self.reasons)
        if self.missing_nodes:
            document["missing_nodes"] = list(self.missing_nodes)
        return document


class Health:
    """Asks ComfyUI at most once in CACHE_SECONDS, however many probes and scrapes come."""

    def __init__(
        self,
        settings: Settings,
        upstream: Upstream,
        status: UpstreamStatus,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._required = settings.required_nodes
        self._upstream = upstream
        self._status = status
        self._metrics = metrics
        self._clock = clock
        self._lock = asyncio.Lock()
        self._latest: tuple[float, Readiness] | None = None
        self.stopping = False

    async def readiness(self) -> Readiness:
        """The present state; not older than CACHE_SECONDS."""
        if self.stopping:
            return Readiness(upstream_up=True, reason="the gateway is stopping")
        async with self._lock:
            if self._latest is None or self._clock() - self._latest[0] >= CACHE_SECONDS:
                found = await self._ask()
                self._latest = (self._clock(), found)
            return self._latest[1]

    async def refresh_metrics(self) -> None:
        """Bring the gauges about ComfyUI up to date before a scrape."""
        readiness = await self.readiness()
        await self._status.refresh_metrics()
        self._metrics.upstream_up.set(readiness.upstream_up)
        self._metrics.ready.set(readiness.ready)
        running = pending = float("nan")  # unknown is not zero: zero would look idle
        if readiness.upstream_up:
            try:
                queue = await self._upstream.json("queue", seconds=ANSWER_SECONDS)
                running, pending = len(queue["queue_running"]), len(queue["queue_pending"])
            except (UpstreamError, KeyError, TypeError):
                pass
        self._metrics.queue_running.set(running)
        self._metrics.queue_pending.set(pending)

    async def _ask(self) -> Readiness:
        status, found = await asyncio.gather(self._status.current(), self._ask_comfyui())
        if status is None:
            return found
        if not status.ready:
            why = "; ".join(status.reasons) or "its status listener gives no reason"
            reason = f"ComfyUI is not ready: {why}"
            found = replace(found, reason=reason, reasons=status.reasons)
        return replace(found, draining=status.draining)

    async def _ask_comfyui(self) -> Readiness:
        try:
            await self._upstream.json("system_stats", seconds=ANSWER_SECONDS)
        except UpstreamError as error:
            return Readiness(upstream_up=False, reason=f"ComfyUI: {error}")
        missing = []
        for name in self._required:
            try:
                answer = await self._upstream.json("object_info", name, seconds=ANSWER_SECONDS)
            except UpstreamError as error:
                return Readiness(upstream_up=True, reason=f"ComfyUI: {error}")
            # ComfyUI answers 200 with {} for a class that it does not know.
            if not isinstance(answer, dict) or name not in answer:
                missing.append(name)
        if missing:
            reason = f"ComfyUI lacks required nodes: {', '.join(missing)}"
            return Readiness(upstream_up=True, reason=reason, missing_nodes=tuple(missing))
        return Readiness(upstream_up=True, reason="")
