"""Runs build tools; shared with the builder of the images."""

from __future__ import annotations

from images.builder.process import (
    require,
    run_logged,
)

__all__ = [
    "require",
    "run_logged",
]
