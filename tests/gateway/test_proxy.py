"""What passes through the gateway, and in which form."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from tests.gateway.conftest import Bench, MakeBench
from tests.gateway.polling import eventually
from tests.gateway.raw import raw_request
from tests.gateway.recorder import read_body


async def test_a_program_reaches_the_service_with_its_token(bench: Bench) -> None:
    """What existing callers do: upload, prompt, queue, history, view."""
    async with bench.client() as client:
        upload = await client.post("/upload/image", files={"image": ("a.png", b"\x89PNG")})
        prompt = await client.post("/prompt", json={"prompt": {}, "client_id": "c"})
        queue = await client.get("/queue")
        history = await client.get("/history/4371cec6-f036-4fac-a608-83670497f08f")
        view = await client.get("/view", params={"filename": "VACE_video_00001.mp4"})
    assert [r.status_code for r in (upload, prompt, queue, history, view)] == [200] * 5
    assert prompt.json()["prompt_id"] == "p-1"
    assert bench.comfy.seen("/view")[0].raw_path == "/view?filename=VACE_video_00001.mp4"


async def test_credentials_of_the_client_never_reach_comfyui(bench: Bench) -> None:
    """A custom node that logs headers would otherwise hand out the token."""
    async with bench.client() as client:
        await client.get(
            "/queue",
            headers={
                "Cookie": "__Host-vace_session=x; other=y",
                "Comfy-User": "somebody",
                "X-Forwarded-For": "6.6.6.6",
                "Forwarded": "for=6.6.6.6",
                "Origin": bench.url,
                "Referer": bench.url,
                "Sec-Fetch-Site": "cross-site",
                "X-Request-Id": "my-request-42",
                "Connection": "keep-alive, X-Secret-Hop",
                "X-Secret-Hop": "1",
            },
        )
    (seen,) = bench.comfy.seen("/queue")
    for name in (
        *("Authorization", "Cookie", "Comfy-User", "Forwarded", "Referer", "Sec-Fetch-Site"),
        "X-Secret-Hop",
    ):
        assert name not in seen.headers
    assert seen.headers["Host"] == bench.comfy.url.removeprefix("http://")
    assert seen.headers["Origin"] == bench.comfy.url
    assert seen.headers["X-Forwarded-For"] == "127.0.0.1"
    assert seen.headers["X-Forwarded-Proto"] == "https"
    assert seen.headers["X-Forwarded-Host"] == bench.url.removeprefix("https://")
    assert seen.headers["X-Request-Id"] == "my-request-42"


async def test_a_request_id_is_made_when_the_client_sends_none_or_a_wild_one(bench: Bench) -> None:
    """Prevents log lines that carry whatever a client wants to write there."""
    async with bench.client() as client:
        first = await client.get("/queue")
        wild = await client.get("/queue", headers={"X-Request-Id": 'x" evil=1'})
    assert len(first.headers["X-Request-Id"]) == 32
    assert "evil" not in wild.headers["X-Request-Id"]
    assert bench.comfy.seen("/queue")[0].headers["X-Request-Id"] == first.headers["X-Request-Id"]


async def test_an_upload_streams_through_before_the_client_has_finished(bench: Bench) -> None:
    """Prevents buffering: a 500 MiB video must never sit in the gateway's memory or disk."""
    may_finish = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        await may_finish.wait()
        yield b" second"

    async with bench.client() as client:
        upload = asyncio.create_task(client.post("/upload/image", content=body()))
        await eventually(lambda: bool(bench.comfy.seen("/upload/image")))
        seen = bench.comfy.seen("/upload/image")[0]
        await asyncio.wait_for(seen.first_bytes.wait(), 5)
        assert bytes(seen.body) == b"first"
        assert not upload.done()
        may_finish.set()
        assert (await upload).status_code == 200
    assert bytes(seen.body) == b"first second"


async def test_a_download_streams_through_before_comfyui_has_finished(bench: Bench) -> None:
    """The browser shows the first frames of a video while the rest is still on its way."""
    may_finish = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "video/mp4"})
        await response.prepare(request)
        await response.write(b"first")
        await may_finish.wait()
        await response.write(b" second")
        return response

    bench.comfy.responders["/view"] = slow
    async with bench.client() as client, client.stream("GET", "/view?filename=a.mp4") as answer:
        chunks = answer.aiter_raw()
        assert await asyncio.wait_for(anext(chunks), 5) == b"first"
        may_finish.set()
        assert b"".join([chunk async for chunk in chunks]) == b" second"


