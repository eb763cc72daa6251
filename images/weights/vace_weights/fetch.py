"""Brings files whole and verified into a folder.

First everything is decided (what is there, what is missing, whether the disk holds it), then it
is done. A file is collected beside its place, hashed while it arrives, synced, and only then gets
its final name: under that name there is never anything but the whole, verified file, unless
somebody else put it there, and then it is hashed before it is believed.

Bytes are kept across sources and across runs together with who gave them. When the finished file
has a wrong hash and one source gave all of it, that source is named and left out; when several
did, or an earlier run whose bytes a crash may have spoilt, the file is fetched again from one
source at a time, so that the next wrong hash has a name.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vace_weights.connection import Asked
from vace_weights.errors import (
    AllSourcesFailedError,
    ChangedFileError,
    DiskSpaceError,
    FolderError,
    SourceError,
    WrongBytesError,
)
from vace_weights.files import readable_bytes
from vace_weights.hashing import FrontHasher, hash_file
from vace_weights.journal import SLOT_BYTES
from vace_weights.local import copy_local
from vace_weights.lock import locked
from vace_weights.manifest import SourceFile
from vace_weights.part import PartFile, part_paths, remove_part
from vace_weights.progress import NoProgress, Progress
from vace_weights.sources import Place
from vace_weights.stamps import Stamps
from vace_weights.transfer import Transfer, TransferOptions

_OVERHEAD_BYTES = 2 * SLOT_BYTES + 64 * 1024
"""Room a file takes besides its bytes while it is fetched: its state and the file system's own."""


@dataclass(frozen=True)
class Target:
    """A file to have at `path`, and the places to get it from, in order."""

    file: SourceFile
    path: Path
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Fetched:
    """A file that is there now. `source` is "" when it was there before."""

    path: Path
    size: int
    sha256: str
    source: str


def fetch(
    targets: Sequence[Target],
    folder: Path,
    *,
    options: TransferOptions | None = None,
    progress: Progress | None = None,
    stamps: Stamps | None = None,
) -> list[Fetched]:
    """Have every target whole and verified; `folder` is locked meanwhile.

    A target may be outside of it, and another fetch, into another folder, may want the same: each
    is locked by itself while it is collected, and then found to be there by the other one.

    Raises a FetchError: AllSourcesFailedError, DiskSpaceError, FolderError, or UnstableFileError
    for a file that is there and is being changed by somebody else. Files that were
    finished before it stay; what arrived of the others is kept for the next run.
    """
    told = progress or NoProgress()
    with locked(folder, told.message):
        return fetch_locked(targets, folder, options=options, progress=told, stamps=stamps)


def fetch_locked(
    targets: Sequence[Target],
    folder: Path,
    *,
    options: TransferOptions | None = None,
    progress: Progress,
    stamps: Stamps | None = None,
) -> list[Fetched]:
    """`fetch` for a caller that holds the folder's lock already."""
    known = stamps or Stamps(folder)
    done: dict[Path, Fetched] = {}
    for target in targets:
        if is_verified(target.path, target.file, known, progress):
            remove_part(target.path)
            done[target.path] = Fetched(target.path, target.file.size, target.file.sha256, "")
    missing = [target for target in targets if target.path not in done]
    for target in missing:
        _make_folder(target.path.parent)
    check_room(missing)
    progress.begin(
        sum(target.file.size for target in missing), sum(_present(t.path) for t in missing)
    )
    for target in missing:
        done[target.path] = _FileFetch(target, options or TransferOptions(), known, progress).run()
    return [done[target.path] for target in targets]


