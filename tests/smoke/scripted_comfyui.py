"""A small ComfyUI that follows a script: real sockets, recorded answers, chosen faults."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

RECORDINGS: dict[str, Any] = json.loads(
    (Path(__file__).parent / "recordings" / "comfyui-0.33.0.json").read_text(encoding="utf-8")
)
START_S = 10.0


@dataclass(frozen=True)
class Reply:
    """One scripted answer.

    Attributes:
        cut_after: send only so many bytes of the body, then drop the connection.
        stop_after: send only so many bytes of the body, then nothing, with the connection open.
        drip_s: seconds between single bytes of the body; never silent, never done.
    """

    status: int = 200
    json: Any = None
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    stop_after: int | None = None
    drip_s: float | None = None


@dataclass(frozen=True)
class Seen:
    """A request that arrived."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


class ScriptedComfyUI:
    """Serves until `stop`. Change its attributes between calls to write the script.

    Attributes:
        events: sent on the event stream after POST /prompt.
        entry: the history's answer, {prompt id: entry}; shown once the events are sent.
        empty_histories: how many GET /history answer {} before that.
        websocket: "open", "refuse" (404), or "drop" (closed after the first event).
        replies: by "METHOD /path", used up in order, the last one for ever; before all others.
        seen: all requests.
    """

    def __init__(self, *, token: str = "", context: ssl.SSLContext | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self.entry: dict[str, Any] = {}
        self.empty_histories = 0
        self.websocket = "open"
        self.queue: dict[str, Any] = {"queue_running": [], "queue_pending": []}
        self.replies: dict[str, list[Reply]] = defaultdict(list)
        self.seen: list[Seen] = []
        self._token, self._context = token, context
        self._sockets: list[web.WebSocketResponse] = []
        self._played = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stopped = asyncio.Event()
        self.port = 0
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._thread.start()
        assert self._ready.wait(START_S), "the scripted server did not start"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Close the listener and all connections, and end the thread."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(START_S)
        self._loop.close()

    def job(self, entry: dict[str, Any], events: Iterable[dict[str, Any]] = ()) -> str:
        """Script a job by its recorded history entry and events; its prompt id."""
        (prompt_id,) = entry
        self.entry, self.events = entry, list(events)
        self.replies["POST /prompt"] = [
            Reply(json={"prompt_id": prompt_id, "number": 1, "node_errors": {}})
        ]
        return prompt_id

    def paths(self, method: str) -> list[str]:
        """Paths of all requests with this method, in order."""
        return [seen.path for seen in self.seen if seen.method == method]

    def bodies(self, path: str) -> list[Any]:
        """JSON bodies of all POSTs to a path."""
        return [
            json.loads(seen.body)
            for seen in self.seen
            if (seen.method, seen.path) == ("POST", path)
        ]

    async def _serve(self) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{tail:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._context)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stopped.wait()
        for socket in list(self._sockets):
            await socket.close()
        await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(
            Seen(
                request.method,
                request.path,
                request.query_string,
                {name.lower(): value for name, value in request.headers.items()},
                await request.read(),
            )
        )
        if self._token and request.headers.get("Authorization") != f"Bearer {self._token}":
            return web.json_response({"error": {"message": "token missing or wrong"}}, status=401)
        scripted = self.replies.get(f"{request.method} {request.path}", [])
        if scripted:
            reply = scripted.pop(0) if len(scripted) > 1 else scripted[0]
            if request.method == "POST" and request.path == "/prompt" and reply.status == 200:
                asyncio.get_running_loop().create_task(self._play())
            return await self._send(request, reply)
        if request.path == "/ws":
            return await self._events(request)
        if request.path.startswith("/history/"):
            return web.json_response(self._history())
        canned = {"/queue": self.queue, "/system_stats": RECORDINGS["system_stats"]}
        if request.method == "GET" and request.path in canned:
            return web.json_response(canned[request.path])
        return web.Response(status=200 if request.method == "POST" else 404)

    def _history(self) -> dict[str, Any]:
        if self.empty_histories > 0:
            self.empty_histories -= 1
            return {}
        return self.entry if self._played.is_set() else {}

    async def _play(self) -> None:
        for event in self.events if self._sockets else []:
            for socket in list(self._sockets):
                await socket.send_json(event)
                if self.websocket == "drop":
                    await socket.close()
            if self.websocket == "drop":
                break
        self._played.set()

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if self.websocket == "refuse":
            return web.Response(status=404)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.append(socket)
        await socket.send_bytes(b"\x00\x00\x00\x03\x00\x00\x00\x02" + bytes(80))  # as recorded
        try:
            async for message in socket:
                if message.type is WSMsgType.CLOSE:
                    break
        finally:
            self._sockets.remove(socket)
        return socket

    async def _send(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        body = reply.body or (b"" if reply.json is None else json.dumps(reply.json).encode())
        kind = "application/json" if reply.json is not None else "application/octet-stream"
        headers = {"Content-Type": kind, **reply.headers}
        if reply.cut_after is None and reply.stop_after is None and reply.drip_s is None:
            return web.Response(status=reply.status, body=body, headers=headers)
        response = web.StreamResponse(status=reply.status, headers=headers)
        response.content_length = len(body)
        await response.prepare(request)
        if reply.drip_s is not None:
            await self._drip(response, body, reply.drip_s)
            return response
        await response.write(body[: reply.cut_after or reply.stop_after])
        if reply.stop_after is not None:
            await self._stopped.wait()  # silence; the client gives up long before
        assert request.transport is not None
        request.transport.abort()
        return response

    async def _drip(self, response: web.StreamResponse, body: bytes, pause_s: float) -> None:
        with contextlib.suppress(ConnectionError):  # the client gives up before the end
            for place in range(len(body)):
                await response.write(body[place : place + 1])
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), pause_s)
                if self._stopped.is_set():
                    return
