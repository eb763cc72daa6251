"""Are the weights there, whole, and the ones of the manifest?

The size is looked at on every start. The hash is computed once for a file and a machine and then
remembered in a stamp on the data disk: size, times, inode and device stand for "the same file".
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from vace_weights.errors import ManifestError
from vace_weights.manifest import MANIFEST_NAME, Manifest, WeightFile, load

from vace_comfyui.problems import Exit, Problem, say
from vace_comfyui.settings import Verify

STAMP = "weights.json"
SCHEMA = 1
CHUNK_BYTES = 8 * 1024 * 1024
PROGRESS_SECONDS = 5.0
_REMEDY = "run `vace-weights prepare --to {models}`, or mount a folder that it has filled"


@dataclass(frozen=True)
class Checked:
    """What the check did: names by model folder, problems, and how many files were hashed."""

    names: dict[str, str]
    problems: tuple[Problem, ...]
    hashed: int = 0


def check(models: Path, stamp: Path, verify: Verify) -> Checked:
    """Compare the models folder with its manifest. Never raises; problems are in the result."""
    path = models / MANIFEST_NAME
    remedy = _REMEDY.format(models=models)
    try:
        manifest = load(path)
        manifest.require_complete(str(path))
    except ManifestError as error:
        problem = Problem(
            Exit.WEIGHTS,
            str(path),
            "; ".join(error.problems),
            "a complete manifest: size and sha256 of every file",
            "weights that nothing vouches for are not served",
            remedy,
        )
        return Checked({}, (problem,))
    names = {file.folder: file.name for file in manifest.files}
    sizes = [_size_problem(models / file.relative, file, remedy) for file in manifest.files]
    problems = [wrong for wrong in sizes if wrong is not None]
    if problems or verify == "size":
        return Checked(names, tuple(problems))
    remembered = {} if verify == "always" else _remembered(stamp, path)
    return _hashes(models, manifest, remembered, stamp, remedy)


def identity(path: Path) -> dict[str, int]:
    """What tells one file from another without reading it.

    The time of the last change of the inode is part of it, because layers that are built the same
    way give every file the same modification time. The device is not, where its number is handed
    out anew at each mount (major 0, as overlay mounts of containers have).
    """
    stat = path.stat()
    device = stat.st_dev if os.major(stat.st_dev) else 0
    return {
        "size": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "ctime_ns": stat.st_ctime_ns,
        "inode": stat.st_ino,
        "device": device,
    }


def _size_problem(path: Path, file: WeightFile, remedy: str) -> Problem | None:
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except OSError as error:
        given = f"{error.strerror}"
    else:
        if size == file.size:
            return None
        given = f"{size} bytes"
    return Problem(
        Exit.WEIGHTS,
        str(path),
        given,
        f"a readable file of {file.size} bytes",
        "a model that is missing or cut off fails in the middle of the first video",
        remedy,
    )


def _hashes(
    models: Path,
    manifest: Manifest,
    remembered: dict[str, object],
    stamp: Path,
    remedy: str,
) -> Checked:
    names = {file.folder: file.name for file in manifest.files}
    wanted = {str(file.relative): file for file in manifest.files}
    identities = {name: identity(models / name) for name in wanted}
    todo = [
        name
        for name, file in wanted.items()
        if remembered.get(name) != {**identities[name], "sha256": file.sha256}
    ]
    if not todo:
        say(f"weights: {len(wanted)} files are as remembered in {stamp}; not hashed again")
        return Checked(names, ())
    try:
        found = hash_files({name: models / name for name in todo})
    except OSError as error:
        reading = Problem(
            Exit.WEIGHTS,
            str(error.filename or models),
            f"an error while reading: {error.strerror}",
            "files that can be read to the end",
            "the hash is computed over every byte",
            "look at the disk's health and at the mount, then " + remedy,
        )
        return Checked(names, (reading,), len(todo))
    problems = [
        Problem(
            Exit.WEIGHTS,
            str(models / name),
            f"sha256 {digest}",
            f"sha256 {wanted[name].sha256}",
            "the file has the right size but other bytes than the manifest names",
            remedy,
        )
        for name, digest in found.items()
        if digest != wanted[name].sha256
    ]
    if not problems:
        rows = {name: {**identities[name], "sha256": file.sha256} for name, file in wanted.items()}
        _remember(stamp, models / MANIFEST_NAME, rows)
    return Checked(names, tuple(problems), len(todo))


def hash_files(
    paths: dict[str, Path],
    *,
    tell: Callable[[str], None] = say,
    progress_seconds: float = PROGRESS_SECONDS,
) -> dict[str, str]:
    """SHA-256 of several files at once, in threads (hashlib lets go of the interpreter's lock).

    Raises:
        OSError: a file cannot be read.
    """
    sizes = [path.stat().st_size for path in paths.values()]
    meter = _Meter(sum(sizes), tell, progress_seconds)
    tell(f"weights: hashing {len(paths)} files, {sum(sizes) / 1e9:.2f} GB")
    with ThreadPoolExecutor(max_workers=min(len(paths), os.cpu_count() or 1, 4)) as pool:
        digests = list(pool.map(lambda path: _hash(path, meter), paths.values()))
    meter.end()
    return dict(zip(paths, digests, strict=True))


class _Meter:
    """Bytes so far, told now and then."""

    def __init__(self, total: int, tell: Callable[[str], None], every: float) -> None:
        self._total, self._tell, self._every = total, tell, every
        self._done, self._lock = 0, threading.Lock()
        self._started = self._told = time.monotonic()

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._told < self._every:
                return
            self._told = now
            rate = self._done / (now - self._started)
            self._tell(
                f"weights: {self._done / 1e9:.1f} of {self._total / 1e9:.1f} GB hashed, "
                f"{rate / 1e9:.2f} GB/s, {(self._total - self._done) / rate:.0f} s left"
            )

    def end(self) -> None:
        seconds = time.monotonic() - self._started
        self._tell(f"weights: hashed in {seconds:.1f} s")


def _hash(path: Path, meter: _Meter) -> str:
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(CHUNK_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            meter.add(count)
    return digest.hexdigest()


def _manifest_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _remembered(stamp: Path, manifest: Path) -> dict[str, object]:
    """Rows of the stamp; nothing when it is absent, damaged or of another manifest."""
    try:
        document = json.loads(stamp.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA or document["manifest_sha256"] != _manifest_hash(manifest):
            return {}
        files = document["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return files if isinstance(files, dict) else {}


def _remember(stamp: Path, manifest: Path, rows: dict[str, dict[str, int | str | None]]) -> None:
    document = {"schema": SCHEMA, "manifest_sha256": _manifest_hash(manifest), "files": rows}
    temporary = stamp.with_suffix(f".{os.getpid()}.tmp")
    try:
        stamp.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        temporary.replace(stamp)
    except OSError as error:
        # The check of the folders says what is wrong with the disk; here it only costs time.
        say(f"weights: {stamp} cannot be written ({error.strerror}); the next start hashes again")
