"""Bodies of requests to a registry and of its answers: streamed, bounded and checked."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import httpx

from images.builder.registry_errors import (
    RegistryAnswerError,
    RegistryDigestError,
    RegistryUnreachableError,
)

CHUNK = 1 << 20
"""Bytes that are read or written at a time."""


class BlobReader(io.RawIOBase):
    """A blob from an answer; ``check`` gets digest and size (bytes) at its end, and may raise."""

    def __init__(self, response: httpx.Response, check: Callable[[str, int], None]) -> None:
        super().__init__()
        self._response = response
        self._chunks = response.iter_raw(CHUNK)
        self._rest = memoryview(b"")
        self._hash = hashlib.sha256()
        self._size = 0
        self._check = check

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Raises RegistryUnreachableError when the transfer breaks off."""
        if not self._rest:
            try:
                self._rest = memoryview(next(self._chunks, b""))
            except httpx.HTTPError as error:
                raise RegistryUnreachableError(
                    f"{self._response.url.host} ended the transfer after {self._size} bytes: "
                    f"{error}. The whole blob was expected. Check the network and try again."
                ) from error
            if not self._rest:
                self._check(f"sha256:{self._hash.hexdigest()}", self._size)
                return 0
            self._hash.update(self._rest)
            self._size += len(self._rest)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        """End the transfer, too."""
        self._response.close()
        super().close()


def read_bounded(response: httpx.Response, limit: int, what: str) -> bytes:
    """Content of an answer that is a document, and close it.

    Raises RegistryAnswerError as soon as more than ``limit`` bytes came; the rest is not read, so
    that an endless answer costs neither memory nor time. httpx.HTTPError passes.
    """
    found = bytearray()
    try:
        for chunk in response.iter_bytes(min(CHUNK, limit + 1)):
            found += chunk
            if len(found) > limit:
                raise RegistryAnswerError(
                    f"{what} has more than {limit} bytes; at most {limit} are allowed, as nothing "
                    "that is an image needs more. Push the image again."
                )
    finally:
        response.close()
    return bytes(found)


@dataclass(frozen=True)
class FilePart:
    """Bytes ``start`` to ``end`` (not included) of what ``open`` opens, as a request's body.

    Each iteration opens it again, so a request can be sent again after a redirect, and a part can
    be sent again after anything.
    """

    open: Callable[[], BinaryIO]
    start: int
    end: int

    def __iter__(self) -> Iterator[bytes]:
        """Raises RegistryDigestError when the source has become shorter."""
        with self.open() as stream:
            stream.seek(self.start)
            left = self.end - self.start
            while left:
                chunk = stream.read(min(CHUNK, left))
                if not chunk:
                    raise RegistryDigestError(
                        f"{getattr(stream, 'name', 'the blob')} ended {left} bytes too early: it "
                        "was changed while it was sent. Blobs must stay as they are; build or copy "
                        "the image again."
                    )
                left -= len(chunk)
                yield chunk
