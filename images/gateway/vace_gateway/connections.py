"""The HTTP/1.1 protocol of one client connection, with the gateway's limits on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from vace_gateway.context import Context
from vace_gateway.errors import Refusal
from vace_gateway.headers import security_headers
from vace_gateway.logs import LOGGER
from vace_gateway.metrics import Metrics

# Also the longest that a connection may take to send the headers of a request: a client that
# trickles them (slowloris) is cut off when it ends.
KEEPALIVE_SECONDS: Final = 65.0
READ_BUFFER_BYTES: Final = 256 * 1024
# How long to read on after an early refusal (413, 429), so that the client sees the answer
# instead of a reset connection.
LINGER_SECONDS: Final = 5.0


class ConnectionCount:
    """Open client connections, and how many there may be."""

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self._limit = limit
        self._metrics = metrics
        self._open = 0

    def enter(self) -> bool:
        """Count a new connection; False when it is one too many."""
        self._open += 1
        self._metrics.connections.set(self._open)
        if self._open > self._limit:
            self._metrics.dropped.inc()
            return False
        return True

    def leave(self) -> None:
        """Forget a closed connection."""
        self._open -= 1
        self._metrics.connections.set(self._open)


class GatewayProtocol(web.RequestHandler):
    """aiohttp's handler with a connection limit and answers in the gateway's own form."""

    __slots__ = ("_count", "_record")

    def __init__(
        self, manager: web.Server, count: ConnectionCount, record: Callable[[Context], None]
    ) -> None:
        super().__init__(
            manager,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=KEEPALIVE_SECONDS,
            access_log=None,  # type: ignore[arg-type]  # aiohttp's own way to say "no access log"
            # Compressed bodies pass through as they are, so that Content-Length stays true.
            auto_decompress=False,
            read_bufsize=READ_BUFFER_BYTES,
            lingering_time=LINGER_SECONDS,
        )
        self._count = count
        self._record = record

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Drop the connection at once when there are too many."""
        within = self._count.enter()
        super().connection_made(transport)
        if not within and isinstance(transport, asyncio.Transport):
            transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called exactly once by asyncio for each connection."""
        self._count.leave()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP without telling what the parser thought of it."""
        if request.writer.output_size > 0 or isinstance(exc, ConnectionError):
            raise ConnectionError("an answer was already on its way, or nobody is there to read it")
        if exc is not None and status >= 500:
            LOGGER.error("request failed outside its handler", exc_info=exc)
        context = Context.of(request)
        refusal = Refusal("bad_request" if status == 400 else "internal_error", close=True)
        headers: dict[str, Any] = security_headers(
            scheme=context.scheme, request_id=context.request_id
        )
        headers["Content-Type"] = "application/json; charset=utf-8"
        response = web.Response(
            status=refusal.kind.status, body=refusal.body(context.request_id), headers=headers
        )
        response.force_close()
        context.status, context.error = refusal.kind.status, refusal.kind.type
        self._record(context)
        return response
