"""Generated weights, published by a hub on loopback and prepared by the project's own program.

The manifest is the one of the service: the same names, repositories and paths. Only sizes and
hashes are those of the generated files, so the whole way from a download to a models folder is the
real one, with some megabytes instead of eleven gigabytes.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from vace_weights.cli import DEFAULT_MANIFEST
from vace_weights.generate import generate_umt5, generate_vace, generate_vae
from vace_weights.manifest import HUB_KINDS, Manifest, WeightFile, dump, load
from vace_weights.sources import ENDPOINTS, SOURCES_VARIABLE

from images.builder.cache import Cache, content_key
from images.builder.process import run_logged
from images.builder.progress import ProgressCallback
from rehearsal.images.errors import WeightsError
from rehearsal.images.weights_server import Served, serve_weights

_PUBLISHED = "published"
_MODELS = "models"
_MANIFEST = "published.json"
_RECIPE_VERSION = 1
_ESTIMATE_SECONDS = 10.0
_CODE = Path(sys.modules[Manifest.__module__].__file__ or "").parent

_GENERATORS: dict[str, Callable[[Path], tuple[int, str]]] = {
    "diffusion_models": lambda path: generate_vace(path, scale="small"),
    "text_encoders": generate_umt5,
    "vae": generate_vae,
}


@dataclass(frozen=True)
class Weights:
    """What was generated.

    Attributes:
        folder: models folder as the image gets it, with its complete ``manifest.json``.
        manifest: manifest to prepare such a folder from, as the lock has one.
        served: the published files, for ``serve_weights``.
    """

    folder: Path
    manifest: Path
    served: list[Served]


def make_weights(cache: Cache, progress: ProgressCallback) -> Weights:
    """Generate, publish and prepare the weights once; then they come from the cache.

    Raises:
        WeightsError: the service's manifest has a folder that nothing is generated for.
        BuildFailedError: ``vace_weights prepare`` failed; its output is in the message.
    """
    wanted = load(DEFAULT_MANIFEST)
    code = {path.name: path for path in _CODE.glob("*.py")}
    key = content_key({"version": _RECIPE_VERSION}, {**code, "manifest": DEFAULT_MANIFEST})

    def build(folder: Path, log: Path) -> None:
        manifest = _generate(wanted, folder / _PUBLISHED)
        dump(manifest, folder / _MANIFEST)
        _prepare(folder, served_files(manifest, folder / _PUBLISHED), log)

    folder = cache.ensure(
        "rehearsal-weights",
        key,
        build,
        what="generating and preparing small weights",
        estimate_s=_ESTIMATE_SECONDS,
        progress=progress,
    )
    manifest = load(folder / _MANIFEST)
    served = served_files(manifest, folder / _PUBLISHED)
    return Weights(folder / _MODELS, folder / _MANIFEST, served)


def served_files(manifest: Manifest, folder: Path) -> list[Served]:
    """Every place of the manifest's hubs, with the file below ``folder`` that is there."""
    return [
        Served(source.repo, source.revision, source.path, folder / file.to_fetch.name)
        for file in manifest.files
        for source in file.to_fetch.sources
        if source.kind in HUB_KINDS
    ]


def hub_environment(url: str) -> dict[str, str]:
    """Variables that make ``vace_weights`` ask the hub at ``url`` and nobody else."""
    hubs = {ENDPOINTS[kind][0]: url for kind in HUB_KINDS}
    return {**hubs, SOURCES_VARIABLE: "", "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}


def _generate(wanted: Manifest, folder: Path) -> Manifest:
    folder.mkdir()
    return Manifest(tuple(_generate_one(file, folder) for file in wanted.files))


def _generate_one(file: WeightFile, folder: Path) -> WeightFile:
    generator = _GENERATORS.get(file.folder)
    if generator is None:
        raise WeightsError(
            f"the service's manifest has {file.name} in {file.folder!r}; weights are generated for "
            f"{', '.join(_GENERATORS)} only, because each kind has its own form. Add a generator "
            "in rehearsal/images/weights.py."
        )
    path = folder / file.to_fetch.name
    generator(path)
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    size = path.stat().st_size
    if file.derived is None:
        return file.with_result(size, sha256)
    source = replace(file.derived.source, size=size, sha256=sha256)
    # What is made of it is found out by making it.
    derived = replace(file.derived, source=source)
    return replace(file, size=None, sha256=None, derived=derived)


def _prepare(folder: Path, served: list[Served], log: Path) -> None:
    with serve_weights(served) as server:
        run_logged(
            "preparing the weights of a rehearsal",
            [
                *(sys.executable, "-m", "vace_weights", "prepare"),
                *("--to", str(folder / _MODELS), "--manifest", str(folder / _MANIFEST)),
            ],
            log,
            env={**hub_environment(server.url), "PATH": os.environ.get("PATH", os.defpath)},
        )
