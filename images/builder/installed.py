"""What is really in an image, read from its layers without running it.

Looked at are: the METADATA of installed wheels, dpkg's database, the folder of ComfyUI with its
node packs, and the models with their manifest.
"""

from __future__ import annotations

import email.parser
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from packaging.utils import canonicalize_name

from images.builder.oci import Image
from images.builder.tree import SOURCES, Tree, git_tree_id, read_tree

_MODELS = "opt/models/"
_MANIFEST = f"{_MODELS}manifest.json"
_PACKS = "custom_nodes"
_DPKG_STATUS = "var/lib/dpkg/status"
# Not those of Debian's own Python packages; dpkg knows them.
_METADATA = re.compile(r"(?!usr/lib/python3/).+/[^/]+\.dist-info/METADATA")
_FIELD = re.compile(r"[\w-]+: ")


@dataclass(frozen=True)
class InstalledWheel:
    """One Python distribution.

    Attributes:
        name: normalised as on indexes: lower case, dashes.
        licence: SPDX expression or the words of its metadata; empty when it says nothing.
        place: folder that it is installed in.
    """

    name: str
    version: str
    licence: str
    place: str


@dataclass(frozen=True)
class InstalledDebian:
    """One package in dpkg's database."""

    name: str
    version: str
    architecture: str


@dataclass(frozen=True)
class InstalledFile:
    """A file below the models folder: size in bytes and SHA-256."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Installed:
    """Everything that was found.

    Attributes:
        trees: id of the git tree that each source's folder has: ``comfyui`` without its node
            packs, and each folder of ``custom_nodes`` by its name. Byte code does not count.
        models: by their path below the models folder, without the manifest.
        manifest: content of the models' manifest, or None.
    """

    wheels: tuple[InstalledWheel, ...]
    debian: tuple[InstalledDebian, ...]
    trees: Mapping[str, str]
    models: Mapping[str, InstalledFile]
    manifest: bytes | None


def read_installed(image: Image) -> Installed:
    """Read all layers of an image once.

    Raises:
        LayerError: a layer is damaged or not the one that the image names.
        ToolMissingError: a layer is compressed with zstd, and `zstd` is not installed.
    """
    tree = read_tree(image)
    manifest = tree.files.get(_MANIFEST)
    return Installed(
        wheels=tuple(_wheels(tree)),
        debian=tuple(debian_packages(tree)),
        trees=_trees(tree),
        models={
            path: InstalledFile(file.size, file.sha256)
            for path, file in sorted(tree.below(_MODELS), key=lambda row: row[0])
            if file.kind != "folder" and path != "manifest.json"
        },
        manifest=manifest.content if manifest is not None else None,
    )


def _wheels(tree: Tree) -> Iterator[InstalledWheel]:
    parser = email.parser.HeaderParser()
    for path in sorted(tree.files):
        text = tree.text(path) if _METADATA.fullmatch(path) else None
        if text is None:
            continue
        headers = parser.parsestr(text)
        yield InstalledWheel(
            name=canonicalize_name(str(headers.get("Name", ""))),
            version=str(headers.get("Version", "")),
            licence=_licence(
                str(headers.get("License-Expression") or headers.get("License") or ""),
                [str(value) for value in headers.get_all("Classifier", [])],
            ),
            place=str(PurePosixPath(path).parents[1]),
        )


def _licence(said: str, classifiers: Iterable[str]) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    # Some packages put the whole text of the licence into this field.
    if len(lines) == 1 and lines[0].upper() != "UNKNOWN":
        return lines[0]
    named = [row.rpartition("::")[2].strip() for row in classifiers if row.startswith("License ::")]
    return ", ".join(sorted(named))


def debian_packages(tree: Tree) -> Iterator[InstalledDebian]:
    """Debian's installed packages, from dpkg's database; none where there is no database."""
    for paragraph in (tree.text(_DPKG_STATUS) or "").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if _FIELD.match(line))
        if "Package" in fields and fields.get("Status", "").endswith(" installed"):
            yield InstalledDebian(
                fields["Package"], fields.get("Version", ""), fields.get("Architecture", "")
            )


def _trees(tree: Tree) -> dict[str, str]:
    packs = {
        path.partition("/")[0] for path, _ in tree.below(f"{SOURCES}{_PACKS}/") if "/" in path
    } - {"__pycache__"}
    found = {pack: git_tree_id(tree, f"{SOURCES}{_PACKS}/{pack}/") for pack in sorted(packs)}
    if any(True for _ in tree.below(SOURCES)):
        without = tuple(f"{_PACKS}/{pack}" for pack in packs)
        found["comfyui"] = git_tree_id(tree, SOURCES, without)
    return found
