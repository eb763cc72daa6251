"""What replaces the outside world when the images are built in a rehearsal.

The base image becomes a Debian root file system, GitHub a git server on loopback with the simulated
ComfyUI, and the model hubs a server on loopback with generated weights. Everything between them
and the finished image is what production uses.

    with supply() as world:
        build(BuildRequest(image, weights=world.weights_folder, overrides=world.overrides))
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from images.builder.cache import Cache, content_key, default_cache_folder
from images.builder.progress import ProgressCallback
from images.builder.request import GitOverride, Overrides
from images.lock import Lock, load
from rehearsal.images.base import make_base
from rehearsal.images.errors import RepositoryError, SupplyError, WeightsError
from rehearsal.images.git_server import serve_git
from rehearsal.images.repositories import make_repository
from rehearsal.images.source_tree import NODE_PACKS, comfyui_tree, node_tree
from rehearsal.images.weights import make_weights
from rehearsal.images.weights_server import serve_weights

__all__ = ["RepositoryError", "Supply", "SupplyError", "WeightsError", "make_sources", "supply"]

_RECIPE_VERSION = 1


@dataclass(frozen=True)
class Supply:
    """Everything that a build takes from elsewhere.

    Attributes:
        base_archive: tar archive of a Debian root file system.
        debian_packages: what the images' first layer installs, without versions.
        git: name in the lock to (address, commit); the addresses answer inside the context only.
        weights_folder: models folder with a complete ``manifest.json``.
        manifest: manifest that such a folder can be prepared from, at ``hub``.
        hub: address of the model hub; it answers inside the context only.
    """

    base_archive: Path
    debian_packages: tuple[str, ...]
    git: Mapping[str, tuple[str, str]]
    weights_folder: Path
    manifest: Path
    hub: str

    @property
    def base(self) -> str:
        """The base as the builder's ``--base`` takes it."""
        return f"rootfs:{self.base_archive}"

    @property
    def overrides(self) -> Overrides:
        """What the builder takes instead of the lock's; the images say so in their labels."""
        return Overrides(
            base=self.base,
            git={name: GitOverride(*place) for name, place in self.git.items()},
            debian_packages=self.debian_packages,
            weights=True,
        )


@contextlib.contextmanager
def supply(
    cache: Path | None = None,
    progress: ProgressCallback = lambda _: None,
    *,
    lock: Lock | None = None,
) -> Iterator[Supply]:
    """Make what is missing, and serve it for the ``with`` block. Needs root for the base.

    Args:
        cache: folder of the cache; default ``$XDG_CACHE_HOME/wan-vace``.
        progress: receives a sentence at least every two seconds while something is made.
        lock: names the Debian packages; default the committed one.

    Raises:
        LockError: the lock cannot be read.
        ArtifactError: a tool is missing or failed; see its subclasses and SupplyError.
    """
    store = Cache(cache or default_cache_folder())
    chosen = lock or load()
    packages = tuple(sorted({each.name for each in chosen.debian if each.requested}))
    base = make_base(store, packages, progress)
    repositories, commits = make_sources(store, progress)
    weights = make_weights(store, progress)
    with serve_git(repositories) as git, serve_weights(weights.served) as hub:
        yield Supply(
            base_archive=base,
            debian_packages=packages,
            git={name: (git.url(name), commit) for name, commit in commits.items()},
            weights_folder=weights.folder,
            manifest=weights.manifest,
            hub=hub.url,
        )


def make_sources(cache: Cache, progress: ProgressCallback) -> tuple[Path, dict[str, str]]:
    """Folder with the bare repositories of all sources, and the commit in each of them."""
    trees = {"comfyui": comfyui_tree(), **{name: node_tree(name) for name in NODE_PACKS}}
    recipe = {
        "version": _RECIPE_VERSION,
        "trees": {
            name: {path: content.hex() for path, content in tree.items()}
            for name, tree in trees.items()
        },
    }

    def build(folder: Path, _: Path) -> None:
        for name, tree in trees.items():
            commit = make_repository(folder / f"{name}.git", tree)
            (folder / f"{name}.commit").write_text(commit)

    folder = cache.ensure(
        "rehearsal-sources",
        content_key(recipe, {}),
        build,
        what="making the git repositories of a rehearsal",
        estimate_s=2,
        progress=progress,
    )
    return folder, {name: (folder / f"{name}.commit").read_text() for name in trees}
