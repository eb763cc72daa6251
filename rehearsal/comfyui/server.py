"""The server process: wiring, middlewares, start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from rehearsal.comfyui import misbehaviour
from rehearsal.comfyui.faults import Faults
from rehearsal.comfyui.routes import all_routes
from rehearsal.comfyui.routes.interface import installed
from rehearsal.comfyui.settings import Settings
from rehearsal.comfyui.simulation import SIMULATION, Simulation, build

SIMULATED_HEADER = "X-Simulated"
STOP_SECONDS = 5.0

log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def _mark(_: web.Request, response: web.StreamResponse) -> None:
    response.headers[SIMULATED_HEADER] = "comfyui"


def _is_loopback(host: str | None) -> bool:
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@web.middleware
async def origin_check(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a browser's call from another site, by the real server's rule.

    It applies only when the ``Host`` is a loopback name: a proxy in front that passes the browser's
    ``Origin`` on but sets its own ``Host`` therefore gets 403, which is worth noticing here.
    """
    host, origin = request.headers.get("Host"), request.headers.get("Origin")
    if host and origin:
        here, there = urlsplit(f"//{host.lower()}"), urlsplit(origin.lower())
        same = here.hostname == there.hostname
        if here.port is not None and there.port is not None:
            same = same and here.port == there.port
        if _is_loopback(here.hostname) and there.hostname and not same:
            log.warning("403: host %s and origin %s do not match", host, origin)
            return web.Response(status=403)
    if request.method == "OPTIONS":
        return web.Response()
    return await handler(request)


def make_app(simulation: Simulation) -> web.Application:
    """The aiohttp application; every route exists with and without ``/api``."""
    simulation.interface = installed()
    app = web.Application(
        client_max_size=simulation.settings.max_upload_bytes,
        middlewares=[origin_check],
    )
    app[SIMULATION] = simulation
    app.on_response_prepare.append(_mark)
    app.cleanup_ctx.append(_workers)
    misbehaviour.install(app)
    for method, path, handler in all_routes():
        app.router.add_route(method, path, handler)
    return app


async def _workers(app: web.Application) -> Any:
    simulation = app[SIMULATION]
    simulation.hub.attach(asyncio.get_running_loop())
    publisher = asyncio.create_task(simulation.hub.publish())
    worker = threading.Thread(target=simulation.executor.run, name="prompt-worker", daemon=True)
    worker.start()
    yield
    simulation.queue.close()
    simulation.executor.interrupt.set()
    await asyncio.to_thread(worker.join, STOP_SECONDS)
    publisher.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await publisher


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    simulation = build(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    delay = Faults(settings.fault, None).start_delay
    if delay:
        log.warning("SIMULATED slow start: the port opens in %g seconds", delay)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await stop.wait()
                return
    runner = web.AppRunner(
        make_app(simulation), access_log=None, handle_signals=False, shutdown_timeout=STOP_SECONDS
    )
    await runner.setup()
    for address in settings.listen.split(","):
        await web.TCPSite(runner, address, settings.port).start()
    port = runner.addresses[0][1]
    if settings.port_file is not None:
        settings.port_file.write_text(f"{port}\n", encoding="utf-8")
    log.warning("SIMULATED ComfyUI (no model, drawn pictures) at %s:%s", settings.listen, port)
    folders = simulation.folders
    log.info("input %s, output %s, temp %s", folders.input, folders.output, folders.temp)
    await stop.wait()
    log.info("stopping")
    await simulation.hub.close()
    await runner.cleanup()
