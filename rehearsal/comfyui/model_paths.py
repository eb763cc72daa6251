"""Files for ``--extra-model-paths-config``: which folders hold which kind of model.

A file is YAML: any name, then ``base_path`` (optional), ``is_default`` (optional) and one entry a
kind of model, whose value is one folder or one folder a line. Folders without ``base_path`` are
relative to the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rehearsal.comfyui.settings import SettingsError

#: Older names of kinds, which the real program still takes.
LEGACY_KINDS = {"unet": "diffusion_models", "clip": "text_encoders"}
_FORM = "a mapping of names to mappings, as in extra_model_paths.yaml.example of ComfyUI"


def read_model_paths(files: Sequence[Path]) -> dict[str, tuple[Path, ...]]:
    """Folders by kind of model, in the order in which they are searched.

    Raises:
        SettingsError: a file cannot be read or has another form.
    """
    found: dict[str, list[Path]] = {}
    for file in files:
        for section in _sections(file):
            for kind, folder, first in _entries(file, section):
                known = found.setdefault(LEGACY_KINDS.get(kind, kind), [])
                if folder not in known:
                    known.insert(0 if first else len(known), folder)
    return {kind: tuple(folders) for kind, folders in found.items()}


def _sections(file: Path) -> list[Mapping[str, Any]]:
    # Only servers that get such a file need the library.
    import yaml  # noqa: PLC0415

    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(
            f"--extra-model-paths-config {file} cannot be read: {error}. Allowed is a YAML file "
            f"with {_FORM}. Correct the file or its name."
        ) from error
    if not isinstance(document, dict):
        raise _wrong_form(file, document)
    sections = [section for section in document.values() if section is not None]
    for section in sections:
        if not isinstance(section, dict):
            raise _wrong_form(file, section)
    return sections


def _entries(file: Path, section: Mapping[str, Any]) -> Iterator[tuple[str, Path, bool]]:
    base = section.get("base_path")
    if base is not None and not isinstance(base, str):
        raise _wrong_form(file, base)
    root = Path(os.path.expandvars(base)).expanduser() if base else file.parent.absolute()
    for kind, folders in section.items():
        if kind in ("base_path", "is_default"):
            continue
        if not isinstance(folders, str):
            raise _wrong_form(file, folders)
        for line in folders.split("\n"):
            if line:
                path = Path(os.path.normpath(root / line))
                yield kind, path, bool(section.get("is_default"))


def _wrong_form(file: Path, value: object) -> SettingsError:
    return SettingsError(
        f"--extra-model-paths-config {file} holds {value!r} where it may not; allowed is "
        f"{_FORM}. Without it no model folder is known. Correct the file."
    )
