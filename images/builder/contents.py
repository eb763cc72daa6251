"""Compares what the lock says with what is in an image. Pure: it reads nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from packaging.utils import canonicalize_name
from vace_weights.errors import ManifestError
from vace_weights.manifest import Manifest, WeightFile, parse

from images.builder.facts import IMAGE_LABEL, LOCK_LABEL, OVERRIDES_LABEL, VARIANT_LABEL
from images.builder.installed import Installed
from images.builder.models import model_problems
from images.lock import GitSource, Lock, Wheel

WITH_MODELS = ("weights", "comfyui-vace")
WITH_PROGRAMS = ("comfyui", "comfyui-vace", "gateway")


@dataclass(frozen=True)
class ImageKind:
    """What an image's labels say that it is.

    Attributes:
        image: ``comfyui``, ``weights``, ``comfyui-vace`` or ``gateway``; empty when unknown.
        variant: for the two with ComfyUI.
        lock: ``sha256:…`` of the lock that it was built from.
        overrides: what did not come from the lock.
    """

    image: str
    variant: str
    lock: str
    overrides: frozenset[str]


def kind_of(labels: Mapping[str, str]) -> ImageKind:
    """The kind from an image's labels."""
    overrides = frozenset(filter(None, labels.get(OVERRIDES_LABEL, "").split(",")))
    return ImageKind(
        labels.get(IMAGE_LABEL, ""),
        labels.get(VARIANT_LABEL, ""),
        labels.get(LOCK_LABEL, ""),
        overrides,
    )


def locked_wheels(kind: ImageKind, lock: Lock) -> dict[str, Wheel]:
    """Wheels that the image should have, by normalised name."""
    if kind.image == "gateway":
        groups: tuple[str, ...] = ("gateway",)
    elif kind.image in WITH_PROGRAMS and kind.variant in lock.variants:
        groups = lock.variants[kind.variant].groups
    else:
        groups = ()
    return {
        canonicalize_name(wheel.name): wheel for group in groups for wheel in lock.wheels_of(group)
    }


def folder_of(source: GitSource) -> str:
    """Name of a source's tree in ``Installed.trees``."""
    return PurePosixPath(source.path).name if source.path else "comfyui"


def manifest_of(installed: Installed) -> Manifest | None:
    """The models' manifest in the image, or None when there is none or it is damaged."""
    if installed.manifest is None:
        return None
    try:
        return parse(json.loads(installed.manifest), "manifest.json")
    except (ManifestError, ValueError):
        return None


def differences(kind: ImageKind, lock: Lock, installed: Installed) -> list[str]:
    """Every way in which the image is not what the lock says; empty when it is.

    What the labels name as overridden is not compared: it is known to be something else.
    """
    unknown = list(_of_kind(kind, lock))
    if unknown:
        # Measured by a lock that is not its own, everything would differ.
        return unknown
    return [
        *_of_wheels(kind, lock, installed),
        *_of_debian(kind, lock, installed),
        *_of_sources(kind, lock, installed),
        *_of_models(kind, lock, installed),
    ]


def _of_kind(kind: ImageKind, lock: Lock) -> Iterator[str]:
    if kind.image not in (*WITH_PROGRAMS, "weights"):
        yield f"label {IMAGE_LABEL} is {kind.image!r}; this is not an image of this project"
    elif kind.image.startswith("comfyui") and kind.variant not in lock.variants:
        known = ", ".join(sorted(lock.variants))
        yield f"label {VARIANT_LABEL} is {kind.variant!r}; the lock has {known}"
    if kind.lock != f"sha256:{lock.sha256}":
        built_from = kind.lock or "(no label)"
        yield f"it was built from lock {built_from}; this one is sha256:{lock.sha256}"


def _of_wheels(kind: ImageKind, lock: Lock, installed: Installed) -> Iterator[str]:
    expected = locked_wheels(kind, lock)
    found = {wheel.name: wheel for wheel in installed.wheels}
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            yield f"wheel {name} {expected[name].version} is in the lock, but not installed"
        elif name not in expected:
            where = found[name].place
            yield f"wheel {name} {found[name].version} is installed in /{where}, but not locked"
        elif found[name].version != expected[name].version:
            versions = f"{found[name].version} is installed, {expected[name].version} is locked"
            yield f"wheel {name}: {versions}"


def _of_debian(kind: ImageKind, lock: Lock, installed: Installed) -> Iterator[str]:
    if kind.image not in WITH_PROGRAMS or "debian" in kind.overrides:
        return
    found = {package.name: package.version for package in installed.debian}
    for package in lock.debian_of("gateway" if kind.image == "gateway" else "comfyui"):
        version = found.get(package.name)
        if version != package.version:
            there = "is not installed" if version is None else f"has version {version}"
            yield f"Debian package {package.name} {there}; {package.version} is locked"


def _of_sources(kind: ImageKind, lock: Lock, installed: Installed) -> Iterator[str]:
    if not kind.image.startswith("comfyui"):
        return
    for name, source in sorted(lock.git.items()):
        tree = installed.trees.get(folder_of(source))
        if tree is None:
            yield f"git source {name} is not in the image"
        elif name not in kind.overrides and source.tree is not None and tree != source.tree:
            yield f"git source {name}: its files have the tree {tree}; {source.tree} is locked"
    known = {folder_of(source) for source in lock.git.values()}
    for extra in sorted(installed.trees.keys() - known):
        yield f"node pack {extra} is in the image, but not in the lock"


def _of_models(kind: ImageKind, lock: Lock, installed: Installed) -> Iterator[str]:
    if kind.image not in WITH_MODELS:
        yield from (f"model {path} is in an image without models" for path in installed.models)
        return
    manifest = manifest_of(installed)
    if manifest is None:
        yield "/opt/models/manifest.json is missing or damaged"
        return
    yield from model_problems(installed.models, manifest)
    if "weights" not in kind.overrides:
        stated = {str(file.relative): file for file in manifest.files}
        yield from _of_manifest(stated, lock)


def _of_manifest(stated: Mapping[str, WeightFile], lock: Lock) -> Iterator[str]:
    locked = parse(dict(lock.weights), "the lock")
    for file in locked.files:
        found = stated.get(str(file.relative))
        if found is None:
            yield f"model {file.relative} is in the lock, but not in the image's manifest"
        # A derived file's hash is null in the lock until it was made once; its source's is not.
        elif file.sha256 is not None and found.sha256 != file.sha256:
            yield f"model {file.relative}: the image's manifest names another sha256 than the lock"
        elif _origin(found) != _origin(file):
            yield f"model {file.relative}: the image's manifest says that it is made otherwise"


def _origin(file: WeightFile) -> tuple[str, str]:
    """What a derived file is made with and from."""
    if file.derived is None:
        return "", ""
    return file.derived.converter, file.derived.source.sha256
