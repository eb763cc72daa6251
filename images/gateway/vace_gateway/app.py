"""A request's way: parse, health pages, host, login, authenticate, route, forward."""

from __future__ import annotations

import asyncio
import json
from typing import Final

from aiohttp import web

from vace_gateway.admission import Admission
from vace_gateway.auth import (
    CHALLENGE,
    Authenticator,
    check_same_origin,
    comes_from_another_site,
    is_navigation,
)
from vace_gateway.bodies import SMALL_BODY_BYTES, RequestBody, check_declared_length
from vace_gateway.context import Context
from vace_gateway.credentials import Credentials
from vace_gateway.errors import Refusal
from vace_gateway.headers import security_headers
from vace_gateway.health import Health
from vace_gateway.hosts import check_host
from vace_gateway.login import Login
from vace_gateway.logs import ACCESS_LOGGER, LOGGER
from vace_gateway.metrics import Metrics
from vace_gateway.paths import Target, parse_target
from vace_gateway.proxy import Proxy
from vace_gateway.ratelimit import FailureLimit
from vace_gateway.routes import Body, Kind, Match, find_route
from vace_gateway.sessions import Sessions
from vace_gateway.settings import Settings
from vace_gateway.upstream import Upstream
from vace_gateway.upstream_status import UpstreamStatus
from vace_gateway.websocket import WebSocketBridge

_HEALTH_PAGES: Final = {("healthz",), ("readyz",)}
_LOGIN_PAGES: Final = {("login",), ("logout",)}


