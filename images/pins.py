"""The pins: ``pins.toml`` as a typed, frozen model that refuses what it does not know."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from images.errors import PinsError
from images.lock import PINS, canonical

Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Reason = Annotated[str, Field(min_length=10)]
IMAGES = ("comfyui", "gateway")
PARTS = ("base", "debian", "git", "wheels", "weights")
"""Parts of the lock, in the order in which they are resolved."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BasePin(_Model):
    """The base image: a dated tag, its digest, and how the digest is known."""

    # A digest says which bytes; the tag is for people, and must not be one that moves.
    image: Annotated[str, Field(pattern=r"^[a-z0-9/.-]+:[a-z]+-\d{8}-slim$")]
    digest: Digest
    seen: Reason


class PythonPin(_Model):
    """The interpreter and the platform that wheels are chosen for."""

    version: Annotated[str, Field(pattern=r"^3\.\d+$")]
    platform: Annotated[str, Field(pattern=r"^x86_64-manylinux_2_\d+$")]


class DebianPackagePin(_Model):
    """A package that an image asks for; its dependencies follow."""

    name: str
    images: tuple[Literal["comfyui", "gateway"], ...]
    reason: Reason


class DebianPin(_Model):
    """The suite, its architecture and the packages."""

    suite: str
    architecture: str
    packages: tuple[DebianPackagePin, ...]


class GitPin(_Model):
    """A commit of a repository."""

    url: Annotated[str, Field(pattern=r"^https://")]
    mirrors: tuple[str, ...]
    version: str
    commit: Commit
    licence: str
    path: str


class VariantPin(_Model):
    """The torch set of a variant; empty for none."""

    torch: tuple[Annotated[str, Field(pattern=r"^[a-z]+==[0-9.]+$")], ...]
    constraints: tuple[str, ...]


class WheelPins(_Model):
    """Requirements and packages left out, each with its reason."""

    comfy: dict[Annotated[str, Field(pattern=r"^[a-z0-9-]+==[0-9.]+$")], Reason]
    python: dict[str, Reason]
    pip: dict[Annotated[str, Field(pattern=r"^pip==[0-9.]+$")], Reason]
    omit: dict[str, Reason]


class WeightSourcePin(_Model):
    """A hub; ``revision`` replaces the files' own where the hub numbers commits itself."""

    kind: Literal["modelscope", "hf-mirror", "huggingface"]
    revision: str | None = None


class WeightPin(_Model):
    """One weight file, by the name that graphs use; ``size`` and ``sha256`` are its source's."""

    name: str
    folder: Literal["diffusion_models", "text_encoders", "vae"]
    licence: str
    source: str
    path: str
    revision: Commit
    size: Annotated[int, Field(gt=0)]
    sha256: Sha256
    converter: str | None = None
    derived_size: int | None = None
    derived_sha256: Sha256 | None = None


class WeightPins(_Model):
    """The weights and where they are published."""

    repository: str
    sources: tuple[WeightSourcePin, ...]
    files: tuple[WeightPin, ...]


class Pins(_Model):
    """All of ``pins.toml``."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    base: BasePin
    python: PythonPin
    debian: DebianPin
    git: dict[str, GitPin]
    variants: dict[str, VariantPin]
    wheels: WheelPins
    groups: dict[str, tuple[str, ...]]
    weights: WeightPins

    def part(self, name: str) -> dict[str, Any]:
        """Return what a part of the lock is resolved from, without reasons and comments."""
        if name == "wheels":
            return {
                "python": self.python.model_dump(mode="json"),
                "variants": {
                    key: each.model_dump(mode="json") for key, each in self.variants.items()
                },
                "groups": {key: list(each) for key, each in self.groups.items()},
                "comfy": sorted(self.wheels.comfy),
                "requirements": sorted(self.wheels.python),
                "pip": sorted(self.wheels.pip),
                "omit": sorted(self.wheels.omit),
            }
        if name == "debian":
            rows = self.debian.model_dump(mode="json")
            for row in rows["packages"]:
                del row["reason"]
            return rows
        if name == "git":
            return {key: each.model_dump(mode="json") for key, each in self.git.items()}
        part: BaseModel = getattr(self, name)
        return part.model_dump(mode="json")

    def part_sha256(self, name: str) -> str:
        """Return the hash of :meth:`part`; the lock keeps it to know what a part belongs to."""
        return hashlib.sha256(canonical(self.part(name))).hexdigest()


def load(path: Path = PINS) -> Pins:
    """Read and check the pins.

    Raises:
        PinsError: the file is missing or is not TOML, or a value is wrong; all values are named.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PinsError(
            f"{path.name} cannot be read: {error}. It is TOML, written by hand, and everything "
            "else is resolved from it. Correct it, or restore it with git"
        ) from None
    try:
        return Pins.model_validate(document)
    except ValidationError as error:
        found = "; ".join(
            f"{'.'.join(str(step) for step in each['loc'])}: {each['msg']} (given: "
            f"{str(each['input'])[:80]})"
            for each in error.errors()
        )
        raise PinsError(
            f"{path.name} has wrong values: {found}. Pins are exact (full commits, digests, dated "
            "tags) so that nothing moves by itself, and each has a reason. Correct these"
        ) from None
