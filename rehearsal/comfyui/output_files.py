"""What becomes of a video file that a node has written: normally nothing, else see `faults`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rehearsal.comfyui.faults import Fault
from rehearsal.comfyui.folders import Folders


def delivered(file: Path, fault: Fault | None) -> Path:
    """The file that the node reports, after what a fault does to it."""
    if fault is None or fault.name not in ("corrupt_file", "old_file", "slow_disk"):
        return file
    from rehearsal.comfyui import damage  # noqa: PLC0415 - picture libraries slow the start

    match fault.name:
        case "corrupt_file":
            damage.flip_bits(file)
        case "old_file":
            return damage.earlier_file(file)
        case "slow_disk":
            damage.appear_later(file, fault.seconds)
    return file


def age_shown(folders: Folders, shown: dict[str, Any]) -> None:
    """Make the files that a node shows a day old."""
    from rehearsal.comfyui import damage  # noqa: PLC0415 - picture libraries slow the start

    for items in shown.values():
        for item in items:
            root = folders.by_type(item.get("type", "")) if isinstance(item, dict) else None
            if root is not None:
                damage.age(root / item["subfolder"] / item["filename"])
