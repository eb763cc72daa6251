"""SHA-256 of a file while it arrives.

One thread follows the contiguous front of the part file, so that the hash is ready a moment after
the last byte. Who stores bytes near the front lends it the buffer, so that they are not read
again; the rest is read back: from the page cache what arrived far out of order or in small pieces,
from the disk what an earlier run left.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

from vace_weights.errors import UnstableFileError
from vace_weights.part import PartFile
from vace_weights.stamps import identity

BUFFER_BYTES = 512 * 1024
"""Fits the second-level cache: what was copied into it is hashed from there."""


WINDOW_BYTES = 32 * 1024 * 1024
"""Buffers are borrowed up to so far beyond the front, and this much memory at most."""


class FrontHasher:
    """Hashes a part file in order while it is being filled."""

    def __init__(self, part: PartFile) -> None:
        self._part = part
        self._stop = threading.Event()
        self._digest = hashlib.sha256()
        self._position = 0
        self._lock = threading.Lock()
        self._lent: dict[int, tuple[memoryview, memoryview]] = {}
        self._spare: list[memoryview] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._follow, name="weights hash", daemon=True)
        self._thread.start()

    def borrow(self, offset: int, filled: memoryview, buffer: memoryview) -> memoryview:
        """Take the buffer whose beginning, `filled`, is about to be stored at `offset`.

        Returns the buffer to go on with: another one, or the same where it was not wanted. Call
        it before the bytes are stored; the buffer must not be changed afterwards.
        A slow line flushes buffers that hold little: those are not wanted, because a buffer takes
        its whole size of memory however little is in it.
        """
        if 2 * len(filled) < len(buffer):
            return buffer
        with self._lock:
            held = sum(len(whole) for _, whole in self._lent.values())
            if not 0 <= offset - self._position < WINDOW_BYTES or held + len(buffer) > WINDOW_BYTES:
                return buffer
            self._lent[offset] = filled, buffer
            if self._spare:
                return self._spare.pop()
        return memoryview(bytearray(len(buffer)))

    def result(self) -> str:
        """The SHA-256 in hex; waits for the rest. Call it when every byte has arrived."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._digest.hexdigest()

    def stop(self) -> None:
        """Give up; there will be no result."""
        self._stop.set()
        self._part.wake()
        self._thread.join()

    def _follow(self) -> None:
        own = memoryview(bytearray(BUFFER_BYTES))
        try:
            while self._position < self._part.size and not self._stop.is_set():
                front = self._part.wait_front(self._position, self._stop)
                while self._position < front and not self._stop.is_set():
                    lent, limit = self._next(front)
                    if lent is None:
                        self._update(self._read_back(own[: limit - self._position]))
                    else:
                        filled, whole = lent
                        self._update(filled)
                        with self._lock:
                            self._spare.append(whole)
        except BaseException as error:
            self._error = error

    def _next(self, front: int) -> tuple[tuple[memoryview, memoryview] | None, int]:
        """The lent bytes at the position, or how far to read until there are some."""
        with self._lock:
            lent = self._lent.pop(self._position, None)
            if lent is not None:
                return lent, front
            passed = [offset for offset in self._lent if offset < self._position]
            for offset in passed:
                del self._lent[offset]
            limit = min((offset for offset in self._lent), default=front)
            return None, min(front, limit, self._position + BUFFER_BYTES)

    def _read_back(self, room: memoryview) -> memoryview:
        count = os.preadv(self._part.descriptor, [room], self._position)
        if count == 0:
            raise OSError(f"{self._part.path} is shorter than what was written to it")
        return room[:count]

    def _update(self, data: memoryview) -> None:
        self._digest.update(data)
        with self._lock:
            self._position += len(data)


def hash_file(
    path: Path, progress: Callable[[int], None] | None = None
) -> tuple[str, os.stat_result]:
    """SHA-256 of a whole file in hex, and the status it had from the first byte to the last.

    `progress` gets the number of bytes of each step. Raises UnstableFileError when the file was
    changed meanwhile: then the hash is of no content that it ever had.
    """
    digest = hashlib.sha256()
    view = memoryview(bytearray(BUFFER_BYTES))
    with path.open("rb", buffering=0) as stream:
        before = os.fstat(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while count := stream.readinto(view):
            digest.update(view[:count])
            if progress is not None:
                progress(count)
        after = os.fstat(stream.fileno())
    if identity(before) != identity(after):
        raise UnstableFileError(
            f"{path} was changed while its SHA-256 was computed; expected a file that stays as it "
            "is, because a hash of old and new bytes says nothing. Wait until whoever writes it "
            "(or changes its owner or mode) is done and run the same command again."
        )
    return digest.hexdigest(), after
