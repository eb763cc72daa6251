"""``/login`` and ``/logout``: trades the token for a session cookie, and ends sessions."""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import parse_qs, quote, urlencode

from aiohttp import web

from vace_gateway import login_page
from vace_gateway.auth import Authenticator, session_cookie
from vace_gateway.context import Context
from vace_gateway.errors import Refusal
from vace_gateway.headers import security_headers
from vace_gateway.hosts import is_same_origin
from vace_gateway.paths import Target, encode_path, parse_target
from vace_gateway.sessions import Sessions

MAX_FORM_BYTES: Final = 4096
FORM_SECONDS: Final = 10.0
_METHODS: Final = frozenset({"GET", "HEAD", "POST"})
_WRONG: Final = (
    "This token is not the one in use. Check it and try again.",
    "令牌不正确,请检查后重试。",
)


class Login:
    """The two pages. They are reachable without a session, so they take nothing for granted."""

    def __init__(self, authenticator: Authenticator, sessions: Sessions) -> None:
        self._authenticator = authenticator
        self._sessions = sessions

    async def handle(self, context: Context, target: Target) -> web.Response:
        """Answer a request to /login or /logout."""
        if context.request.method not in _METHODS:
            raise Refusal("method_closed", headers={"Allow": "GET, HEAD, POST"}, close=True)
        page = target.segments[0]
        if context.request.method == "POST":
            # Also before login: a foreign page could otherwise sign a visitor into its own
            # session and collect what the visitor uploads.
            if not is_same_origin(context.request, context.host):
                raise Refusal("cross_site", close=True)
            return await (self._sign_in(context) if page == "login" else self._sign_out(context))
        if page == "logout":
            return self._html(context, login_page.logout())
        wanted = safe_next(dict(target.query).get("next", "/"))
        if self._sessions.is_valid(session_cookie(context)):
            return self._redirect(context, wanted)
        return self._html(context, login_page.login(next_path=wanted))

    def ask(self, context: Context, target: Target) -> web.Response:
        """Send a browser without a session to the login form."""
        wanted = _local_url(target)
        query = "" if wanted == "/" else "?" + urlencode({"next": wanted}, quote_via=quote)
        return self._redirect(context, f"/login{query}")

    def bounce(self, context: Context, target: Target) -> web.Response:
        """Make a browser that came from another site ask again from this one."""
        return self._html(context, login_page.bounce(next_path=_local_url(target)))

    async def _sign_in(self, context: Context) -> web.Response:
        form = await self._form(context)
        wanted = safe_next(form.get("next", "/"))
        try:
            right = self._authenticator.token_is_right(context, form.get("token", "").strip())
        except Refusal as refusal:
            sentences = refusal.kind.message, refusal.kind.message_zh
            response = self._html(
                context, login_page.login(next_path=wanted, error=sentences), status=429
            )
            response.headers.update(refusal.headers)
            return response
        if not right:
            return self._html(context, login_page.login(next_path=wanted, error=_WRONG), status=401)
        response = self._redirect(context, wanted)
        cookie = self._sessions.set_cookie(self._sessions.issue(), secure=_is_secure(context))
        response.headers["Set-Cookie"] = cookie
        context.auth = "session"
        return response

    async def _sign_out(self, context: Context) -> web.Response:
        self._sessions.end(session_cookie(context))
        response = self._redirect(context, "/login")
        response.headers["Set-Cookie"] = self._sessions.clear_cookie(secure=_is_secure(context))
        return response

    @staticmethod
    async def _form(context: Context) -> dict[str, str]:
        body = bytearray()
        try:
            async with asyncio.timeout(FORM_SECONDS):
                while chunk := await context.request.content.readany():
                    body += chunk
                    if len(body) > MAX_FORM_BYTES:
                        raise Refusal(
                            "body_too_large", f"at most {MAX_FORM_BYTES} bytes", close=True
                        )
        except TimeoutError:
            raise Refusal("client_too_slow", close=True) from None
        context.bytes_in = len(body)
        try:
            fields = parse_qs(bytes(body).decode("utf-8"), max_num_fields=8, errors="strict")
        except ValueError:
            raise Refusal("bad_request", "the form is not UTF-8", close=True) from None
        return {name: values[0] for name, values in fields.items()}

    @staticmethod
    def _html(context: Context, page: bytes, *, status: int = 200) -> web.Response:
        headers = security_headers(
            scheme=context.scheme, request_id=context.request_id, policy=login_page.PAGE_POLICY
        )
        headers["Cache-Control"] = "no-store"
        headers["Content-Type"] = "text/html; charset=utf-8"
        return web.Response(status=status, body=page, headers=headers)

    @staticmethod
    def _redirect(context: Context, location: str) -> web.Response:
        headers = security_headers(scheme=context.scheme, request_id=context.request_id)
        headers["Cache-Control"] = "no-store"
        headers["Location"] = location
        return web.Response(status=303, headers=headers)


def safe_next(text: str) -> str:
    """The page to show after login: a path of this service, else the start page.

    Parsing and building the address anew leaves no form (``//host``, ``/\\host``, ``https:``)
    that a browser could take for another site.
    """
    try:
        target = parse_target(text)
    except Refusal:
        return "/"
    if target.segments[:1] in {("login",), ("logout",)}:
        return "/"
    return _local_url(target)


def _local_url(target: Target) -> str:
    query = urlencode(target.query, quote_via=quote)
    return encode_path(target.segments) + (f"?{query}" if query else "")


def _is_secure(context: Context) -> bool:
    return context.scheme == "https"
