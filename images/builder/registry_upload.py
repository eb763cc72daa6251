"""Sends one blob to a registry in chunks, and goes on where the registry got when one fails.

The requests are those of the OCI distribution specification 1.1, "Pushing a blob in chunks": POST
opens a session, each PATCH with ``Content-Range`` adds a chunk, GET tells how far the session got,
and PUT with the digest ends it. A session's address changes with every answer.

Not every registry goes on with a session whose last chunk broke off: docker-registry 2.8 ends it
when it kept a part of that chunk. The blob then goes into a new session from its first byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import BinaryIO, Protocol
from urllib.parse import urljoin

import httpx

from images.builder.registry_bodies import FilePart
from images.builder.registry_errors import (
    RegistryAnswerError,
    RegistryError,
    RegistryUnreachableError,
)

CHUNK_BYTES = 64 << 20
"""Size of a chunk: seconds at usual rates, so that a failure costs seconds, not the whole blob."""
LARGEST_CHUNK = 1 << 30
"""Most that a registry may ask for as its least chunk."""
WAITS_S = (2.0, 4.0, 8.0)
"""Between attempts that got nowhere; one that got further starts the row again."""
_TIMEOUT = httpx.Timeout(120.0, connect=15.0)
"""For one chunk: of each read and write, not of their sum."""
_SLOWEST_HASHING = 20e6
"""Bytes a second: a registry may read the whole blob again before it answers the PUT."""
_RANGE = re.compile(r"(?:bytes=)?(\d+)-(\d+)")
# No session under this address (any more), or a registry that does not tell how far it got.
_LOST = {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.GONE}


@dataclass(frozen=True)
class Blob:
    """What is sent: digest, size in bytes, and how to open it (seekable, each time anew)."""

    digest: str
    size: int
    open: Callable[[], BinaryIO]


class Channel(Protocol):
    """One repository of a registry, as an upload sees it."""

    @property
    def uploads(self) -> str:
        """Address that opens a session."""

    def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: Iterable[bytes] | None,
        timeout: httpx.Timeout,
    ) -> tuple[httpx.Response, bytes]:
        """One request and its answer, whatever it says. Raises RegistryUnreachableError."""

    def authorize(self, answer: httpx.Response) -> bool:
        """Prepare what a 401 asks for; False when there is nothing to give."""

    def refused(self, answer: httpx.Response, content: bytes) -> RegistryError:
        """The error for an answer that is not a success."""

    def has(self, digest: str) -> bool:
        """Whether the blob is there."""


class _PassingError(Exception):
    """Something that may go better next time; ``cause`` is what to raise when it does not."""

    def __init__(self, cause: RegistryError, *, lost: bool = False) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.lost = lost


class _AuthorizedAnewError(Exception):
    """A 401 was met by getting new credentials."""


class Upload:
    """One blob's way into a repository.

    Args:
        wait: called with seconds between two attempts.
        tell: called with a sentence about each failure that is tried again.
        chunk_bytes: size of a chunk, unless the registry asks for larger ones.
    """

    def __init__(
        self,
        channel: Channel,
        blob: Blob,
        *,
        wait: Callable[[float], None],
        tell: Callable[[str], None] = lambda _: None,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self._channel = channel
        self._blob = blob
        self._wait = wait
        self._tell = tell
        self._chunk = chunk_bytes
        self._looked = False
        self._place = ""
        self._offset = 0
        self._doubtful = False
        self._authorized = False

    def run(self) -> None:
        """Send the blob, unless it is there.

        A connection that breaks and an answer 429 or 5xx are tried again, at most three times
        without getting further. Raises RegistryError.
        """
        furthest = -1
        waits = list(WAITS_S)
        while True:
            try:
                if self._step():
                    return
            except _AuthorizedAnewError:
                self._doubtful = True
                continue
            except _PassingError as fault:
                if self._offset > furthest:
                    furthest, waits = self._offset, list(WAITS_S)
                if not waits:
                    raise fault.cause from fault
                if fault.lost:
                    self._place = ""
                self._doubtful = True
                seconds = waits.pop(0)
                self._tell(
                    f"attempt {len(WAITS_S) - len(waits)} failed at byte {self._offset} of "
                    f"{self._blob.size} ({fault.cause}), again in {seconds:.0f} s"
                )
                self._wait(seconds)

    def _step(self) -> bool:
        """Do what comes next; True when the blob is there."""
        if not self._looked:
            there = self._has()
            self._looked = True
            return there
        if not self._place:
            self._begin()
        elif self._doubtful:
            return self._ask()
        elif self._offset < self._blob.size:
            self._add()
        else:
            self._finish()
            return True
        return False

    def _begin(self) -> None:
        answer = self._exchange("POST", self._channel.uploads)
        least = answer.headers.get("OCI-Chunk-Min-Length", "")
        if least.isdecimal():
            self._chunk = max(self._chunk, min(int(least), LARGEST_CHUNK))
        self._offset = 0
        self._doubtful = False
        self._move(answer, required=True)

    def _add(self) -> None:
        start, end = self._offset, min(self._offset + self._chunk, self._blob.size)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(end - start),
            "Content-Range": f"{start}-{end - 1}",
        }
        body = FilePart(self._blob.open, start, end)
        answer = self._exchange("PATCH", self._place, headers, body)
        self._authorized = False
        self._move(answer)
        told = _range_end(answer)
        # "0-0" is what some registries say of no byte and of one.
        reached = end if told is None or (told == 1 and end == 1) else told
        if reached > end:
            raise self._senseless(answer, f"bytes up to {reached}, but only {end} were sent")
        if reached <= start:
            raise _PassingError(self._senseless(answer, f"{reached} bytes, no more than before"))
        self._offset = reached

    def _ask(self) -> bool:
        """Learn how far the registry got; True when it is done."""
        # The PUT may have worked though its answer was lost, and ended the session with it.
        if self._offset == self._blob.size and self._has():
            return True
        answer = self._exchange("GET", self._place)
        self._move(answer)
        told = _range_end(answer)
        if told is None or told <= 1:
            # Nothing there, or not told: a new session costs nothing or is the only way.
            self._place = ""
            self._offset = 0
            return False
        if told > self._blob.size:
            raise self._senseless(answer, f"{told} bytes of a blob that has {self._blob.size}")
        self._offset = told
        self._doubtful = False
        return False

    def _finish(self) -> None:
        target = str(httpx.URL(self._place).copy_merge_params({"digest": self._blob.digest}))
        seconds = 60 + self._blob.size / _SLOWEST_HASHING
        timeout = httpx.Timeout(seconds, connect=15.0)
        self._exchange("PUT", target, {"Content-Length": "0"}, timeout=timeout)

    def _has(self) -> bool:
        try:
            return self._channel.has(self._blob.digest)
        except RegistryUnreachableError as error:
            raise _PassingError(error) from error

    def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        content: Iterable[bytes] | None = None,
        timeout: httpx.Timeout = _TIMEOUT,
    ) -> httpx.Response:
        try:
            answer, said = self._channel.exchange(method, url, headers or {}, content, timeout)
        except RegistryUnreachableError as error:
            raise _PassingError(error) from error
        if answer.is_success:
            return answer
        status = answer.status_code
        # Once, until a chunk was taken: a token may end in the middle, but a registry that wants
        # ever new ones has none that is enough.
        if status == HTTPStatus.UNAUTHORIZED and not self._authorized:
            self._authorized = True
            if self._channel.authorize(answer):
                raise _AuthorizedAnewError
        cause = self._channel.refused(answer, said)
        if answer.is_server_error or status == HTTPStatus.TOO_MANY_REQUESTS:
            raise _PassingError(cause)
        if method != "POST" and status in _LOST:
            raise _PassingError(cause, lost=True)
        # It did not get as far as this client thinks; asking puts both in step.
        if method == "PATCH" and status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _PassingError(cause)
        raise cause

    def _move(self, answer: httpx.Response, *, required: bool = False) -> None:
        location = answer.headers.get("Location", "")
        if location:
            self._place = urljoin(str(answer.url), location)
        elif required:
            raise self._senseless(answer, "no Location to send the blob to")

    def _senseless(self, answer: httpx.Response, what: str) -> RegistryAnswerError:
        return RegistryAnswerError(
            f"{answer.url.host}: {answer.request.method} {answer.url.path} was answered with "
            f"{what}. The distribution specification does not allow that, so the upload was given "
            "up. Try again; if it stays, look into the registry's log."
        )


def _range_end(answer: httpx.Response) -> int | None:
    """Number of bytes that a session has by its Range header; None when it does not say."""
    match = _RANGE.fullmatch(answer.headers.get("Range", "").strip())
    return int(match[2]) + 1 if match else None
