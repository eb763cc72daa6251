"""One fetch at a time in a folder."""

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
