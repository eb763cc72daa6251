"""What is asked of a build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from images.builder.cache import default_cache_folder
from images.builder.engines import COMPRESSIONS, Compression
from images.builder.errors import InputError
from images.lock import FOLDER, LOCK, PINS
from images.variants import variants

IMAGES = ("comfyui", "weights", "comfyui-vace", "gateway")
VARIANTS = tuple(each.name for each in variants())
"""The table's; the first is the default."""


@dataclass(frozen=True)
class GitOverride:
    """A git source from elsewhere: an address and a full commit."""

    remote: str
    commit: str


@dataclass(frozen=True)
class Overrides:
    """What replaces parts of the lock, for rehearsals and trials.

    Each one that makes a difference is recorded in the image's label ``com.wan-vace.overrides``
    and in its image.json, and ``verify`` refuses such an image unless told otherwise.

    Attributes:
        base: see ``images.builder.base``.
        git: sources by name.
        debian_packages: names (with versions or without) instead of the locked ones.
        debian_mirror: ``URL`` or ``URL,SECURITY-URL``; replaces the base's package sources; no
            difference in content, so this
            alone is not recorded.
        weights: the weights folder's own manifest counts, whatever the lock says.
    """

    base: str | None = None
    git: Mapping[str, GitOverride] = field(default_factory=dict)
    debian_packages: tuple[str, ...] | None = None
    debian_mirror: str = ""
    weights: bool = False


@dataclass(frozen=True)
class BuildRequest:
    """One image to build.

    Attributes:
        image: comfyui, weights, comfyui-vace or gateway.
        variant: one of ``VARIANTS``; weights and gateway are the same for all.
        weights: folder with the weights and a complete manifest.json, as
            ``python -m vace_weights prepare`` leaves it; for weights and comfyui-vace.
        engine: auto, buildah, podman or docker.
        git_remotes: other addresses with the locked commits, by source; not an override.
        lock, pins, rendered: the files that the build goes by.
        cache: folder of the cache.
    """

    image: str
    variant: str = VARIANTS[0]
    weights: Path | None = None
    engine: str = "auto"
    compression: Compression = "zstd"
    overrides: Overrides = field(default_factory=Overrides)
    git_remotes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lock: Path = LOCK
    pins: Path = PINS
    rendered: Path = FOLDER / "rendered"
    cache: Path = field(default_factory=default_cache_folder)

    def __post_init__(self) -> None:
        """Raise InputError for a name that does not exist, or weights that are missing."""
        for what, value, allowed in (
            ("image", self.image, IMAGES),
            ("variant", self.variant, VARIANTS),
            ("compression", self.compression, COMPRESSIONS),
        ):
            if value not in allowed:
                raise InputError(
                    f"there is no {what} {value!r}; there are {', '.join(allowed)}. Name one."
                )
        if self.image in ("weights", "comfyui-vace") and self.weights is None:
            raise InputError(
                f"image {self.image} holds the weights, and no folder was given. Make one with "
                "`python -m vace_weights prepare --to DIR`, then build with --weights DIR."
            )
