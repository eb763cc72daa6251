"""HTTP with deadlines, streaming both ways, and every httpx error mapped onto our tree.

A GET may be repeated: it changes nothing. A POST whose answer was lost may have been carried out,
and a second POST /prompt would start a second job on somebody's GPU; it is repeated only when the
connection was never made, so that not one byte of it can have arrived.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from io import BufferedReader
from typing import Any, BinaryIO, cast

import httpx

from smoke_tests.comfy_client.deadline import Deadline
from smoke_tests.comfy_client.errors import (
    BadTarget,
    ComfyError,
    ConnectionProblem,
    NotComfyUI,
    TruncatedDownload,
    Unreachable,
    WrongCertificate,
)
from smoke_tests.comfy_client.protocol import Answer
from smoke_tests.comfy_client.target import Target, is_loopback

CONNECT_S = 10.0  # a reachable host answers SYN and ClientHello far sooner, even across the world
SILENCE_S = 30.0  # longest pause between two pieces of an answer; ComfyUI answers from memory
CALL_S = 60.0  # a whole small call, when the caller sets no deadline
RETRY_PAUSES_S = (0.2, 0.6, 1.5)  # rides out a gateway that reloads; longer outages must be seen
MAX_BODY = 64 << 20  # object_info of all 924 core nodes is 2 MiB; more than this is no answer


class Transport:
    """Requests to one `Target`. Use as a context manager.

    Args:
        target: where to.
        pause: how to wait between repeated GETs; only tests pass another one.
    """

    def __init__(self, target: Target, *, pause: Callable[[float], None] = time.sleep) -> None:
        self.target = target
        self._pause = pause
        self._http = httpx.Client(**client_options(target))

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        files: Any = None,
        headers: Mapping[str, str] | None = None,
        deadline: Deadline | None = None,
    ) -> Answer:
        """One request, its answer read to the end whatever the status; repeated where that is safe.

        A repeated GET that keeps answering 502, 503 or 504 is returned as it is.

        Raises:
            ConnectionProblem: no usable answer. Timeout: the deadline passed.
        """
        deadline = deadline or Deadline(CALL_S)
        options = {"params": params, "json": json, "files": files, "headers": headers}
        pauses = list(RETRY_PAUSES_S)
        while True:
            try:
                answer = self._once(method, path, options, deadline)
            except Unreachable as error:
                if not pauses or not may_repeat(method, error):
                    raise
            else:
                if not pauses or not may_repeat(method, answer):
                    return answer
            self._pause(min(pauses.pop(0), deadline.remaining()))
            deadline.check(f"repeating {method} {path}")

    def _once(self, method: str, path: str, options: dict[str, Any], deadline: Deadline) -> Answer:
        what = f"{method} {path}"
        timeout = timeouts(deadline, what)
        with (
            mapped(self.target, what, deadline),
            self._http.stream(method, path, timeout=timeout, **options) as response,
        ):
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                deadline.check(f"reading the answer to {what}")
                if len(body) > MAX_BODY:
                    raise NotComfyUI(f"{what} answered more than {MAX_BODY >> 20} MiB.")
            return Answer(what, response.status_code, lower(response.headers), bytes(body))

    @contextlib.contextmanager
    def download(
        self, path: str, params: Mapping[str, str], deadline: Deadline
    ) -> Iterator[tuple[Answer, Iterator[bytes]]]:
        """GET as a stream: (status and headers, pieces). The body of a refusal is in the answer.

        Raises:
            TruncatedDownload: the connection ended before the announced length.
        """
        what = f"GET {path}"
        with (
            mapped(self.target, what, deadline, streaming=True),
            self._http.stream(
                "GET",
                path,
                params=params,
                # a compressed answer would hide the length that truncation is judged by
                headers={"Accept-Encoding": "identity"},
                timeout=timeouts(deadline, what),
            ) as response,
        ):
            headers = lower(response.headers)
            if response.status_code != 200:
                body = response.read()[:MAX_BODY]
                yield Answer(what, response.status_code, headers, body), iter(())
                return

            def pieces() -> Iterator[bytes]:
                for chunk in response.iter_raw():
                    deadline.check(f"downloading {params.get('filename', path)}")
                    yield chunk

            yield Answer(what, 200, headers, b""), pieces()


def client_options(target: Target) -> dict[str, Any]:
    """How either httpx client is made."""
    context = target.ssl_context()
    return {
        "base_url": target.url,
        "verify": True if context is None else context,
        "headers": target.headers(),
        "follow_redirects": False,  # a redirect could carry the token to another host
        "trust_env": not is_loopback(target.url),  # no proxy in front of this machine itself
    }


@contextlib.contextmanager
def mapped(
    target: Target, what: str, deadline: Deadline, *, streaming: bool = False
) -> Iterator[None]:
    """Turn httpx's errors into ours, for the request described by `what`."""
    try:
        yield
    except ComfyError:
        raise
    except httpx.TimeoutException as error:
        if deadline.remaining() <= 0:
            raise deadline.passed(f"waiting for {what}") from error
        raise Unreachable(f"{target.url} gave no answer to {what} in time.") from error
    except httpx.InvalidURL as error:
        raise BadTarget(f"{target.url} cannot be used: {error}.") from error
    except httpx.TransportError as error:
        if streaming and isinstance(error, httpx.RemoteProtocolError | httpx.ReadError):
            raise TruncatedDownload(
                f"The connection ended in the middle of {what}: {error}."
            ) from error
        raise connection_problem(target, what, error) from error


