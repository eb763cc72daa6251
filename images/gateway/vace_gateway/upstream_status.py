"""What ComfyUI's supervisor tells about it: whether it drains, and why it is not ready.

ComfyUI itself cannot refuse prompts while it finishes its last ones before a restart. Where
``VACE_GATEWAY_UPSTREAM_STATUS`` names the supervisor's status listener, the gateway does that for
it. A status that can't be read changes nothing: ComfyUI then decides, as it does without one.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

from vace_gateway.errors import Refusal
from vace_gateway.metrics import Metrics
from vace_gateway.settings import Settings
from vace_gateway.upstream import Upstream

CACHE_SECONDS: Final = 1.0
# The listener answers within 0.5 s; a prompt must not wait much longer for a lost one.
ANSWER_SECONDS: Final = 2.0
MAX_BYTES: Final = 64 * 1024
MAX_REASONS: Final = 16
MAX_REASON: Final = 500
RETRY_AFTER_SECONDS: Final = 30


@dataclass(frozen=True)
class Status:
    """One answer of the status listener; ``reasons`` says why it is not ready."""

    ready: bool
    draining: bool
    reasons: tuple[str, ...]


class UpstreamStatus:
    """Asks the status listener at most once in CACHE_SECONDS, if there is one."""

    def __init__(
        self,
        settings: Settings,
        upstream: Upstream,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = URL(settings.upstream_status + "/status") if settings.upstream_status else None
        self._upstream = upstream
        self._metrics = metrics
        self._clock = clock
        self._lock = asyncio.Lock()
        self._latest: tuple[float, Status | None] | None = None

    async def current(self) -> Status | None:
        """The present status; None where none is configured or none can be read."""
        if self._url is None:
            return None
        async with self._lock:
            if self._latest is None or self._clock() - self._latest[0] >= CACHE_SECONDS:
                found = await self._ask(self._url)
                self._latest = (self._clock(), found)
            return self._latest[1]

    async def check(self) -> None:
        """Let a prompt pass. Raises Refusal ``draining`` (503)."""
        status = await self.current()
        if status is not None and status.draining:
            self._metrics.drain_refusals.inc()
            raise Refusal(
                "draining",
                "nothing was queued",
                headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
                close=True,
            )

    async def refresh_metrics(self) -> None:
        """Bring the gauge up to date before a scrape; unknown is NaN."""
        status = await self.current()
        self._metrics.upstream_draining.set(float("nan") if status is None else status.draining)

    async def _ask(self, url: URL) -> Status | None:
        body = bytearray()
        try:
            async with (
                asyncio.timeout(ANSWER_SECONDS),
                self._upstream.session.get(url, allow_redirects=False) as response,
            ):
                if response.status != 200:
                    return None
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > MAX_BYTES:
                        return None
            return _status(json.loads(body))
        # The parser's own depth is exceeded by brackets within brackets.
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError, RecursionError):
            return None


def _status(document: object) -> Status | None:
    """The part that is used; None for a document of another form."""
    if not isinstance(document, dict):
        return None
    ready, draining, reasons = (document.get(name) for name in ("ready", "draining", "reasons"))
    if not isinstance(ready, bool) or not isinstance(draining, bool):
        return None
    if not isinstance(reasons, list):
        return None
    texts = tuple(str(reason)[:MAX_REASON] for reason in reasons[:MAX_REASONS])
    return Status(ready, draining, texts)