class Gateway:
    """The request handler and everything it needs. Make it inside a running event loop."""

    def __init__(self, settings: Settings, credentials: Credentials, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.upstream = Upstream(settings)
        self._status = UpstreamStatus(settings, self.upstream, metrics)
        self.health = Health(settings, self.upstream, self._status, metrics)
        self.active: dict[asyncio.Task[object], Context] = {}
        self.stopping = False
        sessions = Sessions(credentials, settings.session_seconds)
        failures = FailureLimit(settings.failures_per_minute)
        self._authenticator = Authenticator(credentials, sessions, failures, metrics)
        self._login = Login(self._authenticator, sessions)
        self._proxy = Proxy(settings, self.upstream)
        self.websockets = WebSocketBridge(settings, self.upstream, self._proxy, metrics)
        self._admission = Admission(self.upstream, settings.max_queue, metrics)
        self._limits = {
            Body.NONE: 0,
            Body.SMALL: SMALL_BODY_BYTES,
            Body.PROMPT: settings.max_prompt_bytes,
            Body.UPLOAD: settings.max_upload_body_bytes,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; never raises for anything that a client can do."""
        context = Context.of(request)
        context.close_connection = self.stopping
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a handler always runs in a task
        self.active[task] = context
        self.metrics.in_flight.inc()
        try:
            response = await self._respond(context)
            if not response.prepared:
                await self._send(context, response)
        except (asyncio.CancelledError, ConnectionError):
            # The client is gone; nobody reads an answer. 499 is the customary name for that.
            context.status = context.status or 499
            context.error = context.error or "client went away"
            raise
        finally:
            del self.active[task]
            self.metrics.in_flight.dec()
            self.record(context)
        return response

    async def _respond(self, context: Context) -> web.StreamResponse:
        try:
            return await self._dispatch(context)
        except Refusal as refusal:
            context.error = refusal.kind.type
            return self._refusal(context, refusal)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            LOGGER.exception("request failed", extra={"fields": {"request_id": context.request_id}})
            context.error = "internal_error"
            return self._refusal(context, Refusal("internal_error", close=True))

    async def _dispatch(self, context: Context) -> web.StreamResponse:
        request = context.request
        target = parse_target(request.raw_path)
        context.path = target.path
        if target.segments in _HEALTH_PAGES:
            return await self._health_page(context, target)
        context.host = check_host(request.headers.getall("Host", []), self.settings.allowed_hosts)
        if target.segments in _LOGIN_PAGES:
            context.route = "login"
            return await self._login.handle(context, target)
        context.auth = self._authenticator.authenticate(context)
        if context.auth == "none":
            return self._without_proof(context, target)
        match = find_route(target, request.method)
        context.route = match.route.name
        websocket = match.route.kind is Kind.WEBSOCKET
        check_same_origin(context, websocket=websocket)
        if self.stopping and websocket:
            raise Refusal("stopping", headers={"Retry-After": "5"}, close=True)
        return await self._forward(context, target, match)

    async def _forward(self, context: Context, target: Target, match: Match) -> web.StreamResponse:
        route = match.route
        limit = self._limits[route.body]
        has_body = check_declared_length(context.request, limit)
        url = self.upstream.url(target, match.query)
        if route.kind is Kind.WEBSOCKET:
            return await self.websockets.serve(context, url)
        body = None
        if has_body:
            body = RequestBody(
                context,
                limit=limit,
                idle_seconds=self.settings.idle_seconds,
                answer_seconds=self.settings.headers_seconds,
            )
        if route.kind is Kind.PROMPT:
            await self._status.check()
            with self._admission.entering() as before:
                await self._admission.check(before)
                return await self._proxy.forward(context, url, body, user_content=False)
        return await self._proxy.forward(context, url, body, user_content=route.user_content)

    async def _health_page(self, context: Context, target: Target) -> web.Response:
        # Without a Host check and without a token: a load balancer asks by address, and the
        # answer holds nothing that needs protection.
        context.route = target.segments[0]
        if context.request.method not in {"GET", "HEAD"}:
            raise Refusal("method_closed", headers={"Allow": "GET, HEAD"}, close=True)
        if target.segments == ("healthz",):
            return self._json(context, 200, {"status": "ok"})
        readiness = await self.health.readiness()
        return self._json(context, 200 if readiness.ready else 503, readiness.document())

    def _without_proof(self, context: Context, target: Target) -> web.Response:
        if not is_navigation(context.request):
            self.metrics.auth_failures.labels("missing").inc()
            raise Refusal("unauthorized", headers=CHALLENGE, close=True)
        context.route = "login"
        if comes_from_another_site(context.request):
            return self._login.bounce(context, target)
        return self._login.ask(context, target)

    def _refusal(self, context: Context, refusal: Refusal) -> web.Response:
        headers = security_headers(scheme=context.scheme, request_id=context.request_id)
        headers["Cache-Control"] = "no-store"
        headers["Content-Type"] = "application/json; charset=utf-8"
        headers.update(refusal.headers)
        response = web.Response(
            status=refusal.kind.status, body=refusal.body(context.request_id), headers=headers
        )
        if refusal.close:
            response.force_close()
        return response

    @staticmethod
    def _json(context: Context, status: int, document: dict[str, object]) -> web.Response:
        headers = security_headers(scheme=context.scheme, request_id=context.request_id)
        headers["Cache-Control"] = "no-store"
        headers["Content-Type"] = "application/json; charset=utf-8"
        body = json.dumps(document, ensure_ascii=False).encode()
        return web.Response(status=status, body=body, headers=headers)

    async def _send(self, context: Context, response: web.StreamResponse) -> None:
        if context.close_connection:
            response.force_close()
        context.status = response.status
        if isinstance(response, web.Response) and isinstance(response.body, bytes):
            context.bytes_out = len(response.body) if context.request.method != "HEAD" else 0
        await response.prepare(context.request)
        await response.write_eof()

    def record(self, context: Context) -> None:
        """Count and log a finished request, including those that were no HTTP."""
        self.metrics.observe(
            route=context.route,
            method=context.request.method,
            status=context.status,
            seconds=context.seconds,
            bytes_in=context.bytes_in,
            bytes_out=context.bytes_out,
        )
        ACCESS_LOGGER.info("request", extra={"fields": context.log_fields()})