def may_repeat(method: str, outcome: Answer | Unreachable) -> bool:
    """Whether a request with this outcome is worth a repetition, and cannot do harm by it."""
    if isinstance(outcome, Unreachable):
        return method == "GET" or outcome.nothing_sent
    return method == "GET" and outcome.status in {502, 503, 504}


def connection_problem(target: Target, what: str, error: BaseException) -> ConnectionProblem:
    """Our error for a low-level one (httpx, ssl, socket), found along its chain of causes."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            trusted = target.ca_source or "the system's store of authorities"
            return WrongCertificate(
                f"{target.url} shows a certificate that {trusted} cannot vouch for: "
                f"{cause.verify_message}."
            )
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError):
            return Unreachable(
                f"{target.url} answers, but the TLS handshake failed ({cause.reason or cause}).",
                remedy="Check scheme and port: this happens where plain http is spoken.",
            )
    if isinstance(error, httpx.RemoteProtocolError) and "illegal" in str(error):
        return NotComfyUI(f"{target.url} does not answer {what} in HTTP: {error}.")
    if isinstance(error, httpx.LocalProtocolError):
        return Unreachable(f"{what} to {target.url} could not be sent: {error}.")
    problem = Unreachable(f"{target.url} cannot be reached for {what}: {error or type(error)}.")
    problem.nothing_sent = isinstance(error, httpx.ConnectError)
    return problem


class TimedFile:
    """A file for a multipart upload whose reads stop at the deadline.

    httpx sends a file object piece by piece, so that an upload never has to fit in memory;
    the deadline is checked with each piece.
    """

    def __init__(self, file: BinaryIO, deadline: Deadline, name: str) -> None:
        self._file = file
        self._deadline = deadline
        self._name = name

    def read(self, size: int = -1) -> bytes:
        """The next piece; raises Timeout once the deadline has passed."""
        self._deadline.check(f"uploading {self._name}")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of the wrapped file; httpx measures the length with it."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As of the wrapped file."""
        return self._file.tell()

    def as_file(self) -> BufferedReader:
        """Typed for httpx, which needs read, seek and tell only."""
        return cast(BufferedReader, self)


def timeouts(deadline: Deadline, what: str) -> httpx.Timeout:
    """Limits of one request that starts now, within what is left of the deadline."""
    deadline.check(f"starting {what}")
    left = deadline.remaining()
    return httpx.Timeout(min(SILENCE_S, left), connect=min(CONNECT_S, left))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def lower(headers: httpx.Headers) -> dict[str, str]:
    """Headers with names in lower case."""
    return {name.lower(): value for name, value in headers.items()}
