"""Headers: what goes to ComfyUI, what comes back, and what every answer carries."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

# RFC 9110, section 7.6.1, and the older names that some software still sends.
HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Never forwarded: credentials, what the gateway sets itself, what it has already acted on, and
# "comfy-user", with which a client of a multi-user ComfyUI names the user whose files it wants.
_NOT_FORWARDED: Final = frozenset(
    {
        "authorization",
        "cookie",
        "host",
        "origin",
        "referer",
        "expect",
        "content-length",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-real-ip",
        "x-request-id",
        "comfy-user",
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
    }
)
_NOT_RETURNED: Final = frozenset(
    {
        "server",
        "date",
        "content-length",
        "set-cookie",
        "content-security-policy",
        "strict-transport-security",
        "x-content-type-options",
        "referrer-policy",
        "x-frame-options",
        "cross-origin-opener-policy",
        "cross-origin-resource-policy",
        "permissions-policy",
        "x-request-id",
    }
)

# The front end compiles templates and evaluates extensions at run time and has inline scripts
# and styles, hence the two "unsafe" words; it loads nothing from other sites, hence no host.
UI_POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "worker-src 'self' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "frame-src 'self'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)
# For bytes that somebody uploaded: even if a browser renders them as a page, that page has no
# scripts, no origin and so no session.
SANDBOX_POLICY: Final = "sandbox; default-src 'none'; frame-ancestors 'none'"
# For pictures and videos opened in a tab of their own. No sandbox: without an origin the browser
# would not send the session cookie when it seeks (further Range requests).
MEDIA_POLICY: Final = (
    "default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'unsafe-inline'; "
    "frame-ancestors 'self'"
)

_INLINE_TYPES: Final = frozenset(
    {"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp", "text/plain"}
)
# Not executable as a page or (with nosniff) as a script, so the type may stay; still a download.
_INERT_TYPES: Final = frozenset({"application/json", "application/octet-stream"})


def upstream_headers(
    request: web.BaseRequest, *, upstream: str, client: str, scheme: str, host: str, request_id: str
) -> CIMultiDict[str]:
    """The client's headers as ComfyUI gets them.

    ComfyUI refuses requests whose Origin differs from its Host (``server.py``, origin-only
    middleware), so both are rewritten to its own address: the gateway has checked the real ones.
    """
    named = _connection_names(request.headers)
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in request.headers.items():
        lower = name.lower()
        dropped = lower in HOP_BY_HOP or lower in _NOT_FORWARDED or lower in named
        if not dropped and not lower.startswith("sec-fetch-"):
            headers.add(name, value)
    headers["Host"] = urlsplit(upstream).netloc
    if "Origin" in request.headers:
        headers["Origin"] = upstream
    headers["X-Forwarded-For"] = client
    headers["X-Forwarded-Proto"] = scheme
    headers["X-Forwarded-Host"] = host
    headers["X-Request-Id"] = request_id
    return headers


def returned_headers(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """ComfyUI's headers as the client gets them (without the gateway's own)."""
    named = _connection_names(headers)
    kept: CIMultiDict[str] = CIMultiDict()
    for name, value in headers.items():
        lower = name.lower()
        dropped = lower in HOP_BY_HOP or lower in _NOT_RETURNED or lower in named
        # CORS headers would let another site read answers; there is no such site.
        if not dropped and not lower.startswith("access-control-"):
            kept.add(name, value)
    if "Cache-Control" not in kept:
        kept["Cache-Control"] = "private, no-cache"
    return kept


def security_headers(*, scheme: str, request_id: str, policy: str = UI_POLICY) -> dict[str, str]:
    """What every answer of the gateway carries."""
    headers = {
        "Server": "vace-gateway",
        "X-Request-Id": request_id,
        "X-Content-Type-Options": "nosniff",
        # Not "no-referrer": with that, browsers send "Origin: null" from our own login form.
        "Referrer-Policy": "same-origin",
        "X-Frame-Options": "SAMEORIGIN",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
        "Content-Security-Policy": policy,
    }
    if scheme == "https":
        headers["Strict-Transport-Security"] = "max-age=31536000"
    return headers


def make_inert(headers: CIMultiDict[str], *, stylesheet: bool = False) -> None:
    """Change the headers of user content so that no browser runs it as part of this site.

    Pictures, video and sound are shown; everything else (HTML, SVG, XML, scripts, PDF) becomes a
    download of an unknown type. ``stylesheet`` marks the operator's own user.css.
    """
    media_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    shown = media_type in _INLINE_TYPES or media_type.startswith(("video/", "audio/"))
    if not shown and not stylesheet:
        if media_type not in _INERT_TYPES:
            headers["Content-Type"] = "application/octet-stream"
        headers["Content-Disposition"] = _as_attachment(headers.get("Content-Disposition", ""))
    headers["Content-Security-Policy"] = MEDIA_POLICY if shown else SANDBOX_POLICY


def _as_attachment(disposition: str) -> str:
    first, _, rest = disposition.partition(";")
    if "=" in first:  # ComfyUI sends 'filename="x"' without a disposition type
        rest = disposition
    return f"attachment; {rest.strip()}" if rest.strip() else "attachment"


def _connection_names(headers: CIMultiDictProxy[str]) -> frozenset[str]:
    names: set[str] = set()
    for value in headers.getall("Connection", []):
        names.update(part.strip().lower() for part in value.split(","))
    return frozenset(names)