async def test_range_requests_and_their_headers_pass_through(bench: Bench) -> None:
    """Seeking in a video needs 206 with the very Content-Range that ComfyUI sent."""

    async def part(request: web.Request) -> web.Response:
        assert request.headers["Range"] == "bytes=0-3"
        headers = {"Content-Range": "bytes 0-3/69073", "Accept-Ranges": "bytes", "ETag": '"e"'}
        return web.Response(status=206, body=b"ftyp", content_type="video/mp4", headers=headers)

    bench.comfy.responders["/view"] = part
    async with bench.client() as client:
        answer = await client.get("/view?filename=a.mp4", headers={"Range": "bytes=0-3"})
    assert answer.status_code == 206
    assert answer.headers["Content-Range"] == "bytes 0-3/69073"
    assert (answer.headers["ETag"], answer.headers["Content-Length"]) == ('"e"', "4")


async def test_head_has_the_length_but_no_body(bench: Bench) -> None:
    """A download manager asks for the size first; a body after HEAD would break the connection."""
    async with bench.client() as client:
        full = await client.get("/queue")
        head = await client.head("/queue")
        again = await client.get("/queue")
    assert head.headers["Content-Length"] == full.headers["Content-Length"]
    assert (head.content, again.status_code) == (b"", 200)


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_leaves_the_connection_usable(
    bench: Bench, status: int
) -> None:
    """The browser revalidates every static file; a stray chunk after a 304 would break the next."""

    async def unchanged(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"ETag": '"v1"'})

    bench.comfy.responders["/assets/a.js"] = unchanged
    async with bench.client() as client:
        answer = await client.get("/assets/a.js", headers={"If-None-Match": '"v1"'})
        assert (answer.status_code, answer.content) == (status, b"")
        assert answer.headers["ETag"] == '"v1"'
        assert "Transfer-Encoding" not in answer.headers
        assert (await client.get("/queue")).status_code == 200
        assert await bench.metric("vace_gateway_connections") == 1
    assert bench.comfy.requests[0].headers["If-None-Match"] == '"v1"'


async def test_compressed_bodies_stay_compressed_both_ways(bench: Bench) -> None:
    """Unpacking in the gateway would make Content-Length wrong and open a zip bomb."""
    packed = gzip.compress(b"x" * 10000)

    async def answer_packed(request: web.Request) -> web.Response:
        await read_body(request)
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        return web.Response(body=packed, headers=headers)

    bench.comfy.responders["/queue"] = answer_packed
    headers = {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
    async with (
        bench.client() as client,
        client.stream("POST", "/queue", content=packed, headers=headers) as answer,
    ):
        raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert raw == packed
    seen = bench.comfy.seen("/queue")[0]
    assert seen.headers["Content-Length"] == str(len(packed))
    assert seen.headers["Accept-Encoding"] == "gzip"


async def test_hop_by_hop_and_foreign_security_headers_of_comfyui_are_dropped(
    bench: Bench,
) -> None:
    """An open CORS header of a custom node would let any site read results."""

    async def chatty(request: web.Request) -> web.Response:
        headers = {
            "Access-Control-Allow-Origin": "*",
            "Content-Security-Policy": "default-src *",
            "Set-Cookie": "a=b",
            "Keep-Alive": "timeout=5",
            "X-Simulated": "comfyui",
        }
        return web.json_response({}, headers=headers)

    bench.comfy.responders["/queue"] = chatty
    async with bench.client() as client:
        answer = await client.get("/queue")
    for name in ("Access-Control-Allow-Origin", "Set-Cookie", "Keep-Alive"):
        assert name not in answer.headers
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Server"] == "vace-gateway"
    assert answer.headers["X-Simulated"] == "comfyui"


async def test_an_upload_that_declares_too_much_is_refused_before_it_is_read(
    make_bench: MakeBench,
) -> None:
    """Prevents a full disk: ComfyUI would write the upload before it could object."""
    async with make_bench(MAX_UPLOAD_MIB="1") as bench, bench.client() as client:
        answer = await client.post("/upload/image", content=b"x" * (2 * 1024 * 1024))
        assert answer.status_code == 413
        assert answer.json()["error"]["type"] == "body_too_large"
        exact = await client.post("/upload/image", content=b"x" * 1024 * 1024)
        assert exact.status_code == 200
    assert len(bench.comfy.seen("/upload/image")) == 1


async def test_expect_continue_is_answered_only_for_an_acceptable_upload(
    make_bench: MakeBench,
) -> None:
    """curl asks first; a refused upload must cost nobody a byte."""
    async with make_bench(MAX_UPLOAD_MIB="1") as bench:
        for length, expected in ((4, b"HTTP/1.1 100"), (9 * 1024 * 1024, b"HTTP/1.1 413")):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", bench.server.port("TLS_LISTEN"), ssl=bench.trust
            )
            writer.write(
                f"POST /upload/image HTTP/1.1\r\nHost: localhost\r\n"
                f"Authorization: Bearer {bench.token}\r\nExpect: 100-continue\r\n"
                f"Content-Length: {length}\r\n\r\n".encode()
            )
            line = await asyncio.wait_for(reader.readline(), 5)
            assert line.startswith(expected)
            if length == 4:
                await reader.readline()
                writer.write(b"data")
                assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 200")
            writer.close()


