"""Host and Origin: which name the client believes it talks to, and which page sent it.

A page of another site can make a browser send requests here (cross-site request forgery), and
with a DNS name that it points at this address it can even read the answers (DNS rebinding). The
first is stopped by the Origin check, the second by the list of Host names.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp import web

from vace_gateway.errors import Refusal

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


def request_scheme(request: web.BaseRequest) -> str:
    """``https`` on the TLS listener, ``http`` on the plain one; no header can change it."""
    transport = request.transport
    secure = transport is not None and transport.get_extra_info("ssl_object") is not None
    return "https" if secure else "http"


def check_host(hosts: Iterable[str], allowed: frozenset[str]) -> str:
    """Return the one Host header, checked against the allowed names.

    Raises Refusal ``unknown_host`` (421) when there is none, more than one, or another name.
    """
    values = list(hosts)
    if len(values) != 1:
        raise Refusal("unknown_host", "exactly one Host header is needed")
    name, _ = split_host(values[0])
    if name not in allowed:
        raise Refusal("unknown_host", "the name is not in the list of this gateway")
    return values[0]


def split_host(value: str) -> tuple[str, int | None]:
    """Split a Host header into lower-case name and port; ``("", None)`` when it is malformed."""
    try:
        parts = urlsplit(f"//{value}")
        if parts.netloc != value or parts.username is not None or any(c in value for c in "/?#@"):
            return "", None
        return (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return "", None


def is_same_origin(request: web.BaseRequest, host: str) -> bool:
    """Whether a request comes from a page of this very service.

    ``Origin`` decides when it is there; else ``Sec-Fetch-Site`` must be ``same-origin``. A request
    with neither is refused: current browsers send at least one with every unsafe request.
    """
    origins = request.headers.getall("Origin", [])
    if len(origins) > 1:
        return False
    if origins:
        key = _origin_key(origins[0])
        return key is not None and key == _origin_key(f"{request_scheme(request)}://{host}")
    return request.headers.getall("Sec-Fetch-Site", []) == ["same-origin"]


def _origin_key(origin: str) -> tuple[str, str, int] | None:
    scheme, separator, host = origin.partition("://")
    name, port = split_host(host)
    if not separator or scheme not in {"http", "https"} or not name:
        # "null" and malformed origins equal nothing, not even each other.
        return None
    return scheme, name, port or (443 if scheme == "https" else 80)
