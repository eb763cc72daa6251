"""The cache of finished tools: found by what they were made from, installed all or nothing.

An entry is a folder `<name>-<key>` whose key is a hash over everything that went into it. It is
filled under a temporary name and renamed when complete, so an interrupted run leaves nothing that
looks finished. Its stamp lists the size and modification time of every file: enough to notice a
damaged entry in a millisecond, where hashing 300 MB again would take seconds at every start.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

STAMP = "stamp.json"
USED = ".last-used"
KEEP_UNUSED_DAYS = 30


def cache_root(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of this project's tools, below the user's cache (XDG Base Directory)."""
    configured = environ.get("XDG_CACHE_HOME", "")
    # The specification says that a relative path is to be ignored.
    base = Path(configured) if configured.startswith("/") else Path.home() / ".cache"
    return base / "wan-vace" / "toolchain"


def content_key(parts: Mapping[str, bytes | str]) -> str:
    """16 hexadecimal digits that change when the name or content of any part changes."""
    digest = hashlib.sha256()
    for name, content in sorted(parts.items()):
        data = content.encode() if isinstance(content, str) else content
        # Lengths keep ("ab", "c") and ("a", "bc") apart.
        digest.update(f"{len(name)}:{name}:{len(data)}:".encode())
        digest.update(data)
    return digest.hexdigest()[:16]


def folder_parts(folder: Path, patterns: tuple[str, ...]) -> dict[str, bytes]:
    """The files directly in `folder` that match, as parts for `content_key`."""
    return {
        path.name: path.read_bytes()
        for pattern in patterns
        for path in sorted(folder.glob(pattern))
        if path.is_file()
    }


@dataclass(frozen=True)
class Entry:
    """One finished tool in the cache."""

    name: str
    key: str
    path: Path
    origin: str
    seconds: float


class Store:
    """The cache folder; safe for several processes and threads at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, name: str, key: str) -> Entry | None:
        """The entry, or None where it is missing or a file of it has changed."""
        path = self._folder(name, key)
        try:
            stamp = json.loads((path / STAMP).read_text())
            intact = all(
                [size, modified] == _size_and_time(path / relative)
                for relative, (size, modified) in stamp["files"].items()
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not intact:
            return None
        with contextlib.suppress(OSError):
            (path / USED).touch()
        return Entry(name, key, path, str(stamp["origin"]), float(stamp["seconds"]))

    @contextlib.contextmanager
    def lock(self, name: str, waiting: Callable[[str], None]) -> Iterator[None]:
        """Holds the only right to install `name`; says so once if another run has it now."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / f"{name}.lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                waiting(f"waiting for another run (process {holder}) that provides {name}")
                fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            file.truncate()
            file.write(str(os.getpid()))
            file.flush()
            # Closing the file releases the lock, also when the process is killed.
            yield

    def install(self, name: str, key: str, origin: str, make: Callable[[Path], None]) -> Entry:
        """Lets `make` fill an empty folder and makes it the entry. Call it with the lock held.

        Whatever `make` raises passes through, and nothing is kept then.
        """
        final = self._folder(name, key)
        for leftover in self.root.glob(f"{name}-*.partial"):
            _remove(leftover)
        partial = final.with_name(final.name + ".partial")
        partial.mkdir(parents=True)
        started = time.monotonic()
        try:
            make(partial)
            seconds = round(time.monotonic() - started, 1)
            files = {
                str(path.relative_to(partial)): _size_and_time(path)
                for path in sorted(partial.rglob("*"))
                if path.is_file()
            }
            stamp = {"origin": origin, "seconds": seconds, "files": files}
            (partial / STAMP).write_text(json.dumps(stamp, indent=1) + "\n")
            _remove(final)
            partial.rename(final)
        except BaseException:
            _remove(partial)
            raise
        self._remove_unused(name)
        return Entry(name, key, final, origin, seconds)

    def seconds(self, name: str, typical: float) -> float:
        """How long `name` took on this machine when it last was made, else `typical`."""
        try:
            recorded = json.loads((self.root / "seconds.json").read_text())
            return float(recorded[name])
        except (OSError, ValueError, KeyError, TypeError):
            return typical

    def record_seconds(self, name: str, seconds: float, typical: float) -> None:
        """Remembers a duration for the next estimate.

        A fraction of the typical time means that Go's own cache was warm, which says nothing
        about the next cold build, so it is not kept.
        """
        if seconds < typical / 4:
            return
        path = self.root / "seconds.json"
        try:
            recorded = json.loads(path.read_text())
        except (OSError, ValueError):
            recorded = {}
        recorded[name] = round(seconds, 1)
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        temporary.write_text(json.dumps(recorded) + "\n")
        temporary.replace(path)

    def _folder(self, name: str, key: str) -> Path:
        return self.root / f"{name}-{key}"

    def _remove_unused(self, name: str) -> None:
        oldest = time.time() - KEEP_UNUSED_DAYS * 86400
        # The key has 16 digits, so that `alicloud-` does not match `alicloud-fast-...`.
        for path in self.root.glob(f"{name}-{'[0-9a-f]' * 16}"):
            used = path / USED
            marker = used if used.exists() else path / STAMP
            if marker.exists() and marker.stat().st_mtime < oldest:
                _remove(path)


def _size_and_time(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _remove(path: Path) -> None:
    """Deletes a folder, also one with write-protected parts such as copied Go modules."""
    if not path.exists():
        return
    for folder in [path, *(p for p in path.rglob("*") if p.is_dir() and not p.is_symlink())]:
        folder.chmod(folder.stat().st_mode | stat.S_IRWXU)
    shutil.rmtree(path)
