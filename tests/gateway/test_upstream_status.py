"""Draining, as ComfyUI's supervisor tells it, and names that move or do not resolve."""

from __future__ import annotations

import asyncio
import math
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from vace_gateway.errors import SettingsError
from vace_gateway.settings import PREFIX, Settings
from websockets.exceptions import InvalidStatus

from tests.gateway.conftest import MakeBench
from tests.gateway.polling import eventually
from tests.gateway.recorder import Recorder
from tests.gateway.test_websocket import dial

READY: dict[str, Any] = {
    "ready": True,
    "draining": False,
    "reasons": ["it can make a video"],
    "queue_running": 0,
    "queue_pending": 0,
}


class StatusListener(Recorder):
    """Answers /status with what a test puts there."""

    def __init__(self) -> None:
        super().__init__()
        self.document: object = READY
        self.responders["/status"] = self._status

    async def _status(self, _request: web.Request) -> web.Response:
        return web.json_response(self.document)


@pytest.fixture
async def status() -> AsyncIterator[StatusListener]:
    listener = StatusListener()
    await listener.start()
    yield listener
    await listener.stop()


async def test_prompts_are_refused_while_comfyui_drains_and_pass_again_afterwards(
    make_bench: MakeBench, status: StatusListener
) -> None:
    """A prompt that is taken during the drain is lost with the pod."""
    status.document = READY | {"draining": True, "queue_running": 1}
    async with make_bench(UPSTREAM_STATUS=status.url) as bench, bench.client() as client:
        for path in ("/prompt", "/api/prompt"):
            refused = await client.post(path, json={})
            assert refused.status_code == 503
            assert int(refused.headers["Retry-After"]) > 0
            error = refused.json()["error"]
            assert error["type"] == "draining"
            assert "Nothing was queued" in error["message"]
            assert "未进入队列" in error["message_zh"]
            assert refused.json()["node_errors"] == {}
        assert not bench.comfy.seen("/prompt")
        # What is there can be watched, cancelled and fetched.
        for method, path in (("GET", "/queue"), ("GET", "/view?filename=a.mp4"),
                             ("POST", "/interrupt"), ("GET", "/prompt")):  # fmt: skip
            assert (await client.request(method, path)).status_code == 200
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"ready": True, "draining": True})
        assert await bench.metric("vace_gateway_drain_refusals_total") == 2
        assert await bench.metric("vace_gateway_upstream_draining") == 1
        status.document = READY

        async def passes() -> bool:
            return (await client.post("/prompt", json={})).status_code == 200

        await eventually(passes)
        assert await bench.metric("vace_gateway_upstream_draining") == 0


async def test_a_burst_asks_for_the_status_once(
    make_bench: MakeBench, status: StatusListener
) -> None:
    """Anybody with a token may send prompts, which must not multiply into load on the listener."""
    async with make_bench(UPSTREAM_STATUS=status.url) as bench, bench.client() as client:
        await asyncio.gather(*(client.post("/prompt", json={}) for _ in range(20)))
    assert len(status.seen("/status")) == 1
    assert "Authorization" not in status.requests[0].headers


@pytest.mark.parametrize(
    "document", [[], {}, {"draining": True}, READY | {"draining": "yes"}, READY | {"reasons": None}]
)
async def test_a_status_of_another_form_changes_nothing(
    make_bench: MakeBench, status: StatusListener, document: object
) -> None:
    """ComfyUI decides where its supervisor can't be understood."""
    status.document = document
    async with make_bench(UPSTREAM_STATUS=status.url) as bench, bench.client() as client:
        assert (await client.post("/prompt", json={})).status_code == 200
        assert (await client.get("/readyz")).json() == {"ready": True}


async def test_a_status_that_can_not_be_read_lets_prompts_pass(
    make_bench: MakeBench, status: StatusListener
) -> None:
    """A lost listener must not stop the service, nor make every prompt wait."""
    await status.stop()
    async with make_bench(UPSTREAM_STATUS=status.url) as bench, bench.client() as client:
        assert (await client.post("/prompt", json={})).status_code == 200
        assert (await client.get("/readyz")).json() == {"ready": True}
        assert math.isnan(await bench.metric("vace_gateway_upstream_draining"))


