"""Bridges a WebSocket: messages both ways, each side's end told to the other.

ComfyUI sends progress as text and previews as binary messages over one socket for the life of a
browser tab. Pings run on each leg by themselves: the client's leg finds a client that vanished
without a word (laptop lid, lost mobile network), the upstream leg a ComfyUI that hangs.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp import WSMsgType, web
from yarl import URL

from vace_gateway.context import Context
from vace_gateway.errors import Refusal
from vace_gateway.headers import security_headers
from vace_gateway.metrics import Metrics
from vace_gateway.proxy import RETRY_AFTER_RESTART, Proxy
from vace_gateway.settings import Settings
from vace_gateway.upstream import Upstream

# A preview of a whole video batch fits; a client only ever sends feature flags.
MAX_UPSTREAM_MESSAGE: Final = 64 * 1024 * 1024
MAX_CLIENT_MESSAGE: Final = 1024 * 1024
# ComfyUI's event loop can stand still while a model is loaded, so its pings are patient.
UPSTREAM_HEARTBEAT_SECONDS: Final = 120.0
CLOSE_SECONDS: Final = 5.0

SERVICE_RESTART: Final = 1012
GOING_AWAY: Final = 1001
INTERNAL_ERROR: Final = 1011
NO_STATUS: Final = 1005
ABNORMAL: Final = 1006
RESTART_MESSAGE: Final = (
    "ComfyUI restarted; reconnect and check your job. ComfyUI 已重启,请重新连接".encode()
)
STOPPING_MESSAGE: Final = "the gateway is stopping; reconnect. 网关正在停止,请重新连接".encode()
# RFC 6455, section 7.4, and the registry: codes that an endpoint may send.
_SENDABLE: Final = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})

_Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


@dataclass(frozen=True)
class _End:
    """How one leg ended."""

    from_client: bool
    code: int
    message: bytes


class WebSocketBridge:
    """All bridged connections of one gateway."""

    def __init__(
        self, settings: Settings, upstream: Upstream, proxy: Proxy, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._upstream = upstream
        self._proxy = proxy
        self._metrics = metrics
        self._open: set[web.WebSocketResponse] = set()

    async def serve(self, context: Context, url: URL) -> web.StreamResponse:
        """Connect to ComfyUI, then accept the client, then pass messages until one side ends.

        Raises Refusal before the client is accepted, so that a client meets an HTTP status (502,
        503) and not a socket that opens and closes.
        """
        request = context.request
        client = web.WebSocketResponse(
            heartbeat=self._settings.heartbeat_seconds,
            max_msg_size=MAX_CLIENT_MESSAGE,
            timeout=CLOSE_SECONDS,
            compress=False,  # previews are JPEG and WebP already
        )
        if request.method != "GET" or not client.can_prepare(request):
            raise Refusal("upgrade_required", headers={"Upgrade": "websocket"}, close=True)
        upstream = await self._connect(context, url)
        try:
            headers = security_headers(scheme=context.scheme, request_id=context.request_id)
            client.headers.update(headers)
            await client.prepare(request)
            context.status = 101
            self._open.add(client)
            self._metrics.websockets.inc()
            try:
                await self._until_one_ends(context, client, upstream)
            finally:
                self._open.discard(client)
                self._metrics.websockets.dec()
        finally:
            await upstream.close()
        return client

    async def close_all(self) -> None:
        """Close every client with 1001 (going away); used when the gateway stops."""
        await asyncio.gather(
            *(client.close(code=GOING_AWAY, message=STOPPING_MESSAGE) for client in self._open),
            return_exceptions=True,
        )

    async def _connect(self, context: Context, url: URL) -> aiohttp.ClientWebSocketResponse:
        try:
            async with asyncio.timeout(self._settings.headers_seconds):
                return await self._upstream.session.ws_connect(
                    url,
                    headers=self._proxy.headers(context),
                    heartbeat=UPSTREAM_HEARTBEAT_SECONDS,
                    max_msg_size=MAX_UPSTREAM_MESSAGE,
                    timeout=aiohttp.ClientWSTimeout(ws_receive=None, ws_close=CLOSE_SECONDS),
                    compress=0,
                )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Refusal(
                "upstream_unavailable", headers=RETRY_AFTER_RESTART, close=True
            ) from error
        except TimeoutError as error:
            raise Refusal("upstream_timeout", close=True) from error
        except (aiohttp.ClientError, OSError) as error:
            raise Refusal("upstream_failed", headers=RETRY_AFTER_RESTART, close=True) from error

    async def _until_one_ends(
        self,
        context: Context,
        client: web.WebSocketResponse,
        upstream: aiohttp.ClientWebSocketResponse,
    ) -> None:
        pumps = {
            asyncio.create_task(self._pump(context, client, upstream)),
            asyncio.create_task(self._pump(context, upstream, client)),
        }
        try:
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        # When both end in one turn, what the client said is what counts.
        ends = sorted((pump.result() for pump in done), key=lambda end: not end.from_client)
        end = ends[0]
        if end.from_client:
            code = end.code if end.code in _SENDABLE or 3000 <= end.code < 5000 else 1000
            await upstream.close(code=code, message=end.message)
        else:
            await client.close(code=_code_for_client(end.code), message=_message_for_client(end))
        context.error = "" if end.from_client else f"websocket ended upstream: {end.code}"

    async def _pump(self, context: Context, source: _Socket, sink: _Socket) -> _End:
        from_client = isinstance(source, web.WebSocketResponse)
        while True:
            message = await source.receive()
            if message.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
                return _end_of(source, message, from_client=from_client)
            try:
                # A peer that takes nothing for so long is gone, even if its kernel still acks.
                async with asyncio.timeout(self._settings.idle_seconds):
                    if message.type is WSMsgType.TEXT:
                        await sink.send_str(message.data)
                    else:
                        await sink.send_bytes(message.data)
            except (ConnectionError, aiohttp.ClientError, TimeoutError):
                return _End(not from_client, ABNORMAL, b"")
            size = len(message.data)
            if from_client:
                context.bytes_in += size
            else:
                context.bytes_out += size


def _end_of(source: _Socket, message: aiohttp.WSMessage, *, from_client: bool) -> _End:
    if message.type is WSMsgType.CLOSE:
        return _End(from_client, int(message.data or NO_STATUS), (message.extra or "").encode())
    code = source.close_code
    return _End(from_client, ABNORMAL if code is None else int(code), b"")


def _code_for_client(code: int) -> int:
    if code in {ABNORMAL, GOING_AWAY}:
        return SERVICE_RESTART
    if code == NO_STATUS:
        return 1000
    return code if code in _SENDABLE or 3000 <= code < 5000 else INTERNAL_ERROR


def _message_for_client(end: _End) -> bytes:
    return RESTART_MESSAGE if _code_for_client(end.code) == SERVICE_RESTART else end.message[:123]
