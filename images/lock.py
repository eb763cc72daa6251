"""The lock: every byte that goes into an image, by digest. Typed, checked when it is read.

``pins.lock.json`` is written by ``python -m images resolve`` and by nothing else. Everything that
is built, rendered or verified reads it through :func:`load`, so a file that was damaged or edited
by hand is refused before the first download.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from images.errors import LockError, LockStaleError

FOLDER = Path(__file__).parent
PINS = FOLDER / "pins.toml"
LOCK = FOLDER / "pins.lock.json"
GATEWAY_REQUIREMENTS = FOLDER / "gateway" / "requirements.lock"
SCHEMA = 1
RESOLVE_COMMAND = "python -m images resolve"

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Base:
    """The image that all others start from. ``source`` says how the digest is known."""

    name: str
    digest: str
    source: str

    @property
    def reference(self) -> str:
        """What FROM names, for example ``debian:bookworm-slim@sha256:…``."""
        return f"{self.name}@{self.digest}"


@dataclass(frozen=True)
class DebianPackage:
    """One Debian package with its .deb's hash; ``size`` in bytes.

    Attributes:
        requested: pins.toml asks for it; otherwise it is a dependency.
        images: the images whose root file system gets it, ``comfyui`` and ``gateway``.
    """

    name: str
    version: str
    sha256: str
    size: int
    requested: bool
    images: tuple[str, ...]


@dataclass(frozen=True)
class GitSource:
    """A commit of a git repository. The commit's name already covers every byte of its tree.

    Attributes:
        mirrors: other addresses with the same commits, tried in order.
        tree: the id of the commit's tree where a copy was at hand when the lock was written; a
            tree without its history can then be checked too.
        path: folder below ComfyUI's own where the tree is placed; empty for ComfyUI itself.
    """

    name: str
    url: str
    mirrors: tuple[str, ...]
    commit: str
    version: str
    tree: str | None
    licence: str
    path: str


@dataclass(frozen=True)
class Wheel:
    """One Python wheel; ``size`` in bytes."""

    sha256: str
    name: str
    version: str
    filename: str
    size: int
    licence: str | None

    @property
    def requirement(self) -> str:
        """The line of a requirements file that lets pip install exactly this file."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


@dataclass(frozen=True)
class Variant:
    """What a variant of the ComfyUI image is made of: groups of wheels in layer order."""

    name: str
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Lock:
    """The whole lock. ``document`` is the JSON that it was read from.

    ``omitted`` maps packages that are left out although others declare them to the reason.
    """

    document: Mapping[str, Any]
    pins_sha256: str
    inputs_sha256: str
    resolved_at: str
    base: Base
    debian_suite: str
    debian_architecture: str
    debian: tuple[DebianPackage, ...]
    git: Mapping[str, GitSource]
    wheels: Mapping[str, Wheel]
    groups: Mapping[str, tuple[str, ...]]
    variants: Mapping[str, Variant]
    omitted: Mapping[str, str]
    weights: Mapping[str, Any]

    @cached_property
    def sha256(self) -> str:
        """Hash of the lock in canonical JSON: the same however the file is laid out."""
        return hashlib.sha256(canonical(self.document)).hexdigest()

    def wheels_of(self, group: str) -> list[Wheel]:
        """Return a group's wheels, by name.

        Raises:
            LockError: the lock has no such group.
        """
        try:
            members = self.groups[group]
        except KeyError:
            raise LockError(
                f"group {group!r} of wheels is not in the lock, which has "
                f"{', '.join(sorted(self.groups))}. Name one of these, or add it to pins.toml and "
                f"run `{RESOLVE_COMMAND}`"
            ) from None
        return sorted((self.wheels[sha256] for sha256 in members), key=lambda wheel: wheel.name)

    def requirements(self, group: str) -> str:
        """Return the requirements file of a group: one pinned and hashed line a wheel."""
        return "".join(f"{wheel.requirement}\n" for wheel in self.wheels_of(group))

    def group_sha256(self, group: str) -> str:
        """Return the hash that names a group's content in a Containerfile (layer caches)."""
        return hashlib.sha256(self.requirements(group).encode()).hexdigest()

    def group_size(self, group: str) -> int:
        """Return the bytes of a group's wheels."""
        return sum(wheel.size for wheel in self.wheels_of(group))

    def debian_of(self, image: str) -> list[DebianPackage]:
        """Return the Debian packages that ``image`` adds to the base, by name."""
        return sorted((each for each in self.debian if image in each.images), key=_name)

    def debian_arguments(self, image: str) -> str:
        """Return ``name=version …`` of all of an image's packages, dependencies included."""
        return " ".join(f"{each.name}={each.version}" for each in self.debian_of(image))

    def debian_hashes(self, image: str) -> str:
        """Return the SHA-256 of the .deb file of each of these packages, in the same order."""
        return " ".join(each.sha256 for each in self.debian_of(image))


def _name(package: DebianPackage) -> str:
    return package.name


def canonical(document: Mapping[str, Any]) -> bytes:
    """Return the one JSON spelling of ``document`` that hashes are taken of."""
    return json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode()


