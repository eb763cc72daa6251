"""WebSocket clients and the messages that go to them, in order, from any thread."""

from __future__ import annotations

import asyncio
import json
import logging
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

#: Types of binary messages: a bare preview, a node's text, a preview with a description.
PREVIEW_EVENT, TEXT_EVENT, DESCRIBED_PREVIEW_EVENT = 1, 3, 4
#: Kind of picture in a bare preview (2 would be PNG).
JPEG_KIND = 1
#: What a client announces when it wants previews with a description.
DESCRIBED_FEATURE = "supports_preview_metadata"
#: A client that takes no data for so long is dropped; the others must not wait for it.
SEND_TIMEOUT_SECONDS = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Client:
    """One connection, and the features that the client announced in its first message."""

    socket: web.WebSocketResponse
    transport: asyncio.BaseTransport | None
    features: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Message:
    """What is to be sent: to one client or (None) to all, perhaps only by announced feature."""

    content: str | bytes
    client_id: str | None
    described: bool | None = None


class WebSocketHub:
    """Sends messages to one client or to all; implements the executor's `Hub`."""

    def __init__(self) -> None:
        self._clients: dict[str, _Client] = {}
        self._queue: asyncio.Queue[_Message] = asyncio.Queue()
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the loop that `publish` runs on."""
        self._loop = loop

    def _post(self, message: _Message) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        loop.call_soon_threadsafe(self._queue.put_nowait, message)

    def send(self, event: str, data: Any, client_id: str | None) -> None:
        """Send a JSON message to one client, or to all when ``client_id`` is None."""
        self._post(_Message(json.dumps({"type": event, "data": data}), client_id))

    def send_text(self, node_id: str, text: str, client_id: str | None) -> None:
        """Send a node's text: event type, length of the node id, node id, text."""
        node = node_id.encode()
        content = struct.pack(">II", TEXT_EVENT, len(node)) + node + text.encode()
        self._post(_Message(content, client_id))

    def send_preview(
        self, jpeg: bytes, place: dict[str, Any], client_id: str | None, *, described: bool
    ) -> None:
        """Send a picture of what is being sampled to the clients that want it in this form.

        Args:
            jpeg: the picture.
            place: node and prompt that it belongs to.
            client_id: one client, or None for all, which then get it bare.
            described: event type, length of the description, description as JSON, picture; for
                clients that announced it. Otherwise event type, kind of picture, picture.
        """
        if not described:
            content = struct.pack(">II", PREVIEW_EVENT, JPEG_KIND) + jpeg
        elif client_id is None:
            return
        else:
            text = json.dumps({**place, "image_type": "image/jpeg"}).encode()
            content = struct.pack(">II", DESCRIBED_PREVIEW_EVENT, len(text)) + text + jpeg
        self._post(_Message(content, client_id, described if client_id is not None else None))

    def cut(self) -> None:
        """Cut every connection off, without a close."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for client in self._clients.values():
            if isinstance(client.transport, asyncio.WriteTransport):
                client.transport.abort()
        self._clients = {}

    async def publish(self) -> None:
        """Deliver messages until cancelled."""
        while True:
            message = await self._queue.get()
            for sid, client in list(self._clients.items()):
                wants = bool(client.features.get(DESCRIBED_FEATURE))
                if message.client_id in (None, sid) and message.described in (None, wants):
                    await self._deliver(sid, client, message.content)

    async def _deliver(self, sid: str, client: _Client, content: str | bytes) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                if isinstance(content, bytes):
                    await client.socket.send_bytes(content)
                else:
                    await client.socket.send_str(content)
        except (ConnectionError, TimeoutError, RuntimeError) as error:
            log.info("client %s dropped: %s", sid, error)
            if self._clients.get(sid) is client:
                del self._clients[sid]

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
        client = self._clients[sid] = _Client(socket, request.transport)
        try:
            await socket.send_json({"type": "status", "data": {"status": status(), "sid": sid}})
            running = current()
            if running is not None and running[0] == sid:
                await socket.send_json({"type": "executing", "data": {"node": running[1]}})
            first = True
            async for message in socket:
                if first and message.type == WSMsgType.TEXT:
                    await self._greet(client, message.data, features)
                first = False
        finally:
            if self._clients.get(sid) is client:
                del self._clients[sid]
        return socket

    @staticmethod
    async def _greet(client: _Client, text: str, features: Callable[[], dict[str, Any]]) -> None:
        try:
            greeting = json.loads(text)
            kind, announced = greeting.get("type"), greeting.get("data")
        except (json.JSONDecodeError, AttributeError):
            return
        if kind == "feature_flags":
            client.features.update(announced if isinstance(announced, dict) else {})
            await client.socket.send_json({"type": "feature_flags", "data": features()})

    async def close(self) -> None:
        """Tell every client that the server goes away."""
        for client in list(self._clients.values()):
            await client.socket.close(code=1001, message=b"server stops")