def is_verified(path: Path, file: SourceFile, stamps: Stamps, progress: Progress) -> bool:
    """Whether the file is there and right: by its stamp, or by hashing it once."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return False
    if size == file.size:
        digest = stamps.sha256(path)
        if digest is None:
            progress.begin(file.size, 0)
            progress.file(f"checking {path.name}, which was there already", file.size)
            digest, status = hash_file(path, progress.advance)
            if digest == file.sha256:
                stamps.remember(path, digest, status)
        if digest == file.sha256:
            return True
        came = f"SHA-256 {digest}"
    else:
        came = f"{size} bytes"
    stamps.forget(path)
    progress.message(
        f"{path} is not the expected file: expected {file.size} bytes with SHA-256 {file.sha256}, "
        f"found {came}. It is fetched again and replaced."
    )
    return False


def check_room(targets: Iterable[Target]) -> None:
    """Raise DiskSpaceError when the disks cannot hold all of these files together."""
    needed: dict[int, int] = {}
    folders: dict[int, Path] = {}
    for target in targets:
        folder = target.path.parent
        device = folder.stat().st_dev
        folders.setdefault(device, folder)
        rest = max(0, target.file.size - _present(target.path)) + _OVERHEAD_BYTES
        needed[device] = needed.get(device, 0) + rest
    for device, count in needed.items():
        disk = os.statvfs(folders[device])
        free = disk.f_bavail * disk.f_frsize
        if free < count:
            raise DiskSpaceError(
                f"the disk of {folders[device]} has {readable_bytes(free)} free, but "
                f"{readable_bytes(count)} are still to come (all files together, without what is "
                f"there already). Free at least {readable_bytes(count - free)}, or name a folder "
                "on a larger disk with --to. Nothing was fetched."
            )


class _FileFetch:
    """Fetches one file: sources in order, verification, blame."""

    def __init__(
        self, target: Target, options: TransferOptions, stamps: Stamps, progress: Progress
    ) -> None:
        self._stamps = stamps
        self._file = target.file
        self._path = target.path
        self._places = target.places
        self._options = options
        self._progress = progress
        self._errors: list[SourceError] = []
        self._rejected = _which(self._path)

    def run(self) -> Fetched:
        self._progress.file(self._path.name, self._file.size)
        with PartFile(
            self._path, self._file.size, self._file.sha256, self._progress.message
        ) as part:
            if _which(self._path) != self._rejected and is_verified(
                self._path, self._file, self._stamps, self._progress
            ):
                # Another fetch brought it while this one waited for the part file.
                part.discard()
                return Fetched(self._path, self._file.size, self._file.sha256, "")
            if part.resumed:
                self._progress.message(
                    f"{self._path.name}: {readable_bytes(part.resumed)} are there from an earlier "
                    "run; going on from there"
                )
            return self._collect(part)

    def _collect(self, part: PartFile) -> Fetched:
        pending = deque(self._places)
        alone = False
        hasher = FrontHasher(part)
        try:
            while True:
                if part.missing_total == 0:
                    digest = hasher.result()
                    if digest == self._file.sha256:
                        source = ", ".join(part.sources)
                        self._stamps.remember(self._path, digest, part.finish())
                        return Fetched(self._path, self._file.size, digest, source)
                    blamed = part.sources
                    unclear = not alone and (len(blamed) > 1 or part.resumed > 0)
                    self._blame(blamed, digest, unclear=unclear)
                    hasher = self._restart(hasher, part, drop=None)
                    if unclear:
                        alone, pending = True, deque(self._places)
                    else:
                        pending = deque(p for p in pending if p.label not in blamed)
                elif not pending:
                    raise AllSourcesFailedError(self._file.name, self._errors)
                else:
                    place = pending.popleft()
                    if alone and part.sources:
                        hasher = self._restart(hasher, part, drop=None)
                    hasher = self._try(part, place, hasher)
        finally:
            hasher.stop()

    def _try(self, part: PartFile, place: Place, hasher: FrontHasher) -> FrontHasher:
        asked = Asked(self._file.name, place.label)
        try:
            if place.path is not None:
                copy_local(part, place, asked, self._progress.advance)
            else:
                Transfer(
                    part,
                    place,
                    asked,
                    sha256=self._file.sha256,
                    options=self._options,
                    hasher=hasher,
                    advance=self._progress.advance,
                    message=self._progress.message,
                ).run()
        except SourceError as error:
            self._errors.append(error)
            self._progress.message(str(error))
            if isinstance(error, ChangedFileError):
                # Old and new bytes are mixed in what it gave.
                return self._restart(hasher, part, drop=place.label)
        return hasher

    def _blame(self, blamed: Sequence[str], digest: str, *, unclear: bool) -> None:
        error = WrongBytesError(
            file=self._file.name,
            source=" and ".join(blamed),
            expected=f"SHA-256 {self._file.sha256}",
            came=f"SHA-256 {digest} over all {self._file.size} bytes",
            advice=(
                "Several sources or an earlier run gave these bytes, so it is not clear where the "
                "wrong ones came from: all are dropped and the file is fetched again, from one "
                "source at a time."
                if unclear
                else "This source gave wrong bytes: they are dropped and the next source is tried."
            ),
        )
        self._errors.append(error)
        self._progress.message(str(error))

    def _restart(self, hasher: FrontHasher, part: PartFile, *, drop: str | None) -> FrontHasher:
        """Drop what one source gave (None: everything) and hash from the first byte again."""
        hasher.stop()
        before = part.missing_total
        if drop is None:
            part.drop_all()
        else:
            part.drop(drop)
        self._progress.advance(before - part.missing_total)
        return FrontHasher(part)


def _which(path: Path) -> tuple[int, int, int] | None:
    """What tells the file that has this name now from a later one; None: there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns


def _present(path: Path) -> int:
    """Bytes of an unfinished file that already take room on the disk."""
    try:
        status = part_paths(path)[0].stat()
    except FileNotFoundError:
        return 0
    return min(status.st_size, status.st_blocks * 512)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderError(
            f"{folder} cannot be made: {error.strerror}. Name a folder that this user may write "
            "with --to, or correct its owner."
        ) from error
