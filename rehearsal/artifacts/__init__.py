"""What a rehearsal is made of: the machine's root file system and the container images.

Everything is built from Debian packages, locked Python wheels and this repository, kept in
``$XDG_CACHE_HOME/wan-vace`` and named by the hash of its inputs. Building takes some minutes the
first time; after that, every call answers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rehearsal.artifacts.cache import Cache, Entry, default_cache_folder, free_gib, remove_tree
from rehearsal.artifacts.errors import ArtifactError
from rehearsal.artifacts.images import IMAGES, Recipe, current_layouts, rehearsed_layouts
from rehearsal.artifacts.progress import ProgressCallback
from rehearsal.artifacts.registry_storage import image_size, publish
from rehearsal.artifacts.root_filesystem import build_machine_root, machine_root_key

__all__ = ["REGISTRY_HOST", "ArtifactError", "Artifacts", "ImageRef"]

REGISTRY_HOST = "registry.vace.internal"
"""Name of the rehearsal's registry in the machines' network."""
_NAMESPACE = "vace"
_NEEDED_GIB = 3.0


@dataclass(frozen=True)
class ImageRef:
    """An image that machines can pull."""

    name: str
    digest: str
    """``sha256:`` and 64 hexadecimal digits."""
    size: int
    """Compressed size in bytes."""

    @property
    def reference(self) -> str:
        """``registry.vace.internal/vace/<name>@sha256:...``, as the stack's config takes it."""
        return f"{REGISTRY_HOST}/{_NAMESPACE}/{self.name}@{self.digest}"


class Artifacts:
    """Builds what is missing and says where it is.

    Args:
        cache: folder of the cache; default ``$XDG_CACHE_HOME/wan-vace``.
        images: recipes by name.
        progress: receives a sentence at least every two seconds while something is built.

    All methods that build raise ArtifactError (see ``rehearsal.artifacts.errors``) and need root.
    """

    def __init__(
        self,
        cache: Path | None = None,
        *,
        images: Mapping[str, Recipe] = IMAGES,
        progress: ProgressCallback = lambda _: None,
    ) -> None:
        self.cache = Cache(cache or default_cache_folder())
        self.images = images
        self._progress = progress

    @property
    def registry_storage(self) -> Path:
        """Storage folder of the rehearsal's registry; holds every image asked for so far."""
        return self.cache.root / "registry"

    def machine_root(self) -> Path:
        """Root file system of the machines: a folder that must only be used as a lower layer."""
        folder = self._ensure(
            "machine-root",
            machine_root_key(),
            build_machine_root,
            what="building machine root file system",
            estimate_s=90,
        )
        return folder / "rootfs"

    def image(self, name: str) -> ImageRef:
        """Build an image if needed, and make it pullable from the registry's storage."""
        if name not in self.images:
            raise ArtifactError(
                f"there is no image {name!r}; there are {', '.join(sorted(self.images))}. "
                "Recipes are in rehearsal/artifacts/images.py."
            )
        layout = self.images[name](self.cache.root, self._progress).layout
        digest = publish(layout, self.registry_storage, f"{_NAMESPACE}/{name}")
        return ImageRef(name, digest, image_size(layout))

    def tidy_registry(self) -> None:
        """Drop every published image except those that were built last."""
        remove_tree(self.registry_storage)
        for name, layout in rehearsed_layouts(self.cache.root).items():
            publish(layout, self.registry_storage, f"{_NAMESPACE}/{name}")

    def is_current(self, entry: Entry) -> bool:
        """Whether a cached artifact would be used again.

        What an image is made of (base, sources, weights) counts as current: it is found by its
        inputs, and removing it costs minutes.
        """
        if entry.name == "machine-root":
            return entry.key == machine_root_key()
        if entry.name.startswith("image-"):
            return entry.path / "oci" in current_layouts(self.cache.root)
        return True

    def _ensure(
        self,
        name: str,
        key: str,
        build: Callable[[Path, Path], None],
        *,
        what: str,
        estimate_s: float,
    ) -> Path:
        if self.cache.find(name, key) is None and free_gib(self.cache.root) < _NEEDED_GIB:
            raise ArtifactError(
                f"{self.cache.root} has {free_gib(self.cache.root):.1f} GiB of free space; "
                f"{what} needs up to {_NEEDED_GIB:.0f} GiB. Free some, or set XDG_CACHE_HOME to a "
                "folder with more space (`python -m rehearsal.artifacts clean` removes old builds)."
            )
        return self.cache.ensure(
            name, key, build, what=what, estimate_s=estimate_s, progress=self._progress
        )
