"""Remembers which files were verified, so that gigabytes are not hashed at every start.

A stamp holds size, modification time, inode and SHA-256 of a file at the moment it was verified.
A file that still has the first three is taken to have the fourth. Whoever changes bytes and then
puts the time back is not caught; `verify --full` is for that.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from vace_weights.files import write_durably

STAMPS_NAME = ".vace-weights.stamps.json"
SCHEMA = 1


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
            known = row is not None and row == _stamp(path.stat(), str(row.get("sha256")))
        except OSError:
            return None
        return str(row["sha256"]) if known and row is not None else None

    def remember(self, path: Path, sha256: str) -> None:
        """Note that the file has this hash now."""
        self._rows[self._key(path)] = _stamp(path.stat(), sha256)
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


def _stamp(status: os.stat_result, sha256: str) -> dict[str, object]:
    return {
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "inode": status.st_ino,
        "sha256": sha256,
    }
