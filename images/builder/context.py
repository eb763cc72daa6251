"""Build contexts: exactly the files that a Containerfile copies, the same for the same lock.

A context is a folder of hard links and small copies with modes 0644 and 0755 and time 0. What it
holds for which image is told in images/README.md; the templates rely on these names.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from images.builder.cache import content_key
from images.builder.errors import SourceMissingError
from images.builder.layouts import link_or_copy
from images.lock import GitSource, Lock

PIP_GROUP = "pip"
CONTAINERFILE = "Containerfile"
_LEFT_OUT = {"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
_ROOT = Path(__file__).resolve().parents[1]
PACKAGES: Mapping[str, Path] = {
    "vace_comfyui": _ROOT / "comfyui" / "vace_comfyui",
    "vace_weights": _ROOT / "weights" / "vace_weights",
    "vace_gateway": _ROOT / "gateway" / "vace_gateway",
}
"""Our own packages and where they lie in the repository."""


def package_files(name: str) -> dict[str, Path]:
    """Files of one of our packages, by their path below ``vace/`` in the context.

    Raises SourceMissingError when the package is not in the checkout.
    """
    folder = PACKAGES[name]
    if not (folder / "__init__.py").is_file():
        raise SourceMissingError(name, folder / "__init__.py")
    return {
        f"{name}/{file.relative_to(folder)}": file
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not _LEFT_OUT & set(file.parts) and file.suffix != ".pyc"
    }


def packages_key(names: Sequence[str]) -> str:
    """Hash of the content of our packages."""
    files: dict[str, Path] = {}
    for name in names:
        files.update(package_files(name))
    return content_key({}, files)


class Context:
    """A context that is being filled.

    Args:
        folder: an empty folder.
        containerfile: text of the Containerfile.
    """

    def __init__(self, folder: Path, containerfile: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._write(CONTAINERFILE, containerfile)
        # Nothing may hide files from the build; both names are read by some engine.
        self._write(".containerignore", "")
        self._write(".dockerignore", "")
        self._linked: set[Path] = set()

    def add_wheels(self, lock: Lock, groups: Sequence[str], files: Mapping[str, Path]) -> None:
        """Wheels of groups and their requirements files; ``files`` maps SHA-256 to a file."""
        for group in groups:
            shelf = self.folder / "wheels" / group
            shelf.mkdir(parents=True)
            for wheel in lock.wheels_of(group):
                self._link(files[wheel.sha256], shelf / wheel.filename)
            self._write(f"requirements/{group}.txt", lock.requirements(group))

    def add_source(self, source: GitSource, export: Callable[[Path], object]) -> None:
        """A git source below ``git/``; ``export`` writes the tree into a new folder."""
        target = self.folder / "git" / source.name
        target.parent.mkdir(exist_ok=True)
        export(target)

    def add_packages(self, names: Sequence[str], image_json: Mapping[str, Any] | None) -> None:
        """Our packages below ``vace/``, with ``image.json`` if the image has one."""
        for name in names:
            for path, file in package_files(name).items():
                target = self.folder / "vace" / path
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
                target.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
        if image_json is not None:
            self._write("vace/image.json", dump_json(image_json))

    def add_weights(self, folder: Path, names: Sequence[str], manifest: Path) -> None:
        """Weight files (``<folder>/<name>``) and their manifest below ``models/``."""
        for name in names:
            target = self.folder / "models" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            self._link((folder / name).resolve(), target)
        self._write("models/manifest.json", manifest.read_text(encoding="utf-8"))

    def finish(self) -> None:
        """Give everything its mode and time; files that are links elsewhere keep theirs.

        Engines set modes and times of those in the layer, and changing them here would change
        the user's own files.
        """
        for path in [*self.folder.rglob("*"), self.folder]:
            if path.is_symlink() or path in self._linked:
                continue
            if path.is_dir():
                path.chmod(0o755)
            else:
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
            os.utime(path, (0, 0))

    def _link(self, source: Path, target: Path) -> None:
        link_or_copy(source, target)
        self._linked.add(target)

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)


def dump_json(document: Mapping[str, Any]) -> str:
    """The one spelling of a JSON file in a context."""
    return json.dumps(document, indent=1, sort_keys=True) + "\n"