def load(path: Path = LOCK) -> Lock:
    """Read and check the lock.

    Raises:
        LockError: the file is missing, is not JSON, lacks a field, names a hash that is none, or
            refers to a wheel or group that it does not hold.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise LockError(
            f"{path.name} does not exist in {path.parent}. It belongs to the repository; restore "
            f"it with git, or write it anew with `{RESOLVE_COMMAND}` (needs a network)"
        ) from None
    try:
        document = json.loads(text)
    except ValueError as error:
        raise _damaged(path, f"it is not JSON ({error})") from None
    return parse(document, path)


def parse(document: Any, path: Path = LOCK) -> Lock:
    """Return the lock of a JSON document; ``path`` is named in errors.

    Raises:
        LockError: see :func:`load`.
    """
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        found = document.get("schema") if isinstance(document, dict) else type(document).__name__
        raise _damaged(path, f"its schema is {found!r}, and {SCHEMA} is expected")
    try:
        lock = _build(document)
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"a field is missing or has another type ({error!r})") from None
    problems = _problems(lock)
    if problems:
        raise _damaged(path, "; ".join(problems))
    return lock


def check_fresh(lock: Lock, pins: Path = PINS) -> None:
    """Check that the lock was written from these pins.

    Raises:
        LockStaleError: pins.toml, or the gateway's requirements beside it, changed since.
    """
    now = file_sha256(pins)
    if now != lock.pins_sha256:
        raise LockStaleError(
            f"{LOCK.name} was resolved from pins with sha256 {lock.pins_sha256[:16]}…, and "
            f"{pins.name} now has {now[:16]}…; the two must match, or an image would hold "
            f"something else than the pins say. Run `{RESOLVE_COMMAND}`, or undo the change"
        )
    inputs = pins.parent / GATEWAY_REQUIREMENTS.relative_to(FOLDER)
    if inputs.exists() and file_sha256(inputs) != lock.inputs_sha256:
        raise LockStaleError(
            f"{LOCK.name} was resolved from another gateway/{inputs.name} than the one in the "
            f"working tree; the gateway's wheels come from there. Run `{RESOLVE_COMMAND} "
            "--only wheels`, or undo the change"
        )


def file_sha256(path: Path) -> str:
    """Return a small file's SHA-256.

    Raises:
        LockStaleError: the file does not exist, so nothing can match it.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise LockStaleError(
            f"{path} does not exist, and the lock is only valid together with it. "
            "Restore it with git"
        ) from None


def _damaged(path: Path, what: str) -> LockError:
    return LockError(
        f"{path.name} cannot be used: {what}. It is written by `{RESOLVE_COMMAND}` and must not "
        "be edited by hand, because images are built from it without another check. Restore it "
        "with git, or resolve again"
    )


def _build(document: Mapping[str, Any]) -> Lock:
    debian = document["debian"]
    return Lock(
        document=document,
        pins_sha256=document["pins_sha256"],
        inputs_sha256=document["gateway_requirements_sha256"],
        resolved_at=document["resolved_at"],
        base=Base(**document["base"]),
        debian_suite=debian["suite"],
        debian_architecture=debian["architecture"],
        debian=tuple(
            DebianPackage(**{**row, "images": tuple(row["images"])}) for row in debian["packages"]
        ),
        git={
            name: GitSource(
                name=name,
                url=row["url"],
                mirrors=tuple(row["mirrors"]),
                commit=row["commit"],
                version=row["version"],
                tree=row["tree"],
                licence=row["licence"],
                path=row["path"],
            )
            for name, row in document["git"].items()
        },
        wheels={sha256: Wheel(sha256=sha256, **row) for sha256, row in document["wheels"].items()},
        groups={name: tuple(members) for name, members in document["groups"].items()},
        variants={
            name: Variant(name, tuple(row["groups"])) for name, row in document["variants"].items()
        },
        omitted=document["omitted"],
        weights=document["weights"],
    )


def _problems(lock: Lock) -> list[str]:
    hashes = {
        "pins_sha256": lock.pins_sha256,
        "gateway_requirements_sha256": lock.inputs_sha256,
        "base.digest": lock.base.digest.removeprefix("sha256:"),
        **{f"the .deb of {each.name}": each.sha256 for each in lock.debian},
        **{f"wheel {wheel.name}": sha256 for sha256, wheel in lock.wheels.items()},
    }
    found = [
        f"{what} is {value!r}, which is no SHA-256"
        for what, value in hashes.items()
        if not _SHA256.fullmatch(value)
    ]
    for source in lock.git.values():
        for what, value in (("commit", source.commit), ("tree", source.tree)):
            if value is not None and not _COMMIT.fullmatch(value):
                found.append(f"git.{source.name}.{what} is {value!r}, which is no full object id")
    sized: list[DebianPackage | Wheel] = [*lock.debian, *lock.wheels.values()]
    found += [
        f"{each.name} has a size of {each.size!r} bytes"
        for each in sized
        if not isinstance(each.size, int) or each.size <= 0
    ]
    for group, members in lock.groups.items():
        unknown = [sha256 for sha256 in members if sha256 not in lock.wheels]
        found += [f"group {group} names wheel {sha256}, which is missing" for sha256 in unknown]
    for variant in lock.variants.values():
        missing = [group for group in variant.groups if group not in lock.groups]
        found += [f"variant {variant.name} names group {group}, missing" for group in missing]
    return found
