"""An upstream that records what reached it: a real server on a real socket.

It is not a ComfyUI (rehearsal/comfyui is): it answers whatever a test tells it to, so that a test
can show what the gateway let through, in which form, and when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import WSMsgType, web
from multidict import CIMultiDict

Responder = Callable[[web.Request], Awaitable[web.StreamResponse]]
SocketScript = Callable[[web.WebSocketResponse], Awaitable[None]]


@dataclass
class Seen:
    """One request as it arrived upstream."""

    method: str
    raw_path: str
    headers: CIMultiDict[str]
    body: bytearray = field(default_factory=bytearray)
    first_bytes: asyncio.Event = field(default_factory=asyncio.Event)
    complete: bool = False
    aborted: asyncio.Event = field(default_factory=asyncio.Event)


SEEN = web.RequestKey("seen", Seen)


class Recorder:
    """Records requests; answers 200 with a small JSON unless a path has its own responder."""

    def __init__(self) -> None:
        self.requests: list[Seen] = []
        self.responders: dict[str, Responder] = {}
        self.queue_running = 0
        self.queue_pending = 0
        self.nodes = ["WanVaceToVideo", "VHS_VideoCombine"]
        self.sockets: list[web.WebSocketResponse] = []
        self.socket_headers: list[CIMultiDict[str]] = []
        self.socket_script: SocketScript = _echo
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, port: int = 0) -> None:
        app = web.Application(client_max_size=1024**3)
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Vanish like a killed process: connections are reset, no closing handshake."""
        if self._runner is None:
            return
        for socket in self.sockets:
            request = socket._req
            if request is not None and request.transport is not None:
                request.transport.abort()
        self.sockets.clear()
        await self._runner.cleanup()
        self._runner = None

    def seen(self, path: str) -> list[Seen]:
        """Requests whose path (without query) is ``path``."""
        return [entry for entry in self.requests if entry.raw_path.split("?")[0] == path]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        entry = Seen(request.method, request.raw_path, CIMultiDict(request.headers))
        self.requests.append(entry)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request)
        request[SEEN] = entry
        responder = self.responders.get(request.path)
        if responder is not None:
            return await responder(request)
        await read_body(request)
        return self._default(request)

    def _default(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix("/api")
        if path == "/prompt" and request.method == "GET":
            remaining = self.queue_running + self.queue_pending
            return web.json_response({"exec_info": {"queue_remaining": remaining}})
        if path == "/prompt":
            if self.queue_running:
                self.queue_pending += 1
            else:
                self.queue_running = 1
            return web.json_response({"prompt_id": "p-1", "number": 1, "node_errors": {}})
        if path == "/queue":
            return web.json_response(
                {
                    "queue_running": [[0, "r"]] * self.queue_running,
                    "queue_pending": [[1, "p"]] * self.queue_pending,
                }
            )
        if path.startswith("/object_info/"):
            name = path.rpartition("/")[2]
            return web.json_response({name: {}} if name in self.nodes else {})
        return web.json_response({"path": request.raw_path})

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        self.socket_headers.append(CIMultiDict(request.headers))
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        self.sockets.append(socket)
        await self.socket_script(socket)
        return socket


async def read_body(request: web.Request) -> None:
    """Read the body into the record, noting when its first bytes came and whether it broke off."""
    entry = request[SEEN]
    try:
        while chunk := await request.content.readany():
            entry.body += chunk
            entry.first_bytes.set()
    except (ConnectionError, web.RequestPayloadError, asyncio.CancelledError):
        entry.aborted.set()
        raise
    entry.complete = True


async def _echo(socket: web.WebSocketResponse) -> None:
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(f"echo {message.data}")
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
