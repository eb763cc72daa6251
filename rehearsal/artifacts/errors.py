"""Errors of the artifact builder.

ArtifactError
├── ToolMissingError   a program that builds artifacts is not installed
├── BuildFailedError   a program ran and failed; carries the end of its output
└── SourceMissingError the repository lacks a file that an image is made of
"""

from __future__ import annotations

from pathlib import Path


class ArtifactError(Exception):
    """Something that the rehearsal is made of could not be produced."""


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
        self.exit_code = exit_code


class SourceMissingError(ArtifactError):
    """A file that an image is made of is not in the repository."""

    def __init__(self, image: str, path: Path) -> None:
        super().__init__(
            f"image {image!r} cannot be built: {path} does not exist. "
            "It belongs to this repository; restore it with git."
        )
