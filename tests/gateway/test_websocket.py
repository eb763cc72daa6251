"""The WebSocket bridge over real sockets, with a client of another library."""

from __future__ import annotations

import asyncio
import os

import pytest
from aiohttp import WSMsgType, web
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.gateway.conftest import Bench, MakeBench
from tests.gateway.polling import eventually
from tests.gateway.test_access import sign_in


def dial(bench: Bench, headers: dict[str, str] | None = None) -> connect:
    url = bench.url.replace("https", "wss") + "/ws?clientId=tab-1"
    chosen = bench.bearer if headers is None else headers
    return connect(
        url, ssl=bench.trust, additional_headers=chosen, max_size=None, proxy=None, open_timeout=5
    )


async def closing(socket: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed):
        await asyncio.wait_for(_drain(socket), 10)
    return socket.close_code or 0, socket.close_reason or ""


async def _drain(socket: ClientConnection) -> None:
    while True:
        await socket.recv()


async def test_text_and_big_binary_messages_pass_both_ways(bench: Bench) -> None:
    """Progress is text, previews are binary; a batch preview has megabytes."""
    preview = os.urandom(8 * 1024 * 1024)

    async def script(socket: web.WebSocketResponse) -> None:
        await socket.send_str("{'type': 'status'}")
        await socket.send_bytes(preview)
        async for message in socket:
            assert message.type in {WSMsgType.TEXT, WSMsgType.BINARY}
            await (
                socket.send_str(message.data)
                if message.type is WSMsgType.TEXT
                else socket.send_bytes(message.data)
            )

    bench.comfy.socket_script = script
    async with dial(bench) as socket:
        assert await socket.recv() == "{'type': 'status'}"
        assert await socket.recv() == preview
        await socket.send("进度")
        assert await socket.recv() == "进度"
        await socket.send(b"\x00" * 200_000)
        assert await socket.recv() == b"\x00" * 200_000
        assert await bench.metric("vace_gateway_websockets") == 1
    await eventually(lambda: bench.comfy.sockets[0].closed)
    (headers,) = bench.comfy.socket_headers
    assert "Authorization" not in headers
    assert headers["Host"] == bench.comfy.url.removeprefix("http://")
    assert bench.comfy.requests[0].raw_path == "/ws?clientId=tab-1"


async def test_close_codes_and_reasons_pass_both_ways(bench: Bench) -> None:
    """Each side must learn how the other ended, or it will guess."""
    ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    async def script(socket: web.WebSocketResponse) -> None:
        async for _ in socket:
            pass
        ended.set_result(socket.close_code)

    bench.comfy.socket_script = script
    async with dial(bench) as socket:
        await socket.close(4001, "done")
    assert await asyncio.wait_for(ended, 5) == 4001

    async def bye(socket: web.WebSocketResponse) -> None:
        await socket.close(code=4002, message=b"go")

    bench.comfy.socket_script = bye
    async with dial(bench) as socket:
        assert await closing(socket) == (4002, "go")


async def test_a_restart_of_comfyui_closes_the_client_with_1012(bench: Bench) -> None:
    """The browser reconnects by itself on 1012, and the reason tells people what happened."""
    async with dial(bench) as socket:
        await socket.send("x")
        assert await socket.recv() == "echo x"
        await bench.comfy.stop()
        code, reason = await closing(socket)
    assert code == 1012
    assert "restarted" in reason
    assert "重启" in reason


async def test_without_comfyui_the_handshake_gets_an_http_status(bench: Bench) -> None:
    """Prevents a socket that opens and closes at once, in a tight loop of reconnects."""
    await bench.comfy.stop()
    with pytest.raises(InvalidStatus) as refused:
        await dial(bench)
    assert refused.value.response.status_code == 503
    assert refused.value.response.headers["Retry-After"]


async def test_the_socket_needs_proof_and_for_a_cookie_the_right_origin(bench: Bench) -> None:
    """Cross-site WebSocket hijacking: browsers send cookies to any site's socket request."""
    async with bench.client(authorized=False) as client:
        cookie = (await sign_in(bench, client)).headers["Set-Cookie"].partition(";")[0]
    for headers, status in (
        ({}, 401),
        ({"Authorization": "Bearer " + "x" * 43}, 401),
        ({"Cookie": cookie}, 403),
        ({"Cookie": cookie, "Origin": "https://evil.example"}, 403),
    ):
        with pytest.raises(InvalidStatus) as refused:
            await dial(bench, headers)
        assert refused.value.response.status_code == status
    assert not bench.comfy.sockets
    async with dial(bench, {"Cookie": cookie, "Origin": bench.url}) as socket:
        await socket.send("x")
        assert await socket.recv() == "echo x"


async def test_a_plain_request_to_the_socket_route_is_told_to_upgrade(bench: Bench) -> None:
    """A program that polls /ws by mistake gets a sentence."""
    async with bench.client() as client:
        answer = await client.get("/ws")
    assert (answer.status_code, answer.json()["error"]["type"]) == (426, "upgrade_required")


async def test_pings_of_the_client_are_answered(bench: Bench) -> None:
    """Clients and load balancers keep a quiet socket alive by pings."""
    async with dial(bench) as socket:
        await asyncio.wait_for(await socket.ping(), 5)


async def test_a_client_that_vanished_is_found_by_pings(make_bench: MakeBench) -> None:
    """A half-open connection would otherwise hold a place in ComfyUI for hours."""
    async with make_bench(HEARTBEAT_SECONDS="0.2") as bench:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", bench.server.port("TLS_LISTEN"), ssl=bench.trust
        )
        writer.write(
            f"GET /ws HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {bench.token}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        assert b"101" in await reader.readuntil(b"\r\n\r\n")
        upstream = bench.comfy.sockets[0]
        # This client never answers the ping that now arrives.
        await eventually(lambda: upstream.closed)
        writer.transport.abort()


async def test_a_message_over_the_limit_closes_that_client_only(bench: Bench) -> None:
    """A client has no reason to send megabytes to ComfyUI's event loop."""
    async with dial(bench) as good, dial(bench) as bad:
        await bad.send(b"x" * (2 * 1024 * 1024))
        assert (await closing(bad))[0] == 1009
        await good.send("still")
        assert await good.recv() == "echo still"


async def test_a_quiet_socket_outlives_every_timeout_of_requests(make_bench: MakeBench) -> None:
    """A long job says nothing for minutes; a proxy that cuts at 60 s is a known failure."""
    async with make_bench(IDLE_SECONDS="0.1", HEADERS_SECONDS="0.1") as bench, dial(bench) as s:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(s.recv(), 0.5)
        await s.send("x")
        assert await s.recv() == "echo x"
