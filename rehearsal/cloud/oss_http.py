"""Requests and answers of the object storage protocol, as the server hands them over."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class OssHttpRequest:
    """One request to OSS.

    ``path`` is the raw path as sent (still percent-encoded, without the query). ``query`` values
    are decoded; a key without ``=`` has the value ``""``. ``headers`` has lower-case names.
    ``body`` is complete and de-chunked.
    """

    method: str
    host: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    secure: bool = False
    source_ip: str = ""


@dataclass
class OssHttpResponse:
    """One answer from OSS; Content-Length is added by the server unless it is already set."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
