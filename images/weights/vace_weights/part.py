"""The part file: where the bytes of an unfinished download are collected.

Bytes may arrive in any order and from several sources. A background thread syncs the data and
only then records which ranges are there, so the record never promises bytes that a crash loses.

The part file is locked as long as it is open: two fetches with different models folders may
share the folder of this file, and only one of them may write it and give it its final name.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from vace_weights.errors import DiskSpaceError, FolderError
from vace_weights.files import readable_bytes, sync_folder
from vace_weights.journal import Journal
from vace_weights.lock import open_alone, remove_unused
from vace_weights.ranges import Pieces

SYNC_EVERY_S = 1.0
"""Seconds between two syncs; at most this much work is fetched again after a kill."""
SYNC_EVERY_BYTES = 128 * 1024 * 1024
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What the system answers when nothing more fits: disk, quota or file size limit."""


class PartFile:
    """Collects one file beside its final place; all methods may be called from any thread.

    `write` raises DiskSpaceError when nothing more fits and FolderError for any other fault of
    the disk. Used as a context manager: leaving it stops the thread and records what is there.
    Making one waits, with a `message`, while another process has the same part file.
    """

    def __init__(self, final: Path, size: int, sha256: str, message: Callable[[str], None]) -> None:
        self.final = final
        self.size = size
        self.path, state = part_paths(final)
        try:
            self._handle = open_alone(self.path, message)
        except OSError as error:
            raise _fault(error, self.path, size) from error
        try:
            self._journal = Journal(state, size, sha256)
            known = self._journal.load()
            if known is None or os.fstat(self._handle).st_size < max(
                (p.end for p in known), default=0
            ):
                known = Pieces()
                os.ftruncate(self._handle, 0)
        except OSError as error:
            os.close(self._handle)  # and free its lock
            raise _fault(error, self.path, size) from error
        self._pieces = known
        self.resumed = known.total
        self._changed = threading.Condition()
        self._record_lock = threading.Lock()
        # The kernel lets one thread at a time write to a file and makes the others spin.
        self._write_lock = threading.Lock()
        self._unsynced = 0
        self._closing = False
        self._over = False
        self._fault: OSError | None = None
        self._syncer = threading.Thread(target=self._sync_often, name="weights sync", daemon=True)

    def __enter__(self) -> PartFile:
        self._syncer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._syncer.join()
        try:
            if not self._over:
                self._record()
        except OSError as fault:
            if error is None:
                raise _fault(fault, self.path, self.missing_total) from fault
        finally:
            # Before the lock is freed: the next holder begins with a state of its own.
            self._journal.close(remove=self._over)
            os.close(self._handle)

    @property
    def descriptor(self) -> int:
        """The open file, for reading back."""
        return self._handle

    @property
    def missing_total(self) -> int:
        """Bytes still to come."""
        with self._changed:
            return self.size - self._pieces.total

    @property
    def sources(self) -> list[str]:
        """The sources that gave bytes of it."""
        with self._changed:
            return self._pieces.sources

    def missing(self, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
        """The gaps between `start` and `end` (the whole file by default), in order."""
        with self._changed:
            return list(self._pieces.missing_between(start, self.size if end is None else end))

    def write(self, offset: int, view: memoryview, source: str) -> None:
        """Store bytes that came from `source`."""
        if self._fault is not None:
            raise _fault(self._fault, self.path, self.missing_total)
        position, left = offset, view
        try:
            while left:
                with self._write_lock:
                    count = os.pwrite(self._handle, left, position)
                position += count
                left = left[count:]
        except OSError as error:
            raise _fault(error, self.path, self.missing_total) from error
        with self._changed:
            self._pieces.add(offset, position, source)
            self._unsynced += position - offset
            self._changed.notify_all()

    def wait_front(self, beyond: int, stop: threading.Event) -> int:
        """The contiguous front, as soon as it is past `beyond` or `stop` is set (see `wake`)."""
        with self._changed:
            self._changed.wait_for(lambda: self._pieces.front > beyond or stop.is_set())
            return self._pieces.front

    def wake(self) -> None:
        """Let those who wait look again at what they wait for."""
        with self._changed:
            self._changed.notify_all()

    def drop_all(self) -> None:
        """Forget every byte, on the disk too."""
        self._replace(Pieces())

    def drop(self, source: str) -> None:
        """Forget what this source gave."""
        with self._changed:
            kept = self._pieces.copy()
        kept.forget(source)
        self._replace(kept)

    def discard(self) -> None:
        """Remove it: the file is not needed any more."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise _fault(error, self.path, 0) from error
        self._over = True

    def finish(self) -> os.stat_result:
        """Give the whole, verified file its final name; it is on the disk before it has it."""
        try:
            os.ftruncate(self._handle, self.size)
            os.fchmod(self._handle, 0o644)
            os.fsync(self._handle)
            self.path.replace(self.final)
            self._over = True
            sync_folder(self.final.parent)
        except OSError as error:
            raise _fault(error, self.path, 0) from error
        return os.fstat(self._handle)

    def _replace(self, pieces: Pieces) -> None:
        try:
            with self._record_lock:
                with self._changed:
                    self._pieces = pieces
                self._journal.record(pieces)
                if not pieces.total:
                    os.ftruncate(self._handle, 0)
        except OSError as error:
            raise _fault(error, self.path, self.size) from error

    def _sync_often(self) -> None:
        recorded = time.monotonic()
        while True:
            with self._changed:
                self._changed.wait_for(self._syncer_has_work, SYNC_EVERY_S)
                if self._closing:
                    return
                late = time.monotonic() - recorded >= SYNC_EVERY_S
                if not (self._syncer_has_work() or (late and self._unsynced)):
                    continue
            try:
                self._record()
            except OSError as error:
                self._fault = error
                return
            recorded = time.monotonic()

    def _syncer_has_work(self) -> bool:
        return self._closing or self._unsynced >= SYNC_EVERY_BYTES

    def _record(self) -> None:
        with self._record_lock:
            with self._changed:
                pieces = self._pieces.copy()
                self._unsynced = 0
            os.fdatasync(self._handle)
            self._journal.record(pieces)


def part_paths(final: Path) -> tuple[Path, Path]:
    """Where the bytes and the state of an unfinished file are, beside its final name.

    In the file's own folder, because a rename is atomic only within one file system, and hidden,
    so that no program lists them as models.
    """
    return final.parent / f".{final.name}.part", final.parent / f".{final.name}.state"


def remove_part(final: Path) -> None:
    """Remove what an unfinished download left, unless another process goes on with it."""
    remove_unused(*part_paths(final))


def _fault(error: OSError, path: Path, missing: int) -> DiskSpaceError | FolderError:
    if error.errno in FULL:
        return DiskSpaceError(
            f"{path.parent} is full ({error.strerror}) with {readable_bytes(missing)} of "
            f"{path.name.removeprefix('.').removesuffix('.part')} still to come. Free at least "
            f"{readable_bytes(missing)} there (or raise the quota) and run the same command "
            "again: it goes on from what is already there."
        )
    return FolderError(
        f"{path} cannot be written: {error.strerror}. The folder must be on a healthy disk and "
        "writable by this user; correct that and run the same command again: it goes on from what "
        "is already there."
    )