async def test_a_chunked_upload_is_cut_when_it_exceeds_the_limit(make_bench: MakeBench) -> None:
    """Without a Content-Length only counting helps; ComfyUI must see a broken request."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 65536

    async with make_bench(MAX_UPLOAD_MIB="1") as bench, bench.client() as client:
        answer = await client.post("/upload/image", content=endless())
        assert answer.status_code == 413
        seen = bench.comfy.seen("/upload/image")[0]
        await asyncio.wait_for(seen.aborted.wait(), 5)
        assert not seen.complete


async def test_a_client_that_aborts_its_upload_aborts_it_upstream(bench: Bench) -> None:
    """Prevents half a video that ComfyUI takes for a whole one."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", bench.server.port("TLS_LISTEN"), ssl=bench.trust
    )
    writer.write(
        f"POST /upload/image HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {bench.token}\r\n"
        "Content-Length: 1000\r\n\r\nabc".encode()
    )
    await eventually(lambda: bool(bench.comfy.seen("/upload/image")))
    seen = bench.comfy.seen("/upload/image")[0]
    await asyncio.wait_for(seen.first_bytes.wait(), 5)
    writer.transport.abort()
    await asyncio.wait_for(seen.aborted.wait(), 5)
    assert not seen.complete
    del reader


async def test_a_client_that_stalls_its_upload_is_given_up(make_bench: MakeBench) -> None:
    """Prevents connections that hold a place for ever."""
    async with make_bench(IDLE_SECONDS="0.2") as bench:
        request = (
            "POST /upload/image HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
            f"Authorization: Bearer {bench.token}\r\n\r\nabc"
        )
        answer = await raw_request(bench, request)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"client_too_slow" in answer
        seen = bench.comfy.seen("/upload/image")[0]
        await asyncio.wait_for(seen.aborted.wait(), 5)


async def test_a_client_that_leaves_a_download_frees_comfyui(bench: Bench) -> None:
    """A closed browser tab must stop ffmpeg behind /vhs/viewvideo."""
    cancelled = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "video/webm"})
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        except (ConnectionError, asyncio.CancelledError):
            cancelled.set()
            raise

    bench.comfy.responders["/vhs/viewvideo"] = endless
    async with bench.client() as client:
        async with client.stream("GET", "/vhs/viewvideo?filename=a.mp4&type=input") as answer:
            await anext(answer.aiter_raw())
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_slow_reader_slows_comfyui_down(bench: Bench) -> None:
    """Backpressure: what the client does not read, the gateway must not collect."""
    written = 0

    async def big(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse(headers={"Content-Type": "video/mp4"})
        await response.prepare(request)
        for _ in range(2048):
            await response.write(b"x" * 65536)
            written += 65536
        return response

    bench.comfy.responders["/view"] = big
    async with bench.client() as client, client.stream("GET", "/view?filename=a.mp4") as answer:
        chunks = answer.aiter_raw()
        await anext(chunks)
        last = -1

        async def stopped_growing() -> bool:
            nonlocal last
            before, last = last, written
            await asyncio.sleep(0.1)
            return before == written

        await eventually(stopped_growing)
        assert written < 64 * 1024 * 1024  # kernel buffers on two sockets, not the whole file
