"""Checks the files of a models folder against a complete manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vace_weights.errors import UnstableFileError, VerificationError
from vace_weights.files import readable_bytes
from vace_weights.hashing import hash_file
from vace_weights.manifest import Manifest, WeightFile
from vace_weights.progress import NoProgress, Progress
from vace_weights.stamps import Stamps


@dataclass(frozen=True)
class Finding:
    """What was found of one file. `problem` is "" when it is right; `hashed`: read whole now."""

    path: Path
    problem: str
    hashed: bool


def inspect(
    manifest: Manifest,
    folder: Path,
    *,
    full: bool = False,
    stamps: Stamps | None = None,
    progress: Progress | None = None,
) -> list[Finding]:
    """Look at every file: its size always, its hash when `full` or when it has no valid stamp.

    Raises ManifestError for a manifest with nulls; what is wrong with a file is in its finding.
    """
    manifest.require_complete(str(folder))
    known = stamps or Stamps(folder)
    told = progress or NoProgress()
    found = []
    for file in manifest.files:
        path = folder / file.relative
        digest = None if full else known.sha256(path)
        found.append(_inspect(file, path, digest, known, told))
    return found


def verify(
    manifest: Manifest,
    folder: Path,
    *,
    full: bool = False,
    stamps: Stamps | None = None,
    progress: Progress | None = None,
) -> list[Finding]:
    """`inspect`, raising VerificationError that lists every file that is not right."""
    found = inspect(manifest, folder, full=full, stamps=stamps, progress=progress)
    problems = [f"{finding.path}: {finding.problem}" for finding in found if finding.problem]
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        raise VerificationError(
            f"{folder} does not hold the weights of the manifest:{lines}\n"
            "Run `python -m vace_weights prepare --to DIR`: it replaces what is wrong and fetches "
            "what is missing."
        )
    return found


def _inspect(
    file: WeightFile, path: Path, digest: str | None, stamps: Stamps, progress: Progress
) -> Finding:
    try:
        size = path.stat().st_size
        if size != file.size:
            stamps.forget(path)
            return Finding(path, f"expected {file.size} bytes, found {size} bytes", hashed=False)
        hashed = digest is None
        if digest is None:
            progress.begin(size, 0)
            progress.file(f"hashing {path.name} ({readable_bytes(size)})", size)
            digest, status = hash_file(path, progress.advance)
            if digest == file.sha256:
                stamps.remember(path, digest, status)
    except UnstableFileError:
        stamps.forget(path)
        problem = "was changed while it was being hashed; wait for its writer and verify again"
        return Finding(path, problem, hashed=True)
    except OSError as error:
        return Finding(path, f"cannot be read: {error.strerror}", hashed=False)
    if digest != file.sha256:
        stamps.forget(path)
        return Finding(path, f"expected SHA-256 {file.sha256}, found {digest}", hashed=hashed)
    return Finding(path, "", hashed=hashed)
