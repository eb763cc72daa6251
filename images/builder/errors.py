"""Errors of whatever is built here: images, and the root file systems of a rehearsal.

ArtifactError
├── ToolMissingError   a program that builds artifacts is not installed
├── BuildFailedError   a program ran and failed; carries the end of its output
├── SourceMissingError the repository lacks a file that an image is made of
├── DiskSpaceError     too little free space to begin
├── InputError         something that was given (override, weights, file) cannot be used
└── DownloadError      a locked wheel could not be had, or is not what the lock says
"""

from __future__ import annotations

from pathlib import Path

from images.errors import ImagesError


class ArtifactError(ImagesError):
    """Something that an image or a rehearsal is made of could not be produced."""


class ToolMissingError(ArtifactError):
    """A program is not on PATH."""

    def __init__(self, program: str, package: str, purpose: str) -> None:
        super().__init__(
            f"`{program}` is not installed; it is needed to {purpose}. "
            f"Install it: apt-get install --no-install-recommends {package}"
        )


class BuildFailedError(ArtifactError):
    """A build step ended with a failure."""

    def __init__(self, step: str, exit_code: int, log: Path, tail: str) -> None:
        super().__init__(
            f"{step}: exit status {exit_code}. Nothing was kept, so the next run starts afresh. "
            f"The whole output is in {log}; it ends with:\n{tail}"
        )
        self.step = step
        self.exit_code = exit_code
        self.log = log
        self.tail = tail


class SourceMissingError(ArtifactError):
    """A file that an image is made of is not in the repository."""

    def __init__(self, image: str, path: Path) -> None:
        super().__init__(
            f"image {image!r} cannot be built: {path} does not exist. "
            "It belongs to this repository; restore it with git."
        )


class DiskSpaceError(ArtifactError):
    """Too little free space; said before anything is written."""

    def __init__(self, folder: Path, what: str, needed_gib: float, free_gib: float) -> None:
        super().__init__(
            f"{folder} has {free_gib:.1f} GiB of free space; {what} needs up to "
            f"{needed_gib:.1f} GiB. Free some, or set XDG_CACHE_HOME to a folder with more space."
        )


class InputError(ArtifactError):
    """What was given for a build cannot be used."""


class DownloadError(ArtifactError):
    """A wheel of the lock could not be fetched, or its content is not the locked one."""
