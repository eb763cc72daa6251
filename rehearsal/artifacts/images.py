"""The container images of a rehearsal: those of ``images/``, built by their own builder.

Only what cannot be had on this machine is replaced, by ``rehearsal.images``: the base image, the
git servers and the model hub. The images say so in their labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from images.builder.build import build
from images.builder.last import kept_layouts, remember
from images.builder.progress import ProgressCallback
from images.builder.report import BuiltImage
from images.builder.request import BuildRequest

Recipe = Callable[[Path, ProgressCallback], BuiltImage]
"""Builds an image: folder of the cache, progress."""
VARIANT = "cpu"
_PURPOSE = "rehearsal-"


def _recipe(image: str) -> Recipe:
    def make(cache: Path, progress: ProgressCallback) -> BuiltImage:
        # It uses this package's root file systems, so the two cannot import each other at once.
        from rehearsal.images import supply  # noqa: PLC0415

        with supply(cache, progress) as world:
            request = BuildRequest(
                image,
                variant=VARIANT,
                weights=world.weights_folder,
                overrides=world.overrides,
                cache=cache,
            )
            built = build(request, progress)
        remember(cache, built, purpose=_PURPOSE)
        return built

    return make


IMAGES: Mapping[str, Recipe] = {
    "comfyui": _recipe("comfyui-vace"),
    "gateway": _recipe("gateway"),
}
"""Images by the name that the rehearsal's registry has them under."""


def current_layouts(cache: Path) -> set[Path]:
    """Layouts of all images that were built last, in rehearsals and by ``python -m images``."""
    return {layout for layouts in kept_layouts(cache).values() for layout in layouts}


def rehearsed_layouts(cache: Path) -> dict[str, Path]:
    """Layout of each of ``IMAGES`` that was built, by its name."""
    notes = kept_layouts(cache, _PURPOSE)
    names = {"comfyui": f"{_PURPOSE}comfyui-vace-{VARIANT}", "gateway": f"{_PURPOSE}gateway"}
    found = {name: notes[note][0] for name, note in names.items() if note in notes}
    return {name: layout for name, layout in found.items() if layout.is_dir()}
