"""Listeners and the life of the process: start, reload, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
from types import TracebackType
from typing import Final

from aiohttp import web

from vace_gateway import metrics as metrics_module
from vace_gateway.app import Gateway
from vace_gateway.connections import ConnectionCount, GatewayProtocol
from vace_gateway.credentials import Credentials
from vace_gateway.errors import Problem, SettingsError
from vace_gateway.logs import LOGGER
from vace_gateway.metrics import Metrics
from vace_gateway.settings import PREFIX, Address, Settings
from vace_gateway.tls import certificate_expiry, load_certificate, server_context

TLS_HANDSHAKE_SECONDS: Final = 15.0
TLS_SHUTDOWN_SECONDS: Final = 5.0
# After the drain time: for handlers to notice that they were cancelled.
CANCEL_SECONDS: Final = 2.0


class GatewayServer:
    """A gateway with its listeners; also an asynchronous context manager.

    Making one checks the token and the certificate (SettingsError); entering it opens the ports.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.credentials = Credentials(settings.token_file)
        self._tls: ssl.SSLContext | None = None
        if settings.tls_listen is not None:
            if settings.tls_certificate is None or settings.tls_key is None:
                raise ValueError("Settings.from_environment() gives a TLS listener its files")
            self._tls = server_context(settings.tls_certificate, settings.tls_key)
        self._note_expiry()
        self._gateway: Gateway | None = None
        self._manager: web.Server | None = None
        self._listeners: dict[str, asyncio.Server] = {}
        self._metrics_manager: web.Server | None = None

    async def __aenter__(self) -> GatewayServer:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Open the listeners. Raises SettingsError when an address can't be had."""
        gateway = Gateway(self.settings, self.credentials, self.metrics)
        manager = web.Server(gateway.handle, handler_cancellation=True)
        count = ConnectionCount(self.settings.max_connections, self.metrics)
        self._gateway, self._manager = gateway, manager

        def protocol() -> GatewayProtocol:
            return GatewayProtocol(manager, count, gateway.record)

        try:
            await self._listen("TLS_LISTEN", protocol, self.settings.tls_listen, self._tls)
            await self._listen("PLAIN_LISTEN", protocol, self.settings.plain_listen, None)
            self._metrics_manager = web.Server(self._metrics_page, access_log=None)
            await self._listen(
                "METRICS_LISTEN", self._metrics_manager, self.settings.metrics_listen, None
            )
        except BaseException:
            await self.stop(drain_seconds=0)
            raise
        fields = {name: self.port(name) for name in self._listeners}
        LOGGER.info("started", extra={"fields": {"ports": fields}})

    def port(self, name: str) -> int:
        """The port that a listener got; ``name`` is TLS_LISTEN, PLAIN_LISTEN or METRICS_LISTEN."""
        return int(self._listeners[name].sockets[0].getsockname()[1])

    def reload(self) -> bool:
        """Read token and certificate again (SIGHUP); open connections stay.

        Each is replaced only if it is usable; False and an error in the log when one is not.
        """
        complete = True
        try:
            changed = self.credentials.reload()
            LOGGER.info("token read again", extra={"fields": {"changed": changed}})
        except SettingsError as error:
            LOGGER.error("token not replaced: %s", error)
            complete = False
        if self._tls is not None and self.settings.tls_certificate and self.settings.tls_key:
            try:
                load_certificate(self._tls, self.settings.tls_certificate, self.settings.tls_key)
                self._note_expiry()
                LOGGER.info("certificate read again")
            except SettingsError as error:
                LOGGER.error("certificate not replaced: %s", error)
                complete = False
        self.metrics.reloads.labels("ok" if complete else "failed").inc()
        return complete

    async def stop(self, drain_seconds: float | None = None) -> None:
        """Stop accepting, close WebSockets (1001), wait for requests in flight, then end."""
        gateway, manager = self._gateway, self._manager
        if gateway is None or manager is None:
            return
        self._gateway = self._manager = None
        limit = self.settings.drain_seconds if drain_seconds is None else drain_seconds
        gateway.stopping = gateway.health.stopping = True
        for name in ("TLS_LISTEN", "PLAIN_LISTEN"):
            if name in self._listeners:
                self._listeners.pop(name).close()
        LOGGER.info("stopping", extra={"fields": {"in_flight": len(gateway.active)}})
        unfinished = await self._drain(gateway, manager, limit)
        await manager.shutdown(CANCEL_SECONDS)
        await gateway.upstream.close()
        if "METRICS_LISTEN" in self._listeners:
            self._listeners.pop("METRICS_LISTEN").close()
        if self._metrics_manager is not None:
            await self._metrics_manager.shutdown(CANCEL_SECONDS)
        LOGGER.info("stopped", extra={"fields": {"cut_off": unfinished}})

    async def _drain(self, gateway: Gateway, manager: web.Server, limit: float) -> int:
        """Wait up to ``limit`` seconds; gives how many requests were still unfinished."""
        busy = {context.request.protocol for context in gateway.active.values()}
        for context in gateway.active.values():
            context.close_connection = True
        for connection in manager.connections:
            if connection not in busy:
                connection.force_close()
        closing = asyncio.create_task(gateway.websockets.close_all())
        waiting = list(gateway.active)
        if waiting and limit > 0:
            await asyncio.wait(waiting, timeout=limit)
        if limit > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(closing, CANCEL_SECONDS)
        closing.cancel()
        unfinished = [task for task in gateway.active if not task.done()]
        for task in unfinished:
            task.cancel()
        return len(unfinished)

    async def _listen(
        self,
        name: str,
        protocol: web.Server | object,
        address: Address | None,
        context: ssl.SSLContext | None,
    ) -> None:
        if address is None:
            return
        try:
            self._listeners[name] = await asyncio.get_running_loop().create_server(
                protocol,  # type: ignore[arg-type]
                address.host,
                address.port,
                ssl=context,
                ssl_handshake_timeout=TLS_HANDSHAKE_SECONDS if context else None,
                ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS if context else None,
            )
        except OSError as error:
            raise SettingsError(
                [
                    Problem(
                        PREFIX + name,
                        f"{address} ({error.strerror or error})",
                        "an address of this machine with a free port that this user may open",
                        "the listener is bound when the gateway starts",
                        "free the port, choose another one, or give the container "
                        "CAP_NET_BIND_SERVICE for ports below 1024",
                    )
                ]
            ) from error

    async def _metrics_page(self, request: web.BaseRequest) -> web.Response:
        if request.path != "/metrics" or request.method not in {"GET", "HEAD"}:
            return web.Response(status=404, text="only GET /metrics is here\n")
        gateway = self._gateway
        if gateway is not None:
            await gateway.health.refresh_metrics()
        return web.Response(
            body=self.metrics.render(), headers={"Content-Type": metrics_module.CONTENT_TYPE}
        )

    def _note_expiry(self) -> None:
        if self._tls is not None and self.settings.tls_certificate is not None:
            try:
                seconds = certificate_expiry(self.settings.tls_certificate).timestamp()
            except (ValueError, IndexError):
                # OpenSSL took the file, so it serves; only the metric is without a value.
                LOGGER.warning("the certificate's expiry could not be read")
                seconds = float("nan")
            self.metrics.certificate_expiry.set(seconds)


async def run(server: GatewayServer) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reloads."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    # Before the ports open, so that an early signal is not lost.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    loop.add_signal_handler(signal.SIGHUP, server.reload)
    async with server:
        await ended.wait()
