"""What an operator relies on: health, metrics, logs, reload, shutdown."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import math
import ssl
import time
from collections.abc import AsyncIterator

import httpx
from aiohttp import web
from vace_gateway import health

from tests.gateway.conftest import Bench, MakeBench
from tests.gateway.polling import eventually
from tests.gateway.raw import get, raw_request
from tests.gateway.test_access import sign_in
from tests.gateway.test_websocket import closing, dial


async def test_liveness_needs_nobody_and_readiness_needs_comfyui_with_its_nodes(
    bench: Bench,
) -> None:
    """ComfyUI starts without a custom node that failed to import and says so only in its log."""
    async with bench.client(authorized=False) as client:
        alive = await client.get("/healthz", headers={"Host": "10.0.0.7"})
        ready = await client.get("/readyz", headers={"Host": "10.0.0.7"})
        assert (alive.status_code, alive.json()) == (200, {"status": "ok"})
        assert (ready.status_code, ready.json()) == (200, {"ready": True})


async def test_readiness_names_the_missing_nodes(bench: Bench) -> None:
    """The operator must learn which node, not only that something is wrong."""
    bench.comfy.nodes = ["WanVaceToVideo"]
    async with bench.client(authorized=False) as client:
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["missing_nodes"] == ["VHS_VideoCombine"]
        assert "VHS_VideoCombine" in answer.json()["reason"]
    assert await bench.metric("vace_gateway_ready") == 0
    assert await bench.metric("vace_gateway_upstream_up") == 1


async def test_readiness_says_no_while_comfyui_is_down(bench: Bench) -> None:
    """A dead ComfyUI behind a healthy gateway is not a healthy service."""
    await bench.comfy.stop()
    async with bench.client(authorized=False) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert "not reachable" in answer.json()["reason"]
    assert await bench.metric("vace_gateway_upstream_up") == 0


async def test_readiness_asks_comfyui_once_for_many_probes(bench: Bench) -> None:
    """Anybody may call /readyz, so it must not multiply into load on ComfyUI."""
    async with bench.client(authorized=False) as client:
        await asyncio.gather(*(client.get("/readyz") for _ in range(20)))
        assert len(bench.comfy.seen("/system_stats")) == 1
        before = bench.server._gateway
        assert before is not None
        now = before.health._clock()
        before.health._clock = lambda: now + health.CACHE_SECONDS
        await client.get("/readyz")
    assert len(bench.comfy.seen("/system_stats")) == 2


async def test_metrics_are_on_their_own_port_and_tell_what_happened(bench: Bench) -> None:
    """Numbers for alerts; and nobody reads them through the public port."""
    bench.comfy.queue_running, bench.comfy.queue_pending = 1, 7
    async with bench.client() as client:
        assert (await client.get("/metrics")).status_code == 404
        await client.get("/queue")
        await client.post("/upload/image", content=b"x" * 1000)
        await client.get("/history/" + "a" * 32)
        await client.get("/history/" + "b" * 32)
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(bench.metrics_url)).text
        other = await client.get(bench.metrics_url.replace("/metrics", "/"))
    assert other.status_code == 404
    for line in (
        'vace_gateway_requests_total{method="GET",route="queue",status="200"} 1.0',
        'vace_gateway_requests_total{method="GET",route="history",status="200"} 2.0',
        'vace_gateway_request_bytes_total{route="upload"} 1000.0',
        'vace_gateway_request_duration_seconds_count{route="queue"} 1.0',
        "vace_gateway_queue_running 1.0",
        "vace_gateway_queue_pending 7.0",
        "vace_gateway_upstream_up 1.0",
        "vace_gateway_ready 1.0",
        "vace_gateway_requests_in_flight 0.0",
    ):
        assert line in text
    assert "a" * 32 not in text


async def test_unknown_methods_and_paths_make_no_new_series(bench: Bench) -> None:
    """Unbounded labels fill the memory of the gateway and of the monitoring."""
    for method in ("PROPFIND", "MKCOL", "PURGE", "M-SEARCH"):
        await raw_request(bench, f"{method} /x{method} HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await raw_request(bench, "NONSENSE / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    name = 'vace_gateway_requests_total{method="other",route="refused",status="401"}'
    assert await bench.metric(name) == 4
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(bench.metrics_url)).text
    assert 'route="refused",status="400"} 1.0' in text


async def test_the_queue_is_unknown_rather_than_empty_while_comfyui_is_down(bench: Bench) -> None:
    """Zero would scale a busy service to nothing."""
    await bench.comfy.stop()
    assert math.isnan(await bench.metric("vace_gateway_queue_pending"))


async def test_each_request_is_one_json_line_without_secrets(
    bench: Bench, log_lines: io.StringIO
) -> None:
    """Logs are shipped and read by many; a token in them is a token given away."""

    async def fail(request: web.Request) -> web.Response:
        raise RuntimeError(f"Authorization: Bearer {bench.token}")

    bench.comfy.responders["/features"] = fail
    async with bench.client(authorized=False) as client:
        signed_in = await sign_in(bench, client)
        cookie = signed_in.headers["Set-Cookie"].partition(";")[0].partition("=")[2]
        await client.get("/queue", headers={"X-Request-Id": "find-me-123"})
        await client.get(f"/view?filename=a.png&token={bench.token}&secret=hunter2")
        await client.get(f"/{bench.token}")
        await client.get("/queue", headers={"Authorization": f"Bearer {bench.token}-wrong"})
        await client.get("/features")
        await client.post(
            "/login", data={"token": "guessed-token-value"}, headers={"Origin": bench.url}
        )
    logging.getLogger("any.library").error("headers: Cookie: __Host-vace_session=%s", cookie)
    logging.getLogger("any.library").error("sent Authorization: Bearer abc.def or %s", bench.token)
    text = log_lines.getvalue()
    for secret in (bench.token, cookie, "hunter2", "abc.def", "guessed-token-value"):
        assert secret not in text
    lines = [json.loads(line) for line in text.splitlines()]
    (line,) = [entry for entry in lines if entry.get("request_id") == "find-me-123"]
    assert line["method"] == "GET"
    assert line["path"] == "/queue"
    assert line["status"] == 200
    assert line["auth"] == "session"
    assert line["client"] == "127.0.0.1"
    assert line["bytes_out"] > 0
    assert line["ms"] >= 0
    assert line["time"].endswith("Z")
    assert next(entry["auth"] for entry in lines if entry.get("route") == "login") == "session"


async def test_a_client_that_goes_away_is_one_line_and_no_error(
    bench: Bench, log_lines: io.StringIO
) -> None:
    """People close tabs; a log full of tracebacks and false 500s hides the real ones."""
    _, writer = await asyncio.open_connection(
        "127.0.0.1", bench.server.port("TLS_LISTEN"), ssl=bench.trust
    )
    writer.write(
        f"POST /upload/image HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {bench.token}\r\n"
        "X-Request-Id: gone-away-1\r\nContent-Length: 1000\r\n\r\nabc".encode()
    )
    await eventually(lambda: bool(bench.comfy.seen("/upload/image")))
    writer.transport.abort()
    await eventually(lambda: "gone-away-1" in log_lines.getvalue())
    await asyncio.wait_for(bench.comfy.seen("/upload/image")[0].aborted.wait(), 5)
    async with bench.client() as client:
        await client.get("/queue")
    gateway_lines = [
        entry
        for entry in map(json.loads, log_lines.getvalue().splitlines())
        if entry["logger"].startswith("vace_gateway") and entry.get("method") == "POST"
    ]
    assert [entry["status"] for entry in gateway_lines] == [499]
    assert "internal_error" not in log_lines.getvalue()
    assert "request failed" not in log_lines.getvalue()


async def test_a_log_line_can_not_be_forged_by_a_path(bench: Bench, log_lines: io.StringIO) -> None:
    """A line break in a logged value would let a client write entries of its own."""
    await raw_request(bench, get("/a%0a%7b%22level%22:%22info%22%7d"))
    await raw_request(bench, get('/"}{"status":200'))
    for line in log_lines.getvalue().splitlines():
        assert json.loads(line)["message"]


async def test_a_rotation_keeps_open_connections_and_ends_the_old_token(bench: Bench) -> None:
    """Rotation must be a routine, not an outage."""
    old_headers, old_serial = bench.bearer, await _serial(bench)
    may_finish = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"a")
        await may_finish.wait()
        await response.write(b"b")
        return response

    bench.comfy.responders["/view"] = slow
    async with (
        bench.client(authorized=False) as client,
        dial(bench) as socket,
        bench.client() as downloader,
        downloader.stream("GET", "/view?filename=a.mp4") as download,
    ):
        await sign_in(bench, client)
        assert (await client.get("/queue")).status_code == 200
        chunks = download.aiter_raw()
        assert await anext(chunks) == b"a"

        bench.rotate_token()
        bench.rotate_certificate(days=30)
        assert bench.server.reload()

        assert (await client.get("/queue")).status_code == 401
        assert (await client.get("/queue", headers=old_headers)).status_code == 401
        assert (await client.get("/queue", headers=bench.bearer)).status_code == 200
        await socket.send("still here")
        assert await socket.recv() == "echo still here"
        may_finish.set()
        assert b"".join([chunk async for chunk in chunks]) == b"b"
    assert await _serial(bench) != old_serial
    loop_time = await bench.metric("vace_gateway_certificate_expiry_timestamp_seconds")
    assert 29 * 86400 < loop_time - time.time() < 31 * 86400


async def _serial(bench: Bench) -> str:
    _, writer = await asyncio.open_connection(
        "127.0.0.1", bench.server.port("TLS_LISTEN"), ssl=bench.trust
    )
    certificate = writer.get_extra_info("ssl_object").getpeercert()
    writer.close()
    return str(certificate["serialNumber"])


async def test_a_reload_with_the_same_token_keeps_sessions(bench: Bench) -> None:
    """The node reloads every few minutes; people must not be signed out each time."""
    async with bench.client(authorized=False) as client:
        await sign_in(bench, client)
        assert bench.server.reload()
        assert (await client.get("/queue")).status_code == 200


async def test_a_bad_rotation_changes_nothing_and_is_counted(
    bench: Bench, log_lines: io.StringIO
) -> None:
    """A half-written file must not take the service down."""
    serial = await _serial(bench)
    (bench.folder / "token").write_text("short", encoding="ascii")
    key = (bench.folder / "tls.key").read_bytes()
    bench.rotate_certificate()
    (bench.folder / "tls.key").write_bytes(key)  # the new certificate with the old key
    assert not bench.server.reload()
    async with bench.client() as client:
        assert (await client.get("/queue")).status_code == 200
    assert await _serial(bench) == serial
    assert await bench.metric('vace_gateway_reloads_total{result="failed"}') == 1
    assert "TOKEN_FILE" in log_lines.getvalue()
    assert "TLS_CERT" in log_lines.getvalue()


async def test_only_modern_tls_is_spoken(bench: Bench) -> None:
    """TLS 1.0 and 1.1 and static RSA are refused by every audit."""
    old = ssl.create_default_context(cafile=str(bench.authority.file))
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    port = bench.server.port("TLS_LISTEN")
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=old)
    name, version, bits = writer.get_extra_info("cipher")
    assert version == "TLSv1.2"
    assert name.startswith("ECDHE")
    assert bits >= 128
    writer.close()
    assert bench.server._tls is not None
    assert bench.server._tls.minimum_version == ssl.TLSVersion.TLSv1_2


async def test_stopping_finishes_requests_and_closes_sockets_with_1001(
    make_bench: MakeBench,
) -> None:
    """An update of the gateway must not cut a download or an upload that is nearly through."""
    may_finish = asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        await may_finish.wait()
        return web.json_response({"done": True})

    async with make_bench() as bench:
        bench.comfy.responders["/view"] = slow
        async with bench.client() as client, dial(bench) as socket, bench.client() as idle:
            await idle.get("/queue")
            await socket.send("x")
            await socket.recv()
            request = asyncio.create_task(client.get("/view?filename=a.json"))
            upload_may_finish = asyncio.Event()

            async def body() -> AsyncIterator[bytes]:
                yield b"a"
                await upload_may_finish.wait()
                yield b"b"

            upload = asyncio.create_task(client.post("/upload/image", content=body()))
            await eventually(lambda: bool(bench.comfy.seen("/view")))
            await eventually(lambda: bool(bench.comfy.seen("/upload/image")))
            port = bench.server.port("TLS_LISTEN")
            stopping = asyncio.create_task(bench.server.stop())
            code, reason = await closing(socket)
            assert code == 1001
            assert "stopping" in reason
            refused = False
            try:
                await asyncio.open_connection("127.0.0.1", port, ssl=bench.trust)
            except OSError:
                refused = True
            assert refused
            assert not stopping.done()
            may_finish.set()
            upload_may_finish.set()
            finished = await request
            assert finished.json() == {"done": True}
            assert finished.headers["Connection"] == "close"  # no next request into a closing door
            assert (await upload).status_code == 200
            assert bytes(bench.comfy.seen("/upload/image")[0].body) == b"ab"
            await asyncio.wait_for(stopping, 5)


async def test_stopping_gives_up_after_the_drain_time(make_bench: MakeBench) -> None:
    """A client that never ends must not hold an update for ever."""
    release = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    async with make_bench(DRAIN_SECONDS="0.2") as bench:
        bench.comfy.responders["/queue"] = hang
        async with bench.client() as client:
            request = asyncio.create_task(client.get("/queue"))
            await eventually(lambda: bool(bench.comfy.seen("/queue")))
            await asyncio.wait_for(bench.server.stop(), 4)
            outcome = (await asyncio.gather(request, return_exceptions=True))[0]
        assert isinstance(outcome, httpx.TransportError)
        release.set()


async def test_connections_over_the_limit_are_dropped(make_bench: MakeBench) -> None:
    """File descriptors are finite; running out would stop everybody."""
    async with make_bench(MAX_CONNECTIONS="2") as bench:
        async with bench.client() as first, bench.client() as second, bench.client() as third:
            assert (await first.get("/queue")).status_code == 200
            assert (await second.get("/queue")).status_code == 200
            try:
                await third.get("/queue")
                dropped = False
            except httpx.TransportError:
                dropped = True
            assert dropped
            assert (await first.get("/queue")).status_code == 200
        assert await bench.metric("vace_gateway_connections_dropped_total") == 1
        await eventually(lambda: _works(bench))


async def _works(bench: Bench) -> bool:
    async with bench.client() as client:
        try:
            return (await client.get("/queue")).status_code == 200
        except httpx.TransportError:
            return False
