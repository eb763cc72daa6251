"""Remembers which files were verified, so that gigabytes are not hashed at every start.

A stamp holds the SHA-256 of a file and what told it from another one before the first byte was
hashed and still after the last: size, times, inode and device. A file that still has those is
taken to have the hash. The time of the inode's last change cannot be put back by programs, so
whoever changes bytes and sets the modification time again is caught; a disk that loses bits is
not, and `verify --full` is for that.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from vace_weights.files import write_durably

STAMPS_NAME = ".vace-weights.stamps.json"
SCHEMA = 2


class Stamps:
    """The stamps of the files below one folder, kept in one small file.

    `path` may be elsewhere, for a models folder that is read-only. A store that cannot be read
    or written is not an error: the files are hashed again.
    """

    def __init__(self, folder: Path, path: Path | None = None) -> None:
        self._folder = folder
        self.path = path or folder / STAMPS_NAME
        self._rows: dict[str, dict[str, object]] = {}
        with contextlib.suppress(OSError, ValueError):
            document = json.loads(self.path.read_text(encoding="utf-8"))
            if isinstance(document, dict) and document.get("schema") == SCHEMA:
                rows = document.get("files")
                self._rows = rows if isinstance(rows, dict) else {}

    def sha256(self, path: Path) -> str | None:
        """The hash that the file had when it was verified; None when it changed since, or never."""
        row = self._rows.get(self._key(path))
        try:
            known = row is not None and row == _stamp(path.stat(), str(row["sha256"]))
        except (OSError, KeyError, TypeError):
            return None
        return str(row["sha256"]) if known and row is not None else None

    def remember(self, path: Path, sha256: str, status: os.stat_result) -> None:
        """Note that the file which had this status, from beginning to end, has this hash."""
        self._rows[self._key(path)] = _stamp(status, sha256)
        self._save()

    def forget(self, path: Path) -> None:
        """Drop the stamp of a file."""
        if self._rows.pop(self._key(path), None) is not None:
            self._save()

    def _key(self, path: Path) -> str:
        return os.path.relpath(path, self._folder)

    def _save(self) -> None:
        text = json.dumps({"schema": SCHEMA, "files": self._rows}, indent=1, sort_keys=True)
        with contextlib.suppress(OSError):
            write_durably(self.path, text.encode() + b"\n")


def identity(status: os.stat_result) -> dict[str, int]:
    """What tells a file from another one, and from itself after a change, without reading it.

    The time of the inode's last change is part of it, because layers that are built the same way
    give every file the same modification time. The device is not, where its number is handed out
    anew at each mount (major 0, as overlay mounts of containers have).
    """
    return {
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
        "inode": status.st_ino,
        "device": status.st_dev if os.major(status.st_dev) else 0,
    }


def _stamp(status: os.stat_result, sha256: str) -> dict[str, object]:
    return {**identity(status), "sha256": sha256}
