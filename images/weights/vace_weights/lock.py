"""One fetch at a time in a folder, and one writer at a time of a part file."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from vace_weights.errors import FolderError

LOCK_NAME = ".vace-weights.lock"


@contextlib.contextmanager
def locked(folder: Path, message: Callable[[str], None]) -> Iterator[None]:
    """Hold the folder's lock; waits, with a message, while another process holds it.

    The kernel frees the lock when its holder ends, however it ends. The file stays: removing it
    would let two processes lock two different files.
    """
    path = folder / LOCK_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise FolderError(
            f"{folder} cannot be used as a models folder: {error.strerror} ({path.name}). It must "
            "be a folder that this user may write; name another with --to, or correct its owner."
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "?"
            message(f"another fetch (process {holder}) works in {folder}: waiting for it to end")
            fcntl.flock(handle, fcntl.LOCK_EX)
        with contextlib.suppress(OSError):  # the number is a courtesy; a full disk has no room
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def open_alone(path: Path, message: Callable[[str], None]) -> int:
    """Open the file, made where it is absent, and lock it; waits while another holds it.

    Whoever holds the lock is the only one who may write, rename or remove what has this name.
    The name may have gone to another file while this one was waited for: then that one is taken.
    Raises OSError. Closing the descriptor frees the lock.
    """
    told = False
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if not _try_lock(handle):
                if not told:
                    message(
                        f"another fetch, into another folder, works on {path}: waiting for its end"
                    )
                    told = True
                fcntl.flock(handle, fcntl.LOCK_EX)
            if _has_name(handle, path):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def remove_unused(path: Path, *beside: Path) -> None:
    """Remove a file that `open_alone` locks, and those that belong to it, unless it is in use."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        for each in beside:
            each.unlink(missing_ok=True)
        return
    try:
        if _try_lock(handle) and _has_name(handle, path):
            for each in (*beside, path):
                each.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _has_name(handle: int, path: Path) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(handle))
