"""Streams one HTTP exchange: request body up, answer down, nothing collected in between."""

from __future__ import annotations

import asyncio
from typing import Final

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from vace_gateway.bodies import RequestBody
from vace_gateway.context import Context
from vace_gateway.errors import Refusal
from vace_gateway.headers import make_inert, returned_headers, security_headers, upstream_headers
from vace_gateway.settings import Settings
from vace_gateway.upstream import Upstream

RETRY_AFTER_RESTART: Final = {"Retry-After": "5"}


class Proxy:
    """Forwards checked requests."""

    def __init__(self, settings: Settings, upstream: Upstream) -> None:
        self._settings = settings
        self._upstream = upstream

    def headers(self, context: Context) -> CIMultiDict[str]:
        """The client's headers as ComfyUI gets them."""
        return upstream_headers(
            context.request,
            upstream=self._upstream.base,
            client=context.client,
            scheme=context.scheme,
            host=context.host,
            request_id=context.request_id,
        )

    async def forward(
        self, context: Context, url: URL, body: RequestBody | None, *, user_content: bool
    ) -> web.StreamResponse:
        """Send the request to ComfyUI and its answer to the client.

        Raises Refusal as long as nothing was sent to the client. After that a failure can only be
        shown by cutting the connection, so that no client takes half a video for a whole one.
        """
        request = context.request
        headers = self.headers(context)
        if body is not None and request.content_length is not None:
            headers["Content-Length"] = str(request.content_length)
        loop = asyncio.get_running_loop()
        answer: aiohttp.ClientResponse | None = None
        try:
            async with asyncio.timeout(None) as deadline:

                def expect_upstream(seconds: float | None) -> None:
                    deadline.reschedule(None if seconds is None else loop.time() + seconds)

                if body is None:
                    expect_upstream(self._settings.headers_seconds)
                else:
                    # The clock for the answer starts when the upload is through, so that a slow
                    # client does not use it up.
                    body.expect_upstream = expect_upstream
                answer = await self._upstream.session.request(
                    request.method,
                    url,
                    headers=headers,
                    data=None if body is None else body.chunks(),
                    allow_redirects=False,
                )
        except TimeoutError as error:
            if isinstance(error, aiohttp.ClientError):
                raise _unreachable() from error
            raise Refusal("upstream_timeout", close=True) from None
        except aiohttp.ClientConnectorError as error:
            raise _unreachable() from error
        except (aiohttp.ClientError, OSError) as error:
            if body is not None and body.failure is not None:
                raise body.failure from error
            if body is not None and body.client_gone:
                raise ConnectionResetError("the client went away during its upload") from error
            raise Refusal("upstream_failed", headers=RETRY_AFTER_RESTART, close=True) from error
        try:
            return await self._answer(context, answer, user_content=user_content)
        finally:
            # close(), not release(): an answer that was not read to its end must not go back to
            # the pool, and after a complete one the connection is already there.
            answer.close()

    async def _answer(
        self, context: Context, answer: aiohttp.ClientResponse, *, user_content: bool
    ) -> web.StreamResponse:
        request = context.request
        headers = returned_headers(answer.headers)
        security = security_headers(scheme=context.scheme, request_id=context.request_id)
        for name, value in security.items():
            headers[name] = value
        if user_content:
            make_inert(headers, stylesheet=context.path.endswith("/user.css"))
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
        length = answer.headers.get("Content-Length", "")
        if length.isascii() and length.isdigit():
            response.content_length = int(length)
        if not request.keep_alive or context.close_connection:
            response.force_close()
        context.status = answer.status
        idle = self._settings.idle_seconds
        try:
            await response.prepare(request)
            while True:
                async with asyncio.timeout(idle):
                    chunk = await answer.content.readany()
                if not chunk:
                    break
                async with asyncio.timeout(idle):
                    await response.write(chunk)
                context.bytes_out += len(chunk)
            await response.write_eof()
        except (TimeoutError, aiohttp.ClientPayloadError, ConnectionError) as error:
            context.error = f"cut: {error.__class__.__name__}"
            if request.transport is not None:
                request.transport.abort()
        return response


def _unreachable() -> Refusal:
    return Refusal("upstream_unavailable", headers=RETRY_AFTER_RESTART, close=True)
