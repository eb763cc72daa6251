"""The weights folder that goes into an image, checked against its manifest and the lock."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vace_weights.errors import ManifestError
from vace_weights.manifest import Manifest, WeightFile, load, parse

from images.builder.errors import InputError
from images.builder.progress import Progress, ProgressCallback
from images.builder.wheels import file_sha256
from images.lock import Lock

MANIFEST = "manifest.json"
_BYTES_PER_SECOND = 500e6


@dataclass(frozen=True)
class Models:
    """Weights in a folder.

    Attributes:
        folder: holds ``<folder>/<name>`` for each file.
        manifest: its complete manifest.
        files: what the manifest says.
        overridden: they are not those of the lock.
    """

    folder: Path
    manifest: Path
    files: tuple[WeightFile, ...]
    overridden: bool

    @property
    def names(self) -> list[str]:
        """Paths of the files, relative to the folder."""
        return [str(file.relative) for file in self.files]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size or 0 for file in self.files)

    @property
    def identity(self) -> str:
        """Hash of the manifest, which names every file's hash."""
        return hashlib.sha256(self.manifest.read_bytes()).hexdigest()

    def check(self, progress: ProgressCallback) -> None:
        """Hash every file. Raises InputError for the first that is not what the manifest says."""
        with Progress("checking weights", 1 + self.size / _BYTES_PER_SECOND, progress):
            for file in self.files:
                actual = file_sha256(self.folder / file.relative)
                if actual != file.sha256:
                    raise InputError(
                        f"{self.folder / file.relative}: the manifest says sha256 {file.sha256}, "
                        f"the file has {actual}. It was damaged or exchanged. Delete it and run "
                        f"`python -m vace_weights prepare --to {self.folder}` again."
                    )


def read_models(folder: Path, lock: Lock, *, allow_override: bool) -> Models:
    """Read a weights folder: manifest complete, files there with their sizes, as the lock says.

    Raises InputError when something is missing, or differs from the lock without
    ``allow_override``.
    """
    manifest = folder / MANIFEST
    prepare = f"python -m vace_weights prepare --to {folder}"
    try:
        given = load(manifest)
        given.require_complete(str(manifest))
    except ManifestError as error:
        raise InputError(
            f"--weights {folder}: {error} The folder must be as `{prepare}` leaves it."
        ) from error
    for file in given.files:
        path = folder / file.relative
        size = path.stat().st_size if path.is_file() else None
        if size != file.size:
            came = "it is missing" if size is None else f"it has {size}"
            raise InputError(
                f"{path}: the manifest says {file.size} bytes, but {came}. Only whole files go "
                f"into an image. Run `{prepare}` again."
            )
    other = differences(given, parse(lock.weights, "the lock's weights"))
    if other and not allow_override:
        raise InputError(
            f"--weights {folder} is not what the lock says: {'; '.join(other)}. Make the "
            f"folder anew with `{prepare}`, or add `--override weights` for a trial (the image "
            "then says that it is one)."
        )
    return Models(folder, manifest, given.files, bool(other))


def differences(given: Manifest, locked: Manifest) -> list[str]:
    """What a complete manifest has that the lock's has not, and the other way round."""
    wanted = {str(file.relative): file for file in locked.files}
    have = {str(file.relative): file for file in given.files}
    found = [f"{name} is missing" for name in sorted(set(wanted) - set(have))]
    found += [f"{name} is not in the lock" for name in sorted(set(have) - set(wanted))]
    for name in sorted(set(wanted) & set(have)):
        lock_file, file = wanted[name], have[name]
        if lock_file.sha256 is not None and lock_file.sha256 != file.sha256:
            found.append(f"{name} has sha256 {file.sha256}, the lock says {lock_file.sha256}")
        elif _origin(lock_file) != _origin(file):
            found.append(f"{name} was made from another file or by another converter")
    return found


def _origin(file: WeightFile) -> tuple[str, str] | None:
    if file.derived is None:
        return None
    return file.derived.converter, file.derived.source.sha256


class StoredFile(Protocol):
    """What is known of a file in an image."""

    @property
    def size(self) -> int:
        """In bytes."""

    @property
    def sha256(self) -> str:
        """Hash of its content in hex."""


def model_problems(models: Mapping[str, StoredFile], manifest: Manifest) -> Iterator[str]:
    """Every way in which an image's models are not those of its manifest.

    Args:
        models: the files below the models folder without the manifest itself, by relative path.
        manifest: the image's own, complete.
    """
    stated = {str(file.relative): file for file in manifest.files}
    for path in sorted(stated.keys() | models.keys()):
        found = models.get(path)
        if found is None:
            yield f"model {path} is in the manifest, but not in the image"
        elif path not in stated:
            yield f"model {path} is in the image, but not in its manifest"
        elif (found.size, found.sha256) != (stated[path].size, stated[path].sha256):
            yield (
                f"model {path} has {found.size} bytes with sha256 {found.sha256}; its manifest "
                f"says {stated[path].size} bytes with {stated[path].sha256}"
            )
