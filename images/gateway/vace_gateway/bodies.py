"""Request bodies: passed on chunk by chunk, counted, never collected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from aiohttp import HttpVersion11, web

from vace_gateway.context import Context
from vace_gateway.errors import Refusal

SMALL_BODY_BYTES: Final = 1024 * 1024


class BodyAbortedError(Exception):
    """Raised inside the upload to make the HTTP client drop its half-sent request."""


class RequestBody:
    """A client's body on its way to ComfyUI.

    ``failure`` tells after the fact why the body ended early; the HTTP client would only report
    "failed to send".
    """

    def __init__(
        self, context: Context, *, limit: int, idle_seconds: float, answer_seconds: float
    ) -> None:
        self._context = context
        self._limit = limit
        self._idle = idle_seconds
        self._answer = answer_seconds
        self.failure: Refusal | None = None
        self.client_gone = False
        # Called with the seconds within which ComfyUI must react now; None while the client's
        # own clock runs.
        self.expect_upstream: Callable[[float | None], None] = _ignore

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives. Reading no faster than ComfyUI takes is what makes a fast
        client wait for a slow disk instead of filling this process's memory."""
        request = self._context.request
        if request.headers.get("Expect", "").lower() == "100-continue":
            await _send_continue(request)
        while True:
            try:
                async with asyncio.timeout(self._idle):
                    chunk = await request.content.readany()
            except TimeoutError:
                self.failure = Refusal("client_too_slow", close=True)
                raise BodyAbortedError from None
            except (ConnectionError, web.RequestPayloadError):
                self.client_gone = True
                raise BodyAbortedError from None
            if not chunk:
                break
            self._context.bytes_in += len(chunk)
            if self._context.bytes_in > self._limit:
                self.failure = too_large(self._limit)
                raise BodyAbortedError
            self.expect_upstream(self._idle)
            yield chunk
            self.expect_upstream(None)
        self.expect_upstream(self._answer)


def check_declared_length(request: web.BaseRequest, limit: int) -> bool:
    """Whether the request has a body; refuse it before reading when it says it is too big.

    Raises Refusal ``body_too_large`` (413).
    """
    if "Transfer-Encoding" in request.headers:
        if limit == 0:
            raise too_large(limit)
        return True
    length = request.content_length or 0
    if length > limit:
        raise too_large(limit)
    return length > 0


def too_large(limit: int) -> Refusal:
    """The 413 of this limit."""
    if limit == 0:
        return Refusal("body_too_large", "this route takes no body", close=True)
    return Refusal("body_too_large", f"at most {limit} bytes here", close=True)


async def _send_continue(request: web.BaseRequest) -> None:
    # Only now, after every check, is the client asked to send: a refused upload costs nothing.
    if request.version == HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


def _ignore(seconds: float | None) -> None:
    return None
