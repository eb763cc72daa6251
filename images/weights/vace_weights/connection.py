"""One HTTP request for a range of a file, with redirects, proxies and TLS.

`http.client` underneath: its bodies can be received straight into a buffer of ours. The system's
proxies (HTTPS_PROXY, HTTP_PROXY, NO_PROXY) and certificates (SSL_CERT_FILE) are honoured; a
certificate that does not verify is an error, always.
"""

from __future__ import annotations

import base64
import http.client
import re
import socket
import ssl
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from vace_weights import __version__
from vace_weights.errors import (
    RedirectError,
    SourceConfigError,
    SourceError,
    StalledError,
    UnreachableError,
)
from vace_weights.head import BoundedResponse, SlowHeadError

MAX_REDIRECTS = 8
STALL_S = 30.0
LEAST_RATE = 1024.0
"""Bytes a second that a connection has to give, averaged over STALL_S seconds of waiting for them.
At less, the large file of a manifest takes a month: another source is better than that."""
REDIRECTS = {301, 302, 303, 307, 308}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_NUMBER = r"[0-9]{1,19}"
_CONTENT_RANGE = re.compile(rf"bytes (?:({_NUMBER})-({_NUMBER})|\*)/({_NUMBER}|\*)")
_URL_CHARACTERS = "%/:?#[]@!$&'()*+,;=~"
"""Stay as they are when a URL that a server wrote is made one of plain ASCII."""


@dataclass(frozen=True)
class Asked:
    """Who asks for what: named in every error."""

    file: str
    source: str


@dataclass(frozen=True)
class Head:
    """What an answer says about itself."""

    status: int
    url: str
    headers: Mapping[str, str]
    hops: tuple[Mapping[str, str], ...] = ()

    def get(self, name: str) -> str:
        """A header's value, or ""."""
        return self.headers.get(name.lower(), "")

    @property
    def length(self) -> int | None:
        """Content-Length, where the answer has one."""
        return number(self.get("content-length"))

    @property
    def content_range(self) -> tuple[int, int, int | None] | None:
        """First byte, end (not included) and the file's size; a `bytes */N` is (0, 0, N)."""
        match = _CONTENT_RANGE.fullmatch(self.get("content-range").strip())
        if match is None:
            return None
        total = None if match[3] == "*" else int(match[3])
        return (0, 0, total) if match[1] is None else (int(match[1]), int(match[2]) + 1, total)


