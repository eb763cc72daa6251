"""Counters in the names of output files."""

from __future__ import annotations

import re
from pathlib import Path


def next_counter(folder: Path, stem: str) -> int:
    """Next number for ComfyUI's own names, ``stem_00001_.png``."""
    return _highest(folder, re.compile(rf"{re.escape(stem)}_(\d+)_.*", re.IGNORECASE)) + 1


def next_helper_counter(folder: Path, stem: str) -> int:
    """Next number for VideoHelperSuite's names, ``stem_00001.mp4`` and ``stem_00001-audio.mp4``."""
    pattern = re.compile(rf"{re.escape(stem)}_(\d+)\D*\..+", re.IGNORECASE)
    return _highest(folder, pattern) + 1


def _highest(folder: Path, pattern: re.Pattern[str]) -> int:
    found = (pattern.fullmatch(path.name) for path in folder.iterdir())
    return max((int(match.group(1)) for match in found if match), default=0)
