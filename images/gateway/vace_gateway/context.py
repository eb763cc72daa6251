"""What is known about one request while it is being answered."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Final, Literal

from aiohttp import web

from vace_gateway.hosts import request_scheme

AuthKind = Literal["none", "bearer", "session"]

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")


@dataclass
class Context:
    """One request: the facts that its log line and its metrics are made of."""

    request: web.BaseRequest
    request_id: str
    client: str
    scheme: str
    path: str = "-"
    host: str = ""
    route: str = "refused"
    auth: AuthKind = "none"
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    error: str = ""
    close_connection: bool = False  # the gateway is stopping: no further request on this one
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Time since the request's headers were read."""
        return time.monotonic() - self.started

    @classmethod
    def of(cls, request: web.BaseRequest) -> Context:
        """Take the request's id from the client when it is sane, else make one."""
        sent = request.headers.get("X-Request-Id", "")
        request_id = sent if _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
        transport = request.transport
        peer = transport.get_extra_info("peername") if transport is not None else None
        client = str(peer[0]) if isinstance(peer, tuple) else "unknown"
        return cls(request, request_id, client, request_scheme(request))

    def log_fields(self) -> dict[str, object]:
        """The access log line. The path has no query: queries can carry what users typed."""
        fields: dict[str, object] = {
            "request_id": self.request_id,
            "client": self.client,
            "scheme": self.scheme,
            "method": self.request.method,
            "path": self.path,
            "route": self.route,
            "status": self.status,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "ms": round(self.seconds * 1000, 1),
            "auth": self.auth,
        }
        if self.error:
            fields["error"] = self.error
        return fields
