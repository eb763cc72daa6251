"""A folder of build results, each named by the hash of everything that it was made from.

An entry is built under a temporary name and renamed when it is complete, so whatever carries its
final name is whole: a build that is interrupted, even by SIGKILL, leaves nothing that could be
taken for a result. A lock file for each name keeps two runs from building the same thing.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from images.builder.errors import ArtifactError
from images.builder.progress import Progress, ProgressCallback

KEY_LENGTH = 16
_MANIFEST = "artifact.json"


def default_cache_folder() -> Path:
    """``$XDG_CACHE_HOME/wan-vace``, or ``~/.cache/wan-vace``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "wan-vace"


def content_key(recipe: Mapping[str, object], files: Mapping[str, Path]) -> str:
    """Hash of a recipe and of the files that go into it.

    ``files`` maps the name that a file has inside the artifact to the file; its content and
    whether it is executable count, its time and owner do not.
    """
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode())
    for name in sorted(files):
        path = files[name]
        executable = bool(path.stat().st_mode & 0o100)
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"\0{name}\0{executable}\0{content}".encode())
    return digest.hexdigest()[:KEY_LENGTH]


def remove_tree(path: Path) -> None:
    """Delete a folder, never what is mounted below it."""
    subprocess.run(["rm", "-rf", "--one-file-system", "--", str(path)], check=True)


@dataclass(frozen=True)
class Entry:
    """One finished artifact in the cache."""

    name: str
    key: str
    path: Path
    seconds: float
    built_at: float
    """Seconds since the epoch."""


class Cache:
    """Build results below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, name: str, key: str) -> Path | None:
        """Folder of the finished artifact, or None when it has to be built."""
        path = self.root / "artifacts" / name / key
        return path if (path / _MANIFEST).is_file() else None

    def ensure(
        self,
        name: str,
        key: str,
        build: Callable[[Path, Path], None],
        *,
        what: str,
        estimate_s: float,
        progress: ProgressCallback,
    ) -> Path:
        """Folder of the artifact, built now if it is missing.

        ``build(folder, log)`` fills an empty folder and appends the output of its tools to
        ``log``. ``what`` is the start of the progress sentence. Raises whatever ``build`` raises,
        after removing what it left.
        """
        if found := self.find(name, key):
            return found
        with self.locked(name, what, progress):
            # Somebody else may have built it while this run waited for the lock.
            if found := self.find(name, key):
                return found
            shelf = self.root / "artifacts" / name
            for leftover in shelf.glob(".building-*"):
                remove_tree(leftover)
            staging = shelf / f".building-{key}"
            log = self.root / "logs" / f"{name}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_bytes(b"")
            staging.mkdir(parents=True)
            try:
                with Progress(what, self._last_duration(name) or estimate_s, progress) as timer:
                    build(staging, log)
                manifest = {
                    "name": name,
                    "key": key,
                    "seconds": round(timer.elapsed_s, 1),
                    "built_at": time.time(),
                }
                (staging / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
                final = shelf / key
                if final.exists():
                    remove_tree(final)
                staging.rename(final)
            except BaseException:
                remove_tree(staging)
                raise
        return final

    def entries(self) -> list[Entry]:
        """All finished artifacts, newest first."""
        found = []
        for manifest in self.root.glob(f"artifacts/*/*/{_MANIFEST}"):
            if manifest.parent.name.startswith("."):
                continue
            row = json.loads(manifest.read_text())
            found.append(
                Entry(row["name"], row["key"], manifest.parent, row["seconds"], row["built_at"])
            )
        return sorted(found, key=lambda entry: -entry.built_at)

    def remove(self, entry: Entry) -> None:
        """Delete one artifact. Raises ArtifactError while a machine runs on it."""
        if str(entry.path) in Path("/proc/self/mountinfo").read_text():
            raise ArtifactError(
                f"{entry.name} {entry.key} is mounted: a machine of a rehearsal runs on it. "
                "End the rehearsal, or run `python -m rehearsal.machine clean --all`, then retry."
            )
        # The name goes first, so that a half-deleted folder is never taken for an artifact.
        doomed = entry.path.with_name(f".building-{entry.key}-removed")
        with self.locked(entry.name, f"removing {entry.name}", lambda _: None):
            entry.path.rename(doomed)
            remove_tree(doomed)

    def _last_duration(self, name: str) -> float | None:
        same = [entry for entry in self.entries() if entry.name == name]
        return same[0].seconds if same else None

    @contextlib.contextmanager
    def locked(self, name: str, what: str, progress: ProgressCallback) -> Iterator[None]:
        """Hold the lock of this name; tells that it waits while another run has it."""
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{name}.lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with Progress(f"{what}: waiting for another run that builds it", 60, progress):
                    fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def free_gib(path: Path) -> float:
    """Free space in GiB of the file system that holds ``path`` or its nearest existing parent."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free / 2**30
