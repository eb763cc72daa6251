"""HTTP as in `transport`, for asyncio: the same deadlines, repetitions and errors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import httpx

from smoke_tests.comfy_client.deadline import Deadline
from smoke_tests.comfy_client.errors import NotComfyUI, Unreachable
from smoke_tests.comfy_client.protocol import Answer
from smoke_tests.comfy_client.target import Target
from smoke_tests.comfy_client.transport import (
    CALL_S,
    MAX_BODY,
    RETRY_PAUSES_S,
    client_options,
    lower,
    mapped,
    may_repeat,
    timeouts,
)

Pause = Callable[[float], Awaitable[None]]


class AsyncTransport:
    """Requests to one `Target`; any number at once.

    Args:
        target: where to.
        pause: how to wait between repeated requests; only tests pass another one.
    """

    def __init__(self, target: Target, *, pause: Pause = asyncio.sleep) -> None:
        self.target = target
        self._pause = pause
        self._http = httpx.AsyncClient(**client_options(target))

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        files: Any = None,
        headers: Mapping[str, str] | None = None,
        deadline: Deadline | None = None,
    ) -> Answer:
        """One request, its answer read to the end whatever the status; see `Transport.call`."""
        deadline = deadline or Deadline(CALL_S)
        options = {"params": params, "json": json, "files": files, "headers": headers}
        pauses = list(RETRY_PAUSES_S)
        while True:
            try:
                answer = await self._once(method, path, options, deadline)
            except Unreachable as error:
                if not pauses or not may_repeat(method, error):
                    raise
            else:
                if not pauses or not may_repeat(method, answer):
                    return answer
            await self._pause(min(pauses.pop(0), deadline.remaining()))
            deadline.check(f"repeating {method} {path}")

    async def _once(
        self, method: str, path: str, options: dict[str, Any], deadline: Deadline
    ) -> Answer:
        what = f"{method} {path}"
        timeout = timeouts(deadline, what)
        with mapped(self.target, what, deadline):
            async with self._http.stream(method, path, timeout=timeout, **options) as response:
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    deadline.check(f"reading the answer to {what}")
                    if len(body) > MAX_BODY:
                        raise NotComfyUI(f"{what} answered more than {MAX_BODY >> 20} MiB.")
                return Answer(what, response.status_code, lower(response.headers), bytes(body))

    @contextlib.asynccontextmanager
    async def download(
        self, path: str, params: Mapping[str, str], deadline: Deadline
    ) -> AsyncIterator[tuple[Answer, AsyncIterator[bytes]]]:
        """GET as a stream, as `Transport.download`."""
        what = f"GET {path}"
        with mapped(self.target, what, deadline, streaming=True):
            async with self._http.stream(
                "GET",
                path,
                params=params,
                headers={"Accept-Encoding": "identity"},  # see Transport.download
                timeout=timeouts(deadline, what),
            ) as response:

                async def pieces() -> AsyncIterator[bytes]:
                    if response.status_code == 200:
                        async for chunk in response.aiter_raw():
                            deadline.check(f"downloading {params.get('filename', path)}")
                            yield chunk

                body = b"" if response.status_code == 200 else (await response.aread())[:MAX_BODY]
                yield Answer(what, response.status_code, lower(response.headers), body), pieces()
