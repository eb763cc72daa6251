"""Brings the missing bytes of one file from one HTTP source, over several connections.

The first answer decides: a partial one (206) with the right total starts the other connections; a
whole one (200) means a server without ranges, and the file comes in one stream. Each failure is
mapped to an error of the tree in `errors`; those that another try can cure are tried again with
growing pauses as long as bytes still come, and the ranges already stored are kept.
"""

from __future__ import annotations

import random
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from vace_weights.answers import Validator, looks_like_a_page
from vace_weights.connection import LEAST_RATE, STALL_S, Asked, Connection, Head
from vace_weights.errors import (
    ShortBodyError,
    SourceError,
    StalledError,
)
from vace_weights.hashing import FrontHasher
from vace_weights.part import PartFile
from vace_weights.sources import Place

Chunk = tuple[int, int]
"""First byte and end (not included) of one request."""
MEBIBYTE = 1024 * 1024
_FLUSH_S = 0.25
"""Bytes wait at most this long in a half-full buffer before they are stored."""


ENOUGH_RATE = 384 * MEBIBYTE
"""Bytes a second at which another connection is of no use: about what one SHA-256 stream takes on
common processors, and more than 3 Gbit/s. More of them would only contend for cores and locks."""
_LOOK_S = 0.1
"""Each further connection is opened when less than ENOUGH_RATE came for so long."""
PROGRESS_BYTES = 64 * 1024
"""A failure after at least this much new data counts as the first one again."""


@dataclass(frozen=True)
class TransferOptions:
    """How to fetch. Seconds and bytes; `tls` replaces the system's certificates.

    A connection that gives nothing for `stall_s`, or less than `least_rate` bytes/s on average
    over `stall_s`, is given up.
    """

    connections: int = 4
    chunk_bytes: int = 8 * MEBIBYTE
    buffer_bytes: int = 2 * MEBIBYTE
    stall_s: float = STALL_S
    least_rate: float = LEAST_RATE
    attempts: int = 5
    backoff_s: float = 1.0
    backoff_limit_s: float = 30.0
    tls: ssl.SSLContext | None = None


