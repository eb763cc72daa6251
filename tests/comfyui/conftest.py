"""A simulated ComfyUI inside the test process, and a client for it."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from rehearsal.comfyui.server import make_app
from rehearsal.comfyui.settings import Settings
from rehearsal.comfyui.simulation import Simulation, build

PATIENCE_SECONDS = 30.0


async def eventually(probe: Callable[[], Awaitable[Any]], what: str) -> Any:
    """Poll until the probe gives something; fails with what was waited for and the last answer."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        answer = await probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {PATIENCE_SECONDS:g} s; last answer {answer!r}")
        await asyncio.sleep(0.01)


class Listener:
    """One WebSocket client that keeps everything it hears."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, client_id: str) -> None:
        self.socket = socket
        self.client_id = client_id
        self.messages: list[dict[str, Any]] = []
        self.binary: list[bytes] = []
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for message in self.socket:
            if message.type == aiohttp.WSMsgType.TEXT:
                self.messages.append(json.loads(message.data))
            elif message.type == aiohttp.WSMsgType.BINARY:
                self.binary.append(message.data)

    def of(self, prompt_id: str) -> list[dict[str, Any]]:
        """Messages about one prompt."""
        return [m for m in self.messages if m["data"].get("prompt_id") == prompt_id]

    def kinds(self, prompt_id: str) -> list[str]:
        """Types of the messages about one prompt."""
        return [message["type"] for message in self.of(prompt_id)]

    async def until(self, kind: str, prompt_id: str) -> dict[str, Any]:
        """Wait for a message about a prompt."""

        async def heard() -> dict[str, Any] | None:
            return next((m for m in self.of(prompt_id) if m["type"] == kind), None)

        found: dict[str, Any] = await eventually(heard, f"message {kind} about {prompt_id}")
        return found

    async def close(self) -> None:
        await self.socket.close()
        await self._task


class Sim:
    """A running server as a test sees it."""

    def __init__(self, simulation: Simulation, session: aiohttp.ClientSession) -> None:
        self.simulation = simulation
        self.session = session
        self._listeners: list[Listener] = []

    @property
    def base(self) -> Path:
        return self.simulation.folders.base

    @property
    def output(self) -> Path:
        return self.simulation.folders.output

    async def get(self, path: str, status: int = 200, **options: Any) -> Any:
        """GET a JSON answer."""
        async with self.session.get(path, **options) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()

    async def post(self, path: str, body: Any, status: int = 200) -> Any:
        """POST JSON; returns the JSON answer, or None when the answer is empty."""
        async with self.session.post(path, json=body) as answer:
            text = await answer.text()
            assert answer.status == status, text
            return json.loads(text) if text else None

    async def upload(self, name: str, content: bytes, **fields: str) -> Any:
        """POST /upload/image."""
        form = aiohttp.FormData()
        form.add_field("image", content, filename=name, content_type="application/octet-stream")
        for key, value in fields.items():
            form.add_field(key, value)
        async with self.session.post("/upload/image", data=form) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def listen(self, client_id: str | None = None) -> Listener:
        """Open a WebSocket."""
        client_id = client_id or uuid.uuid4().hex
        socket = await self.session.ws_connect(f"/ws?clientId={client_id}")
        listener = Listener(socket, client_id)
        self._listeners.append(listener)
        return listener

    async def submit(self, graph: Any, **more: Any) -> str:
        """POST /prompt; returns the prompt id."""
        answer = await self.post("/prompt", {"prompt": graph, **more})
        return str(answer["prompt_id"])

    async def ended(self, prompt_id: str) -> dict[str, Any]:
        """Wait for the history entry of a prompt."""

        async def entry() -> Any:
            return (await self.get(f"/history/{prompt_id}")).get(prompt_id)

        found: dict[str, Any] = await eventually(entry, f"history of {prompt_id}")
        return found

    async def run(self, graph: Any, **more: Any) -> dict[str, Any]:
        """Submit and wait; returns the history entry."""
        return await self.ended(await self.submit(graph, **more))

    async def close(self) -> None:
        for listener in self._listeners:
            await listener.close()


StartSim = Callable[..., Awaitable[Sim]]


@pytest.fixture
async def start_sim(tmp_path: Path) -> AsyncIterator[StartSim]:
    """Starts servers; settings as keywords. Sampler steps take no time unless asked for."""
    opened: list[Any] = []

    async def start(**settings: Any) -> Sim:
        chosen = {"base": tmp_path / "comfyui", "step_seconds": 0.0, **settings}
        simulation = build(Settings(**chosen))
        server = TestServer(make_app(simulation))
        await server.start_server()
        session = aiohttp.ClientSession(
            base_url=server.make_url("/"), timeout=aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
        )
        sim = Sim(simulation, session)
        opened.append((sim, session, server))
        return sim

    yield start
    for sim, session, server in reversed(opened):
        await sim.close()
        await session.close()
        await server.close()


@pytest.fixture
async def sim(start_sim: StartSim) -> Sim:
    """A fresh server."""
    return await start_sim()
