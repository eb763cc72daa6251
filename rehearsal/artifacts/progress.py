"""Tells the user about slow builds; shared with the builder of the images."""

from __future__ import annotations

from images.builder.progress import (
    INTERVAL_S,
    Progress,
    ProgressCallback,
    describe,
)

__all__ = [
    "INTERVAL_S",
    "Progress",
    "ProgressCallback",
    "describe",
]
