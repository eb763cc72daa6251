"""Errors of what a rehearsal is made of; the same as those of the builder of the images."""

from __future__ import annotations

from images.builder.errors import (
    ArtifactError,
    BuildFailedError,
    SourceMissingError,
    ToolMissingError,
)

__all__ = [
    "ArtifactError",
    "BuildFailedError",
    "SourceMissingError",
    "ToolMissingError",
]