class Connection:
    """One connection, kept open between requests to the same place. For one thread."""

    def __init__(
        self,
        *,
        stall_s: float = STALL_S,
        least_rate: float = LEAST_RATE,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._stall_s = stall_s
        self._least_rate = least_rate
        self._waited_s = 0.0
        self._came = 0
        self._tls = tls
        self._place: tuple[str, str] | None = None
        self._connection: http.client.HTTPConnection | None = None
        self._response: http.client.HTTPResponse | None = None

    def close(self) -> None:
        """Close it; the next request opens a new one."""
        if self._response is not None:
            self._response.close()
        if self._connection is not None:
            self._connection.close()
        self._connection = self._response = self._place = None

    def interrupt(self) -> None:
        """Wake a thread that waits for bytes: it gets an error. Safe from another thread."""
        sock = self._connection.sock if self._connection is not None else None
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return

    def get(self, url: str, headers: Mapping[str, str], token: str, asked: Asked) -> Head:
        """Send a GET, following redirects; the body is then read with `receive`.

        The token goes to the first host only: a redirect to another origin drops it.
        """
        origin, seen = _origin(url, asked), {url}
        self._waited_s, self._came = 0.0, 0
        hops: list[Mapping[str, str]] = []
        while True:
            sent = dict(headers)
            if token and _origin(url, asked) == origin and _may_carry_token(url):
                sent["Authorization"] = f"Bearer {token}"
            response = self._send(url, sent, asked)
            fields = {name.lower(): value for name, value in response.getheaders()}
            if response.status not in REDIRECTS or "location" not in fields:
                self._response = response
                return Head(response.status, url, fields, tuple(hops))
            hops.append(fields)
            self.close()
            url = _next_hop(url, fields["location"], seen, asked)

    def receive(self, view: memoryview, asked: Asked) -> int:
        """Bytes of the body into `view`: at least one, or 0 at the end of the body.

        Raises StalledError when none came for `stall_s`, or when fewer than `least_rate` asks for
        came in that much time spent here; time that the caller took to store them is not counted.
        """
        began = time.monotonic()
        count = self._receive(view, asked)
        self._waited_s += time.monotonic() - began
        self._came += count
        if count and self._waited_s >= self._stall_s:
            waited, came = self._waited_s, self._came
            self._waited_s, self._came = 0.0, 0
            if came < self._least_rate * waited:
                self.close()
                raise _too_slow(came, waited, self._least_rate, asked)
        return count

    def _receive(self, view: memoryview, asked: Asked) -> int:
        response = self._response
        if response is None or response.fp is None:
            return 0
        try:
            if response.chunked or response.length is None:
                return response.readinto(view)
            if response.length == 0:
                response.close()
                return 0
            # One system call at most, straight into our buffer: no progress is held back.
            count: int = response.fp.readinto1(view[: response.length])
            response.length -= count
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise _mapped(error, asked, self._stall_s) from error
        if response.length == 0:
            response.close()
        return count

    def _send(self, url: str, headers: Mapping[str, str], asked: Asked) -> http.client.HTTPResponse:
        if self._response is not None and self._response.fp is not None:
            self.close()  # the body before was not read to its end
        parts = urllib.parse.urlsplit(url)
        place = (parts.scheme, parts.netloc)
        reused = self._connection is not None and self._place == place
        if not reused:
            self.close()
        target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        try:
            return self._exchange(url, place, target, headers)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            if not reused or isinstance(error, TimeoutError):
                raise _mapped(error, asked, self._stall_s) from error
        # A kept connection that the server closed in the meantime: once more on a new one.
        try:
            return self._exchange(url, place, target, headers)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise _mapped(error, asked, self._stall_s) from error

    def _exchange(
        self, url: str, place: tuple[str, str], target: str, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        sent = {
            "Host": urllib.parse.urlsplit(url).netloc.rpartition("@")[2],
            "User-Agent": f"vace-weights/{__version__}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            **headers,
        }
        if self._connection is None:
            self._connection = self._connect(url)
            self._place = place
        proxy = _proxy(url)
        if proxy is not None and place[0] == "http":
            target = url
            sent.update(_proxy_authorization(proxy))
        self._connection.request("GET", _ascii(target), headers=sent)
        return self._connection.getresponse()

    def _connect(self, url: str) -> http.client.HTTPConnection:
        parts = urllib.parse.urlsplit(url)
        proxy = _proxy(url)
        host, port = parts.hostname or "", parts.port
        if proxy is not None:
            host, port = proxy.hostname or "", proxy.port or 3128
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = self._tls or ssl.create_default_context()
            connection = http.client.HTTPSConnection(
                host, port, timeout=self._stall_s, context=context
            )
            if proxy is not None:
                connection.set_tunnel(
                    parts.hostname or "", parts.port or 443, headers=_proxy_authorization(proxy)
                )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=self._stall_s)
        connection.response_class = BoundedResponse
        return connection


def number(text: str) -> int | None:
    """A count in a header: ASCII digits, at most 19 of them; None for anything else."""
    return int(text) if re.fullmatch(_NUMBER, text) else None


def redacted(url: str) -> str:
    """A URL for messages: without user, password and query, which may hold a signature."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return f"{url.partition('?')[0].rpartition('@')[2]!r:.100}"
    query = "…" if parts.query else ""
    return urllib.parse.urlunsplit(
        (parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, "")
    )


def _origin(url: str, asked: Asked) -> tuple[str, str, int]:
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        _require_usable(parts)
    except ValueError as error:
        raise _bad_url(url, str(error), asked) from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise _bad_url(url, f"the scheme {parts.scheme!r} and host {parts.hostname!r}", asked)
    if parts.username or parts.password:
        raise _bad_url(url, "a URL with a user or password in it", asked)
    return parts.scheme, parts.hostname, port


def _bad_url(url: str, came: str, asked: Asked) -> SourceConfigError:
    return SourceConfigError(
        file=asked.file,
        source=asked.source,
        expected="an http:// or https:// URL with a host and without credentials",
        came=f"{came} in {redacted(url)}",
        advice="Write the source again; secrets belong in the environment (HF_TOKEN), not in URLs.",
    )


def _may_carry_token(url: str) -> bool:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme == "https" or (parts.hostname or "") in _LOOPBACK


def _next_hop(url: str, location: str, seen: set[str], asked: Asked) -> str:
    # Header bytes come as Latin-1; what is meant by those beyond ASCII is UTF-8.
    location = _ascii(location.encode("latin-1", "replace"))
    came = ""
    try:
        target = urllib.parse.urljoin(url, location)
        before, after = urllib.parse.urlsplit(url), urllib.parse.urlsplit(target)
        _require_usable(after)
    except ValueError as error:
        came = f"a redirect to {redacted(location)}, which is no address ({error})"
        raise _bad_redirect(came, asked) from error
    if after.scheme not in {"http", "https"} or not after.hostname:
        came = f"a redirect to {redacted(target)}"
    elif before.scheme == "https" and after.scheme == "http":
        came = f"a redirect from https to unencrypted {redacted(target)}"
    elif target in seen:
        came = f"a redirect loop: {redacted(target)} was asked already"
    elif len(seen) > MAX_REDIRECTS:
        came = f"more than {MAX_REDIRECTS} redirects, the last to {redacted(target)}"
    if came:
        raise _bad_redirect(came, asked)
    seen.add(target)
    return target


def _bad_redirect(came: str, asked: Asked) -> RedirectError:
    return RedirectError(
        file=asked.file,
        source=asked.source,
        expected="the file, after a few redirects at most, none of them to less security",
        came=came,
        advice="The source is set up wrongly or something in between rewrites it; the next "
        "source is tried. A proxy or captive portal on the way is the likely cause.",
    )


def _require_usable(parts: urllib.parse.SplitResult) -> None:
    """Raise ValueError for a port out of range and for a host that no resolver takes."""
    _ = parts.port
    host = parts.hostname or ""
    if "%" in host and ":" not in host:  # an IPv6 address may name its interface so
        raise ValueError(f"the host {host!r:.100} has characters that no host name has")
    host.encode("idna")  # refuses empty labels and those of more than 63 characters


def _ascii(url: str | bytes) -> str:
    """The URL with what is not allowed in one percent-encoded; what is encoded stays."""
    return urllib.parse.quote(url, safe=_URL_CHARACTERS)


def _proxy(url: str) -> urllib.parse.SplitResult | None:
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    if host in _LOOPBACK or urllib.request.proxy_bypass(host):
        return None
    address = urllib.request.getproxies().get(parts.scheme, "")
    if not address:
        return None
    return urllib.parse.urlsplit(address if "://" in address else f"http://{address}")


def _proxy_authorization(proxy: urllib.parse.SplitResult) -> dict[str, str]:
    if not proxy.username:
        return {}
    pair = f"{urllib.parse.unquote(proxy.username)}:{urllib.parse.unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def _too_slow(came: int, waited_s: float, least_rate: float, asked: Asked) -> StalledError:
    return StalledError(
        file=asked.file,
        source=asked.source,
        expected=f"at least {least_rate:g} bytes/s on average",
        came=f"{came} bytes in {waited_s:.1f} s",
        advice="The connection drips; it is opened again, then the next source is tried. What came "
        "is kept. On a very slow line use fewer --connections, so that each gets more of it.",
    )


def _mapped(error: Exception, asked: Asked, stall_s: float) -> SourceError:
    if isinstance(error, TimeoutError):
        slow = isinstance(error, SlowHeadError)
        return StalledError(
            file=asked.file,
            source=asked.source,
            expected=f"all headers within {stall_s:g} s"
            if slow
            else f"bytes at least every {stall_s:g} s",
            came="a part of them" if slow else "nothing for that long",
            advice="The connection hangs; it is opened again, then the next source is tried. On a "
            "very slow line raise --stall-seconds.",
        )
    advice = "It is tried again, then the next source. Check network, proxy and firewall."
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = (
            "The certificate is not trusted: where a company proxy or a local server with its own "
            "authority is meant to answer, point SSL_CERT_FILE at that authority's certificate."
        )
    return UnreachableError(
        file=asked.file,
        source=asked.source,
        expected="an HTTP answer",
        came=f"{type(error).__name__}: {error}",
        advice=advice,
    )