class Transfer:
    """One file from one place. `advance` is called with each number of bytes stored."""

    def __init__(
        self,
        part: PartFile,
        place: Place,
        asked: Asked,
        *,
        sha256: str,
        options: TransferOptions,
        hasher: FrontHasher,
        advance: Callable[[int], None],
        message: Callable[[str], None],
    ) -> None:
        self._part = part
        self._place = place
        self._asked = asked
        self._options = options
        self._hasher = hasher
        self._advance = advance
        self._message = message
        self._validator = Validator(asked, part.size, sha256)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._resolved = place.url
        self._stored = 0
        self._connections: list[Connection] = []
        self._queue: deque[Chunk] = deque()

    def run(self) -> None:
        """Fetch everything that is missing. Raises the SourceError that ended it.

        A DiskSpaceError or FolderError of the part file is passed on: no other source helps then.
        """
        step = self._options.chunk_bytes
        for start, end in self._part.missing():
            self._queue += ((low, min(low + step, end)) for low in range(start, end, step))
        connection = self._connection()
        helpers: list[threading.Thread] = []
        try:
            begun = self._begin(connection)
            if begun is None:
                return
            for number in range(1, min(self._options.connections, len(self._queue) + 1)):
                name = f"weights range {number}"
                helpers.append(
                    threading.Thread(target=self._help, args=(number,), name=name, daemon=True)
                )
                helpers[-1].start()
            self._work(connection, begun)
            for helper in helpers:
                helper.join()
        except BaseException as error:
            self._give_up(error)  # and an interrupt while waiting ends the others too
        finally:
            connection.close()
            for helper in helpers:
                helper.join()
        if self._error is not None:
            raise self._error

    def _connection(self) -> Connection:
        connection = Connection(
            stall_s=self._options.stall_s,
            least_rate=self._options.least_rate,
            tls=self._options.tls,
        )
        with self._lock:
            self._connections.append(connection)
        return connection

    def _give_up(self, error: BaseException) -> None:
        with self._lock:
            if self._error is None:
                self._error = error
            connections = list(self._connections)
        self._stop.set()
        for connection in connections:
            connection.interrupt()

    def _help(self, number: int) -> None:
        if not self._is_wanted(number):
            return
        connection = self._connection()
        try:
            self._work(connection, None)
        except BaseException as error:
            self._give_up(error)
        finally:
            connection.close()

    def _is_wanted(self, number: int) -> bool:
        """Wait until another connection would be of use; False when there is nothing left."""
        pause = (number - 1) * _LOOK_S
        while not self._stop.wait(pause):
            with self._lock:
                before = self._stored
            if self._stop.wait(_LOOK_S):
                break
            with self._lock:
                if not self._queue:
                    break
                if self._stored - before < ENOUGH_RATE * _LOOK_S:
                    return True
            pause = 0
        return False

    def _begin(self, connection: Connection) -> tuple[Chunk, Head] | None:
        """The first chunk and the head of its answer; None when one stream brought everything."""
        patience = Patience(self._options)
        chunk = self._next_chunk()
        while chunk is not None:
            try:
                head = self._ask(connection, chunk)
                if head.status == 206:
                    return chunk, head
                self._stream(connection, head)
            except SourceError as error:
                connection.close()
                self._pause(patience, error)
            else:
                return None
        return None

    def _work(self, connection: Connection, begun: tuple[Chunk, Head] | None) -> None:
        """Take chunks from the queue until there are none; the first may be asked for already."""
        patience = Patience(self._options)
        buffer = memoryview(bytearray(self._options.buffer_bytes))
        while not self._stop.is_set():
            chunk, head = begun or (self._next_chunk(), None)
            begun = None
            if chunk is None:
                return
            try:
                if head is None:
                    head = self._ask(connection, chunk)
                if head.status != 206:
                    raise self._validator.not_partial(*chunk)
                buffer = self._store(connection, head, chunk[0], buffer)
            except SourceError as error:
                buffer = memoryview(bytearray(self._options.buffer_bytes))  # the other may be lent
                connection.close()
                self._put_back(chunk)
                self._pause(patience, error)
            else:
                self._put_back(chunk)  # a server may answer with less than it was asked for
                if self._part.missing_total == 0:
                    self._stop.set()  # wakes those that pause

    def _next_chunk(self) -> Chunk | None:
        with self._lock:
            return self._queue.popleft() if self._queue else None

    def _put_back(self, chunk: Chunk) -> None:
        missing = self._part.missing(*chunk)
        with self._lock:
            self._queue.extendleft(reversed(missing))

    def _pause(self, patience: Patience, error: SourceError) -> None:
        """Wait before another try; raises the error when another try makes no sense."""
        if self._stop.is_set():
            return
        pause = patience.pause_s(error, self._stored)
        if pause >= 1:
            self._message(f"{error} Next try in {pause:.0f} s.")
        self._stop.wait(pause)

    def _ask(self, connection: Connection, chunk: Chunk) -> Head:
        headers = {"Range": f"bytes={chunk[0]}-{chunk[1] - 1}"}
        with self._lock:
            url = self._resolved
        token = self._place.token if url == self._place.url else ""
        head = connection.get(url, headers, token, self._asked)
        if head.status in {400, 401, 403, 404, 410} and url != self._place.url:
            # A signed address at a content network has run out: ask the source for a new one.
            connection.close()
            head = connection.get(self._place.url, headers, self._place.token, self._asked)
        self._validator.check(head, *chunk)
        with self._lock:
            self._resolved = head.url
        return head

    def _store(
        self, connection: Connection, head: Head, start: int, buffer: memoryview
    ) -> memoryview:
        """Store the body of a partial answer; returns the buffer to go on with."""
        found = head.content_range
        end = found[1] if found is not None else start
        position, count = start, -1
        error: SourceError | None = None
        while position < end and count and error is None and not self._stop.is_set():
            count, error = self._fill(connection, buffer[: end - position])
            filled = buffer[:count]
            buffer = self._hasher.borrow(position, filled, buffer) if count else buffer
            self._keep(position, filled)
            position += count
        if position != end and not self._stop.is_set():
            raise error or self._short(position - start, end - start)
        return buffer

    def _stream(self, connection: Connection, head: Head) -> None:
        """Store the body of a whole answer; what is there already is read over."""
        view = memoryview(bytearray(self._options.buffer_bytes))
        if self._validator.has_wrong_length(head):
            count = connection.receive(view[:512], self._asked)
            raise self._validator.wrong_length(head, bytes(view[:count]))
        self._message(f"{self._asked.source} serves no ranges: one stream, from the first byte")
        position, count = 0, -1
        error: SourceError | None = None
        while count and error is None:
            count, error = self._fill(connection, view)
            filled, end = view[:count], position + count
            if position == 0 and head.length is None and looks_like_a_page(bytes(filled[:512])):
                raise self._validator.wrong_length(head, bytes(filled[:512]))
            if end > self._part.size:
                raise self._validator.too_long()
            for low, high in self._part.missing(position, end):
                self._keep(low, filled[low - position : high - position])
            position = end
        if position != self._part.size:
            raise error or self._short(position, self._part.size)

    def _fill(self, connection: Connection, buffer: memoryview) -> tuple[int, SourceError | None]:
        """Bytes of the body, as many as fit or come within a moment; 0 at its end.

        An error comes with the bytes that came before it: those are good.
        """
        count, since = 0, time.monotonic()
        while count < len(buffer) and (not count or time.monotonic() - since < _FLUSH_S):
            try:
                more = connection.receive(buffer[count:], self._asked)
            except SourceError as error:
                return count, error
            if not more:
                break
            count += more
        return count, None

    def _keep(self, offset: int, view: memoryview) -> None:
        self._part.write(offset, view, self._place.label)
        with self._lock:
            self._stored += len(view)
        self._advance(len(view))

    def _short(self, came: int, promised: int) -> ShortBodyError:
        return ShortBodyError(
            file=self._asked.file,
            source=self._asked.source,
            expected=f"a body of {promised} bytes",
            came=f"its end after {came} bytes",
            advice="What came is kept; the rest is asked for again, then from the next source.",
        )


class Patience:
    """Decides for one connection how long to wait after an error, and when to give up.

    Only failures without progress in between count: a line that drops every few megabytes still
    brings the file.
    """

    def __init__(self, options: TransferOptions) -> None:
        self._options = options
        self._failures = 0
        self._stored = 0

    def pause_s(self, error: SourceError, stored: int) -> float:
        """Seconds to wait; raises `error` when it is permanent or came too often."""
        progress = PROGRESS_BYTES
        if isinstance(error, StalledError):
            # What all connections together bring between two failures of one of them, at less
            # than the least rate, is no progress: a source that only drips would never be left.
            options = self._options
            drip = 4 * options.connections * options.stall_s * options.least_rate
            progress = max(progress, round(drip))
        if stored - self._stored >= progress:
            self._failures = 0
        self._stored = stored
        self._failures += 1
        asked_for = error.retry_after_s
        limit = self._options.backoff_limit_s
        if not error.transient or self._failures >= self._options.attempts:
            raise error
        if asked_for is not None:
            if asked_for > limit:
                raise error  # longer than it is worth while there are other sources
            return asked_for
        pause = min(limit, self._options.backoff_s * 2.0 ** (self._failures - 1))
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, no secret
