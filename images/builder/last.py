"""Remembers which image was built last under a name, for commands that only name it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from images.builder.errors import InputError
from images.builder.report import BuiltImage


def remember(cache: Path, built: BuiltImage, *, purpose: str = "") -> None:
    """Note that this is now the image of its name and variant, and for this purpose."""
    note = _note(cache, f"{purpose}{built.name}", built.variant)
    note.parent.mkdir(parents=True, exist_ok=True)
    temporary = note.with_name(f".{note.name}.{os.getpid()}")
    below = [str(each.layout) for each in built.below]
    temporary.write_text(json.dumps({"layout": str(built.layout), "below": below}))
    temporary.replace(note)


def last_built(cache: Path, name: str, variant: str) -> Path:
    """Layout of the image that was built last. Raises InputError when there is none."""
    variant = variant if name.startswith("comfyui") else ""
    try:
        layout: Path | None = Path(json.loads(_note(cache, name, variant).read_text())["layout"])
    except FileNotFoundError:
        layout = None
    if layout is None or not layout.is_dir():
        option = f" --variant {variant}" if variant else ""
        raise InputError(
            f"no {name} {variant} has been built on this machine, or it was cleaned away. Run "
            f"`python -m images build {name}{option}` first, or name oci:DIR or oci-archive:FILE."
        )
    return layout


def kept_layouts(cache: Path, purpose: str | None = None) -> dict[str, list[Path]]:
    """Layouts that are current, the image's own first, by the name of the note.

    ``purpose`` limits them to those that were remembered for it.
    """
    found = {}
    for note in sorted((cache / "images" / "last").glob(f"{purpose or ''}*.json")):
        row = json.loads(note.read_text())
        found[note.stem] = [Path(row["layout"]), *map(Path, row["below"])]
    return found


def _note(cache: Path, name: str, variant: str) -> Path:
    return cache / "images" / "last" / f"{name}{f'-{variant}' if variant else ''}.json"