async def test_a_hanging_or_endless_status_is_given_up(
    make_bench: MakeBench, status: StatusListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt waits a bounded time for a status, and no answer fills the memory."""
    monkeypatch.setattr("vace_gateway.upstream_status.ANSWER_SECONDS", 0.2)
    release = asyncio.Event()

    async def hang(_request: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)

    for responder in (hang, endless):
        status.responders["/status"] = responder
        async with make_bench(UPSTREAM_STATUS=status.url) as bench, bench.client() as client:
            assert (await client.post("/prompt", json={})).status_code == 200
    release.set()


async def test_readiness_tells_why_comfyui_is_not_ready(
    make_bench: MakeBench, status: StatusListener
) -> None:
    """Whoever looks at the gateway learns that weights are hashed, not only that nobody answers."""
    reasons = ["ComfyUI is not started yet: the weights are checked"]
    status.document = READY | {"ready": False, "reasons": reasons}
    async with make_bench(UPSTREAM_STATUS=status.url) as bench:
        await bench.comfy.stop()
        async with bench.client(authorized=False) as client:
            answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["reasons"] == reasons
        assert reasons[0] in answer.json()["reason"]
        assert await bench.metric("vace_gateway_upstream_up") == 0


def test_the_status_url_is_checked(environment: dict[str, str]) -> None:
    """A wrong address would silently let prompts pass into a draining ComfyUI."""
    assert Settings.from_environment(environment).upstream_status == ""
    for wrong in ("https://127.0.0.1:8189", "127.0.0.1:8189", "http://a:8189/status"):
        with pytest.raises(SettingsError, match="UPSTREAM_STATUS"):
            Settings.from_environment(environment | {PREFIX + "UPSTREAM_STATUS": wrong})


async def test_a_name_that_does_not_resolve_is_a_comfyui_that_is_down(
    make_bench: MakeBench,
) -> None:
    """In a cluster the name may come and go with the pods; 502 would mean that work was taken."""
    async with make_bench(UPSTREAM="http://comfyui.invalid:8188") as bench:
        async with bench.client() as client:
            for method, path in (("GET", "/queue"), ("POST", "/prompt"), ("POST", "/queue")):
                answer = await client.request(method, path)
                assert answer.status_code == 503
                assert answer.json()["error"]["type"] == "upstream_unavailable"
                assert int(answer.headers["Retry-After"]) > 0
            ready = await client.get("/readyz")
        assert ready.status_code == 503
        assert "not reachable" in ready.json()["reason"]
        with pytest.raises(InvalidStatus) as refused:
            await dial(bench)
        assert refused.value.response.status_code == 503


async def test_a_name_that_moved_is_followed_at_once(
    make_bench: MakeBench, comfy: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A remembered address sends everybody to a pod that is gone, long after the new one serves."""
    resolve = socket.getaddrinfo
    address = "127.0.0.1"

    def moving(host: Any, port: Any, *more: Any, **named: Any) -> Any:
        return resolve(address if host == "comfyui.test" else host, port, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", moving)
    async with (
        make_bench(UPSTREAM=f"http://comfyui.test:{comfy.port}") as bench,
        bench.client() as client,
    ):
        assert (await client.get("/queue")).status_code == 200
        port = comfy.port
        await comfy.stop()
        address = "127.0.0.2"

        async def moved(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nmoved")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(moved, "127.0.0.2", port):
            found = await client.get("/queue")
    assert (found.status_code, found.text) == (200, "moved")


async def test_a_resolver_that_hangs_is_a_comfyui_that_is_down(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster's DNS that is restarted must not hold every client for the time of an answer."""
    resolve, release = socket.getaddrinfo, threading.Event()

    def hanging(host: Any, *more: Any, **named: Any) -> Any:
        if host == "comfyui.test":
            release.wait(30)
        return resolve(host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    try:
        async with (
            make_bench(UPSTREAM="http://comfyui.test:8188", CONNECT_SECONDS="0.2") as bench,
            bench.client() as client,
        ):
            answer = await client.get("/queue")
            assert answer.status_code == 503
            assert answer.json()["error"]["type"] == "upstream_unavailable"
            with pytest.raises(InvalidStatus) as refused:
                await dial(bench)
            assert refused.value.response.status_code == 503
    finally:
        release.set()
