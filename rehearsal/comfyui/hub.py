"""WebSocket clients and the messages that go to them, in order, from any thread."""

from __future__ import annotations

import asyncio
import json
import logging
import struct
import uuid
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web

#: Type of the binary message that carries a node's text.
TEXT_EVENT = 3
#: A client that takes no data for so long is dropped; the others must not wait for it.
SEND_TIMEOUT_SECONDS = 10.0

log = logging.getLogger(__name__)


class WebSocketHub:
    """Sends messages to one client or to all; implements the executor's `Hub`."""

    def __init__(self) -> None:
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._queue: asyncio.Queue[tuple[str | bytes, str | None]] = asyncio.Queue()
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the loop that `publish` runs on."""
        self._loop = loop

    def _post(self, message: str | bytes, client_id: str | None) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        loop.call_soon_threadsafe(self._queue.put_nowait, (message, client_id))

    def send(self, event: str, data: Any, client_id: str | None) -> None:
        """Send a JSON message to one client, or to all when ``client_id`` is None."""
        self._post(json.dumps({"type": event, "data": data}), client_id)

    def send_text(self, node_id: str, text: str, client_id: str | None) -> None:
        """Send a node's text: event type, length of the node id, node id, text."""
        node = node_id.encode()
        self._post(struct.pack(">II", TEXT_EVENT, len(node)) + node + text.encode(), client_id)

    async def publish(self) -> None:
        """Deliver messages until cancelled."""
        while True:
            message, client_id = await self._queue.get()
            targets = list(self._sockets.items())
            for sid, socket in targets:
                if client_id in (None, sid):
                    await self._deliver(sid, socket, message)

    async def _deliver(self, sid: str, socket: web.WebSocketResponse, message: str | bytes) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                if isinstance(message, bytes):
                    await socket.send_bytes(message)
                else:
                    await socket.send_str(message)
        except (ConnectionError, TimeoutError, RuntimeError) as error:
            log.info("client %s dropped: %s", sid, error)
            if self._sockets.get(sid) is socket:
                del self._sockets[sid]

    async def serve(
        self,
        request: web.Request,
        *,
        status: Callable[[], dict[str, Any]],
        current: Callable[[], tuple[str | None, str] | None],
        features: Callable[[], dict[str, Any]],
    ) -> web.WebSocketResponse:
        """Handle GET /ws until the client leaves.

        Args:
            request: the upgrade request; ``clientId`` names the client.
            status: the queue's state, sent first.
            current: (client id, node id) of what runs, sent to that client when it comes back.
            features: what the server can do, sent to clients that ask with ``feature_flags``.
        """
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sid = request.query.get("clientId") or uuid.uuid4().hex
        self._sockets[sid] = socket
        try:
            await socket.send_json({"type": "status", "data": {"status": status(), "sid": sid}})
            running = current()
            if running is not None and running[0] == sid:
                await socket.send_json({"type": "executing", "data": {"node": running[1]}})
            first = True
            async for message in socket:
                if first and message.type == WSMsgType.TEXT:
                    await self._greet(socket, message.data, features)
                first = False
        finally:
            if self._sockets.get(sid) is socket:
                del self._sockets[sid]
        return socket

    @staticmethod
    async def _greet(
        socket: web.WebSocketResponse, text: str, features: Callable[[], dict[str, Any]]
    ) -> None:
        try:
            kind = json.loads(text).get("type")
        except (json.JSONDecodeError, AttributeError):
            return
        if kind == "feature_flags":
            await socket.send_json({"type": "feature_flags", "data": features()})

    async def close(self) -> None:
        """Tell every client that the server goes away."""
        for socket in list(self._sockets.values()):
            await socket.close(code=1001, message=b"server stops")
