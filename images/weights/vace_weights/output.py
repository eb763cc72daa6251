"""A file that is written once, from front to back, and appears under its name only when whole.

Bytes go to a hidden file beside the target (`.NAME.part-conversion`), which carries an advisory
lock while a process writes it. A second thread hashes and writes, so that the caller computes the
next bytes meanwhile. At the end the file is synced, renamed over the target, and its folder is
synced. A process that was killed leaves the hidden file; the next run takes it over and starts
it afresh.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import queue
import shutil
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from vace_weights.conversion_errors import TargetBusyError, TargetError, TargetFullError
from vace_weights.files import readable_bytes, sync_folder

QUEUE_DEPTH = 8
"""Pieces that may wait for the writer: bounds the memory, and keeps both threads busy."""

RESERVE = 16 * 2**20
"""Bytes that must stay free, for the file system's own records."""


def temporary_of(target: Path) -> Path:
    """Where the bytes of `target` stand until they are complete."""
    return target.with_name(f".{target.name}.part-conversion")


class OutputFile:
    """The target of a conversion. Use as a context manager; `finish` makes the file appear.

    Raises TargetBusyError, TargetFullError and TargetError. Leaving the context without `finish`
    removes the unfinished file.
    """

    def __init__(self, target: Path, size: int) -> None:
        self.target = target
        self.size = size
        self._temporary = temporary_of(target)
        self._descriptor = -1
        self._hash = hashlib.sha256()
        self._written = 0
        self._error: OSError | None = None
        self._pieces: queue.Queue[memoryview | None] = queue.Queue(QUEUE_DEPTH)
        self._writer = threading.Thread(target=self._work, name="weights-writer", daemon=True)
        self._finished = False

    def __enter__(self) -> Self:
        self._claim()
        try:
            self._check_room()
            os.ftruncate(self._descriptor, 0)
        except BaseException:
            self._abandon()
            raise
        self._writer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._finished:
            if self._writer.is_alive():
                self._drop_pieces()
                self._writer.join()
            self._abandon()

    def write(self, piece: bytes | memoryview) -> None:
        """Append bytes; the buffer must not change afterwards."""
        if self._error is not None:
            raise self._failure(self._error) from self._error
        self._pieces.put(memoryview(piece).cast("B"))

    def finish(self) -> str:
        """Wait for the last byte, sync, and rename. Returns the SHA-256 in hexadecimal."""
        self._pieces.put(None)
        self._writer.join()
        if self._error is not None:
            raise self._failure(self._error) from self._error
        if self._written != self.size:
            raise AssertionError(f"{self._written} bytes written, {self.size} announced")
        try:
            os.fchmod(self._descriptor, 0o644)
            os.fsync(self._descriptor)
            self._temporary.replace(self.target)
            self._finished = True
            sync_folder(self.target.parent)
        except OSError as error:
            raise self._failure(error) from error
        finally:
            if self._finished:
                os.close(self._descriptor)
        return self._hash.hexdigest()

    def _claim(self) -> None:
        while True:
            try:
                self._descriptor = os.open(
                    self._temporary, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
                )
            except OSError as error:
                raise self._failure(error) from error
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(self._descriptor)
                raise TargetBusyError(
                    given=f"{self.target} is being written by another process",
                    allowed="one writer of a target at a time",
                    why=f"it holds the lock of {self._temporary.name}",
                    advice="Wait for it to end, or name another target.",
                ) from error
            # The other run may have renamed or removed the file between the two calls above;
            # the lock would then be on a file that is no longer ours to write.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._descriptor), self._temporary.stat()):
                    return
            os.close(self._descriptor)

    def _check_room(self) -> None:
        # What a killed run left is about to be truncated, so its blocks count as free.
        leftover = os.fstat(self._descriptor).st_blocks * 512
        free = shutil.disk_usage(self.target.parent).free + leftover
        if free < self.size + RESERVE:
            raise TargetFullError(
                given=f"{self.target.parent} has {readable_bytes(free)} free",
                allowed=f"at least {readable_bytes(self.size + RESERVE)}",
                why=f"{self.target.name} takes {readable_bytes(self.size)}, and an older file of "
                "that name stays until the new one is whole",
                advice="Free some room, or name a target on another disk.",
            )

    def _work(self) -> None:
        while (piece := self._pieces.get()) is not None:
            if self._error is not None:
                continue  # keep emptying the queue, so that the caller never blocks on it
            self._hash.update(piece)
            try:
                done = 0
                while done < len(piece):
                    done += os.write(self._descriptor, piece[done:])
            except OSError as error:
                self._error = error
            self._written += len(piece)

    def _drop_pieces(self) -> None:
        self._error = self._error or OSError(errno.ECANCELED, "the conversion failed")
        self._pieces.put(None)

    def _abandon(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._temporary.unlink()
        os.close(self._descriptor)

    def _failure(self, error: OSError) -> TargetError:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return TargetFullError(
                given=f"the disk of {self.target.parent} filled up after "
                f"{readable_bytes(self._written)}",
                allowed=f"{readable_bytes(self.size)} for {self.target.name}",
                why="something else wrote to the same disk meanwhile, or a quota ended",
                advice="Free some room and run the command again; nothing half-written was kept.",
            )
        return TargetError(
            given=f"{self.target} cannot be written: {error.strerror}",
            allowed="a file in a folder that exists and that this user may write",
            why="the result is put under its name only when it is whole",
            advice="Make the folder, correct its owner, or name another target.",
        )
