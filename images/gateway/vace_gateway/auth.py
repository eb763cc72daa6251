"""Who may pass: a bearer token for programs, a session cookie for browsers."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from vace_gateway.context import AuthKind, Context
from vace_gateway.credentials import Credentials
from vace_gateway.errors import Refusal
from vace_gateway.hosts import SAFE_METHODS, is_same_origin
from vace_gateway.metrics import Metrics
from vace_gateway.ratelimit import FailureLimit
from vace_gateway.sessions import Sessions, cookie_value

CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="vace"'}
_WRONG_TOKEN: Final = {
    "WWW-Authenticate": 'Bearer realm="vace", error="invalid_token"',
}


class Authenticator:
    """Decides for each request; holds no state of its own but the failure buckets."""

    def __init__(
        self,
        credentials: Credentials,
        sessions: Sessions,
        failures: FailureLimit,
        metrics: Metrics,
    ) -> None:
        self._credentials = credentials
        self._sessions = sessions
        self._failures = failures
        self._metrics = metrics

    def authenticate(self, context: Context) -> AuthKind:
        """Return how the request proved itself, or ``"none"`` when it carries no proof at all.

        Raises Refusal ``unauthorized`` (401) for a wrong token and ``too_many_failures`` (429)
        when the client sent too many of them. An old cookie counts as no proof: a browser left
        open over a rotation is not an attack.
        """
        headers = context.request.headers.getall("Authorization", [])
        if headers:
            scheme, _, token = headers[0].partition(" ")
            if len(headers) > 1 or scheme.lower() != "bearer":
                raise self.failure(context, "malformed", "only 'Authorization: Bearer <token>'")
            if not self._credentials.accepts(token.strip()):
                raise self.failure(context, "wrong_token", "the token is not the one in use")
            return "bearer"
        return "session" if self._sessions.is_valid(session_cookie(context)) else "none"

    def token_is_right(self, context: Context, token: str) -> bool:
        """Check a token typed into the login form.

        Raises Refusal ``too_many_failures`` for a wrong one over the limit.
        """
        if self._credentials.accepts(token):
            return True
        refusal = self.failure(context, "wrong_login", "")
        if refusal.kind.type == "too_many_failures":
            raise refusal
        return False

    def failure(self, context: Context, reason: str, details: str) -> Refusal:
        """Count a failure and say how to answer it."""
        self._metrics.auth_failures.labels(reason).inc()
        wait = self._failures.failed(context.client)
        if wait:
            self._metrics.auth_failures.labels("rate_limited").inc()
            return Refusal("too_many_failures", headers={"Retry-After": str(wait)}, close=True)
        return Refusal("unauthorized", details, headers=_WRONG_TOKEN, close=True)


def session_cookie(context: Context) -> str:
    """The session cookie that fits the listener, or an empty string."""
    cookies = "; ".join(context.request.headers.getall("Cookie", []))
    return cookie_value(cookies, secure=context.scheme == "https")


def check_same_origin(context: Context, *, websocket: bool) -> None:
    """Refuse a browser session used by another site's page.

    A bearer token needs no such check: no browser attaches it by itself.
    Raises Refusal ``cross_site`` (403).
    """
    unsafe = websocket or context.request.method not in SAFE_METHODS
    if context.auth == "session" and unsafe and not is_same_origin(context.request, context.host):
        raise Refusal("cross_site", close=True)


def is_navigation(request: web.BaseRequest) -> bool:
    """Whether a browser asks for a page (and so deserves a login form instead of JSON)."""
    if request.method not in {"GET", "HEAD"}:
        return False
    mode = request.headers.get("Sec-Fetch-Mode")
    if mode is not None:
        return mode == "navigate"
    return "text/html" in request.headers.get("Accept", "")


def comes_from_another_site(request: web.BaseRequest) -> bool:
    """Whether a navigation started on another site, so that the Strict cookie was held back."""
    return request.headers.get("Sec-Fetch-Site") == "cross-site"
