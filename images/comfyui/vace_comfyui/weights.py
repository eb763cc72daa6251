"""Are the weights there, whole, and the ones of the manifest?

The size is looked at on every start. The hash is computed once for a file and a machine and then
remembered on the data disk (`vace_weights.stamps` says what stands for "the same file").
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from vace_weights.errors import ManifestError, UnstableFileError
from vace_weights.hashing import hash_file
from vace_weights.manifest import MANIFEST_NAME, Manifest, WeightFile, load
from vace_weights.progress import ConsoleProgress
from vace_weights.stamps import Stamps

from vace_comfyui.problems import Exit, Problem, say
from vace_comfyui.settings import Verify

STAMP = "weights.json"
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
    return _hashes(models, manifest, stamp, remedy, again=verify == "always")


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


def _hashes(models: Path, manifest: Manifest, stamp: Path, remedy: str, *, again: bool) -> Checked:
    names = {file.folder: file.name for file in manifest.files}
    known = Stamps(models, stamp)
    todo = [
        file
        for file in manifest.files
        if again or known.sha256(models / file.relative) != file.sha256
    ]
    if not todo:
        say(f"weights: {len(names)} files are as remembered in {stamp}; not hashed again")
        return Checked(names, ())
    with contextlib.suppress(OSError):
        stamp.parent.mkdir(parents=True, exist_ok=True)
    problems = []
    for file, found in zip(todo, _hash(models, todo), strict=True):
        path = models / file.relative
        if isinstance(found, Exception):
            known.forget(path)
            problems.append(_unreadable(path, found, remedy))
            continue
        digest, status = found
        if digest == file.sha256:
            known.remember(path, digest, status)
            continue
        known.forget(path)
        problems.append(
            Problem(
                Exit.WEIGHTS,
                str(path),
                f"sha256 {digest}",
                f"sha256 {file.sha256}",
                "the file has the right size but other bytes than the manifest names",
                remedy,
            )
        )
    if not problems and Stamps(models, stamp).sha256(models / todo[0].relative) is None:
        # The check of the folders says what is wrong with the disk; here it only costs time.
        say(f"weights: {stamp} cannot be written; the next start hashes again")
    return Checked(names, tuple(problems), len(todo))


_Found = tuple[str, os.stat_result] | OSError | UnstableFileError


def _hash(models: Path, files: Sequence[WeightFile]) -> list[_Found]:
    """Hash and status of each file, or why there is none.

    In threads: hashlib lets go of the interpreter's lock.
    """
    total = sum(file.size or 0 for file in files)
    say(f"weights: hashing {len(files)} files")
    with ConsoleProgress() as progress:
        progress.begin(total, 0)
        progress.file("vace-comfyui: weights", total)

        def one(file: WeightFile) -> _Found:
            try:
                return hash_file(models / file.relative, progress.advance)
            except (OSError, UnstableFileError) as error:
                return error

        with ThreadPoolExecutor(max_workers=min(len(files), os.cpu_count() or 1, 4)) as pool:
            return list(pool.map(one, files))


def _unreadable(path: Path, error: Exception, remedy: str) -> Problem:
    if isinstance(error, OSError):
        return Problem(
            Exit.WEIGHTS,
            str(path),
            f"an error while reading: {error.strerror}",
            "files that can be read to the end",
            "the hash is computed over every byte",
            "look at the disk's health and at the mount, then " + remedy,
        )
    return Problem(
        Exit.WEIGHTS,
        str(path),
        "a change of the file while it was hashed",
        "a file that stays as it is",
        "a hash of old and new bytes says nothing",
        "wait until whoever writes it is done, and start again",
    )
