"""Requests as bytes, for what no polite HTTP library would send."""

from __future__ import annotations

import asyncio
import re

from tests.gateway.conftest import Bench


async def raw_request(bench: Bench, text: str) -> bytes:
    """Send ``text`` over TLS and return the first answer, read to its Content-Length."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", bench.server.port("TLS_LISTEN"), ssl=bench.trust
    )
    try:
        writer.write(text.encode("latin-1"))
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            return head + (await reader.readexactly(int(length[1])) if length else b"")
    finally:
        writer.transport.abort()


def get(path: str, *headers: str) -> str:
    """A GET request for ``path``, taken literally."""
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n"
