"""One HTTP request and one answer, independent of the socket that they travel over."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl


@dataclass
class HttpRequest:
    """A complete request; ``target`` is path and query as sent, header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    secure: bool
    source_ip: str

    @property
    def path(self) -> str:
        """The path as sent, still percent-encoded."""
        return self.target.partition("?")[0] or "/"

    @property
    def raw_query(self) -> str:
        """What follows the question mark, as sent."""
        return self.target.partition("?")[2]

    @property
    def query(self) -> dict[str, str]:
        """The decoded query; the last of equal names wins."""
        return dict(parse_qsl(self.raw_query, keep_blank_values=True))

    @property
    def host(self) -> str:
        """The Host header, with port if it was sent."""
        return self.headers.get("host", "")

    @property
    def content_type(self) -> str:
        """The media type without parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def form(self) -> dict[str, str]:
        """The decoded form body; empty when the body is not a form."""
        if self.content_type != "application/x-www-form-urlencoded":
            return {}
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))


@dataclass
class HttpResponse:
    """An answer; ``drop`` means that the connection is closed without one."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    drop: bool = False
