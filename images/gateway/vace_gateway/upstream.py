"""The connection pool to ComfyUI."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from vace_gateway.paths import Query, Target, encode_path
from vace_gateway.settings import Settings

READ_BUFFER_BYTES: Final = 256 * 1024
# The largest answer that the gateway itself reads: a /queue listing holds every waiting graph.
MAX_JSON_BYTES: Final = 64 * 1024 * 1024
# aiohttp would add these on its own; the client's values, or none, are right.
SKIPPED_HEADERS: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class UpstreamError(Exception):
    """ComfyUI did not give a usable answer to the gateway's own question."""


class Upstream:
    """ComfyUI, as the gateway sees it. Make it inside a running event loop."""

    def __init__(self, settings: Settings) -> None:
        self.base = settings.upstream
        self.session = aiohttp.ClientSession(
            # No DNS cache: a name that has moved (a Service in Kubernetes) is looked up anew for
            # each connection, and the system's resolver has its own cache.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=15, use_dns_cache=False),
            # No total time: a download or a video preview lasts as long as it lasts. proxy.py
            # watches for the first byte and for silence.
            # `connect` counts from the look-up of the name on.
            timeout=aiohttp.ClientTimeout(
                total=None,
                connect=settings.connect_seconds,
                sock_connect=settings.connect_seconds,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=READ_BUFFER_BYTES,
            skip_auto_headers=SKIPPED_HEADERS,
            trust_env=False,
        )

    def url(self, target: Target, query: Query) -> URL:
        """The upstream address, built from checked parts and not touched again."""
        encoded = urlencode(query, quote_via=quote)
        suffix = f"?{encoded}" if encoded else ""
        return URL(f"{self.base}{encode_path(target.segments)}{suffix}", encoded=True)

    async def json(self, *segments: str, seconds: float) -> Any:
        """GET a JSON document, at most MAX_JSON_BYTES, within ``seconds``.

        Raises UpstreamError with a short reason.
        """
        url = URL(self.base + encode_path(segments), encoded=True)
        try:
            async with asyncio.timeout(seconds), self.session.get(url) as response:
                if response.status != 200:
                    raise UpstreamError(f"/{segments[0]} answered {response.status}")
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > MAX_JSON_BYTES:
                        raise UpstreamError(f"/{segments[0]} answered too much")
                return json.loads(body)
        except TimeoutError:
            raise UpstreamError(f"/{segments[0]} did not answer within {seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamError(f"not reachable ({error.__class__.__name__})") from error
        except ValueError:
            raise UpstreamError(f"/{segments[0]} answered no JSON") from None

    async def close(self) -> None:
        """Close all connections."""
        await self.session.close()
