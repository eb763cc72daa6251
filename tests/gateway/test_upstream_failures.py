"""What clients see when ComfyUI is down, dies, hangs or answers early."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from aiohttp import web

from tests.gateway.conftest import Bench, MakeBench
from tests.gateway.recorder import Recorder


async def test_a_download_cut_upstream_is_cut_for_the_client(bench: Bench) -> None:
    """A client must never take half a video for a whole one."""

    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"x" * 10)
        assert request.transport is not None
        request.transport.abort()
        return response

    bench.comfy.responders["/view"] = broken
    async with bench.client() as client:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await client.get("/view?filename=a.mp4")


async def test_comfyui_down_is_503_and_comes_back_without_a_restart(
    bench: Bench, comfy: Recorder
) -> None:
    """Callers get a reason and a time to wait, and the next request after the restart works."""
    port = comfy.port
    await comfy.stop()
    async with bench.client() as client:
        down = await client.get("/queue")
        assert (down.status_code, down.json()["error"]["type"]) == (503, "upstream_unavailable")
        assert int(down.headers["Retry-After"]) > 0
        await comfy.start(port)
        assert (await client.get("/queue")).status_code == 200


async def test_comfyui_dying_over_a_request_is_502(bench: Bench) -> None:
    """502 and 503 differ: after 502 the work may have been taken."""

    async def die(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    bench.comfy.responders["/queue"] = die
    async with bench.client() as client:
        answer = await client.post("/queue", json={"clear": True})
    assert (answer.status_code, answer.json()["error"]["type"]) == (502, "upstream_failed")
    assert answer.headers["Retry-After"]


async def test_comfyui_that_does_not_begin_to_answer_is_504(make_bench: MakeBench) -> None:
    """A hung ComfyUI must not hang every client with it."""
    async with make_bench(HEADERS_SECONDS="0.2") as bench:
        release = asyncio.Event()

        async def hang(request: web.Request) -> web.Response:
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()
            return web.Response()

        bench.comfy.responders["/queue"] = hang
        async with bench.client() as client:
            answer = await client.get("/queue")
            slow_upload = await client.post("/queue", content=_slow_body())
        release.set()
    assert (answer.status_code, answer.json()["error"]["type"]) == (504, "upstream_timeout")
    assert slow_upload.status_code == 504


async def test_a_slow_upload_does_not_use_up_the_time_for_the_answer(
    make_bench: MakeBench,
) -> None:
    """Long uploads are normal; only silence is an error."""
    async with make_bench(HEADERS_SECONDS="0.2", IDLE_SECONDS="5") as bench, bench.client() as c:
        started = time.monotonic()
        answer = await c.post("/upload/image", content=_slow_body())
        assert time.monotonic() - started > 0.3
        assert answer.status_code == 200


async def _slow_body() -> AsyncIterator[bytes]:
    for _ in range(4):
        yield b"x"
        await asyncio.sleep(0.1)


async def test_an_early_answer_of_comfyui_reaches_a_client_that_still_sends(bench: Bench) -> None:
    """ComfyUI may refuse before it has read everything; the client must see why."""

    async def refuse(request: web.Request) -> web.Response:
        return web.json_response({"error": "no"}, status=400)

    bench.comfy.responders["/upload/image"] = refuse
    async with bench.client() as client:
        answer = await client.post("/upload/image", content=b"x" * (8 * 1024 * 1024))
        assert answer.status_code == 400
        assert (await client.get("/queue")).status_code == 200
