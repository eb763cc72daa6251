"""Locked wheels on this machine: fetched once by pip, kept under their SHA-256.

A wheel lies at ``wheels/<sha256>/<filename>`` of the cache. It gets that name after its content
was hashed, so a name that exists is a wheel that is whole. pip is only the transport: which index
it asks, through which proxy and with which credentials is pip's own configuration.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from images.builder.cache import free_gib, remove_tree
from images.builder.errors import BuildFailedError, DiskSpaceError, DownloadError
from images.builder.process import run_logged
from images.builder.progress import Progress, ProgressCallback
from images.lock import Wheel

PYTHON_VERSION = "3.11"
_BATCH_BYTES = 128 << 20
_BATCH_WHEELS = 24
_CHUNK = 1 << 20
_ATTEMPTS = 3
_FIRST_WAIT_S = 2.0
_BYTES_PER_SECOND = 20e6  # for the first estimate only
_PARTIAL = "partial-"

Fetcher = Callable[[str, Sequence[Wheel], Path, Path], None]
"""Fetches wheels into a folder: step, wheels, folder, log."""


class WheelCache:
    """The wheels that were fetched so far.

    Args:
        root: folder of the cache, made when needed.
        fetch: how wheels are fetched; pip unless a test says otherwise.
        wait: called with seconds between two attempts.
    """

    def __init__(
        self,
        root: Path,
        *,
        fetch: Fetcher | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._root = root
        self._fetch = fetch or pip_download
        self._wait = wait

    def find(self, wheel: Wheel) -> Path | None:
        """The wheel's file, or None when it has to be fetched."""
        path = self._root / wheel.sha256 / wheel.filename
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size == wheel.size:
                return path
        return None

    def ensure(
        self, wheels: Sequence[Wheel], log: Path, progress: ProgressCallback
    ) -> dict[str, Path]:
        """Files of all these wheels, by SHA-256; those that are missing are fetched.

        Raises DownloadError when a wheel cannot be had after three attempts or is not the locked
        one, DiskSpaceError before the first byte.
        """
        missing = [wheel for wheel in wheels if self.find(wheel) is None]
        if missing:
            self._check_space(missing)
            done = 0
            total = sum(wheel.size for wheel in missing)
            for batch in batches(missing):
                size = sum(wheel.size for wheel in batch)
                what = (
                    f"fetching wheels {done / 1e6:.0f} of {total / 1e6:.0f} MB "
                    f"({_names(batch)}, {size / 1e6:.0f} MB)"
                )
                with Progress(what, 2 + size / _BYTES_PER_SECOND, progress):
                    self._fetch_batch(batch, log, progress)
                done += size
        found = {}
        for wheel in wheels:
            path = self.find(wheel)
            if path is None:
                raise DownloadError(
                    f"{wheel.filename} was fetched but is not in {self._root}. Another program "
                    "empties that folder; stop it and build again."
                )
            found[wheel.sha256] = path
        return found

    def _fetch_batch(self, batch: Sequence[Wheel], log: Path, progress: ProgressCallback) -> None:
        wanted = list(batch)
        for attempt in range(1, _ATTEMPTS + 1):
            with self._partial() as folder:
                failure: BuildFailedError | None = None
                try:
                    self._fetch(f"fetching {_names(wanted)}", wanted, folder, log)
                except BuildFailedError as error:
                    failure = error
                for wheel in wanted:
                    self._take(wheel, folder)
                wanted = [wheel for wheel in wanted if self.find(wheel) is None]
            if not wanted:
                return
            if attempt == _ATTEMPTS:
                raise DownloadError(
                    f"{_names(wanted)}: not fetched in {_ATTEMPTS} attempts. The lock names these "
                    "files by hash, so no other version will do. Check the index that pip uses "
                    "(`python -m pip config list`, PIP_INDEX_URL) and the network, then build "
                    f"again; what was fetched is kept. {failure or ''}"
                )
            seconds = _FIRST_WAIT_S * 2 ** (attempt - 1)
            progress(f"{_names(wanted)}: attempt {attempt} failed, again in {seconds:.0f} s")
            self._wait(seconds)

    def _take(self, wheel: Wheel, folder: Path) -> None:
        path = folder / wheel.filename
        if not path.is_file():
            return
        actual = file_sha256(path)
        if actual != wheel.sha256:
            raise DownloadError(
                f"{wheel.filename}: the lock says sha256 {wheel.sha256}, but what came has "
                f"{actual} ({path.stat().st_size} bytes, {wheel.size} expected). The index or "
                "something between exchanged it; nothing was kept. Use another index, or find out "
                "who changed the file before you resolve the lock again."
            )
        path.chmod(0o644)
        os.utime(path, (0, 0))
        shelf = self._root / wheel.sha256
        shelf.mkdir(parents=True, exist_ok=True)
        path.replace(shelf / wheel.filename)

    @contextlib.contextmanager
    def _partial(self) -> Iterator[Path]:
        """A folder beside the results; also removes what a killed run left a day ago."""
        self._root.mkdir(parents=True, exist_ok=True)
        for leftover in self._root.glob(f"{_PARTIAL}*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - leftover.stat().st_mtime > 86400:
                    remove_tree(leftover)
        folder = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self._root))
        try:
            yield folder
        finally:
            remove_tree(folder)

    def _check_space(self, missing: Sequence[Wheel]) -> None:
        # pip unpacks nothing, but holds a file twice while it moves it into its own cache.
        needed = 2 * sum(wheel.size for wheel in missing) / 2**30
        if free_gib(self._root) < needed:
            what = f"fetching {len(missing)} wheels"
            raise DiskSpaceError(self._root, what, needed, free_gib(self._root))


def batches(wheels: Sequence[Wheel]) -> list[list[Wheel]]:
    """Wheels in groups that are worth one run of pip: small ones together, big ones alone."""
    result: list[list[Wheel]] = []
    room = 0
    for wheel in sorted(wheels, key=lambda each: (each.size, each.filename)):
        if not result or wheel.size > room or len(result[-1]) >= _BATCH_WHEELS:
            result.append([])
            room = _BATCH_BYTES
        result[-1].append(wheel)
        room -= wheel.size
    return result


def pip_download(step: str, wheels: Sequence[Wheel], folder: Path, log: Path) -> None:
    """Fetch wheels with pip, for the image's Python and not for this machine's."""
    requirements = folder / "requirements.txt"
    requirements.write_text("".join(f"{wheel.requirement}\n" for wheel in wheels))
    run_logged(
        step,
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"),
            *("--disable-pip-version-check", "--progress-bar", "off", "--require-hashes"),
            *("--only-binary", ":all:", "--python-version", PYTHON_VERSION),
            *("--implementation", "cp", "--abi", "cp311", "--abi", "abi3", "--abi", "none"),
            *(f"--platform={tag}" for tag in platform_tags(wheels)),
            *("--dest", str(folder), "--requirement", str(requirements)),
        ],
        log,
        # Big files are unfinished there first; the system's own folder may be a small tmpfs.
        env={"TMPDIR": str(folder)},
    )


def platform_tags(wheels: Sequence[Wheel]) -> list[str]:
    """Platform tags in the names of these wheels; ``any`` is understood without being named."""
    tags: set[str] = set()
    for wheel in wheels:
        tags.update(wheel.filename.removesuffix(".whl").rpartition("-")[2].split("."))
    return sorted(tags - {"any"}) or ["manylinux2014_x86_64"]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _names(wheels: Sequence[Wheel]) -> str:
    names = [f"{wheel.name} {wheel.version}" for wheel in wheels[:3]]
    more = len(wheels) - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")
