"""Builds the images: ``build(BuildRequest(...), progress) -> BuiltImage``.

An image is kept as an OCI layout in the cache, named by the hash of everything that goes into it;
asking again answers at once. What is interrupted leaves nothing that could be taken for a result,
and the next run goes on with the wheels, sources and layers that are complete.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from images.builder import sources
from images.builder.base import BaseImage, resolve_base
from images.builder.cache import Cache, content_key, free_gib, remove_tree
from images.builder.context import PIP_GROUP, Context, packages_key
from images.builder.engines import BuildJob, Engine, choose_engine, current_step
from images.builder.errors import DiskSpaceError, InputError, SourceMissingError
from images.builder.facts import image_facts, labels_of
from images.builder.layouts import share_blobs
from images.builder.models import Models, read_models
from images.builder.oci import LayoutSource, load_image
from images.builder.progress import ProgressCallback
from images.builder.report import BuiltImage, layers_of
from images.builder.request import BuildRequest
from images.builder.wheels import WheelCache
from images.lock import Lock, check_fresh, load

_RECIPE_VERSION = 2
_GIB = 2**30
PACKAGES = {"comfyui": ("vace_comfyui", "vace_weights"), "gateway": ("vace_gateway",)}


def build(request: BuildRequest, progress: ProgressCallback = lambda _: None) -> BuiltImage:
    """Build one image, and those below it, unless the cache has them.

    Raises:
        LockStaleError: the lock was not made from these pins.
        EngineError: no program that builds images works here.
        DiskSpaceError: too little room; nothing was begun.
        BuildFailedError: a step failed; names it, with the end of the log.
        ArtifactError: anything else, see ``images.builder.errors``.
    """
    return Builder(request, progress).build()


class Builder:
    """One build: its lock, its cache, its engine."""

    def __init__(self, request: BuildRequest, progress: ProgressCallback) -> None:
        self._request = request
        self._progress = progress
        self._lock: Lock = load(request.lock)
        check_fresh(self._lock, request.pins)
        self._cache = Cache(request.cache)
        self._engine_folder = request.cache / "images"
        self._engine: Engine | None = None
        self._below: list[BuiltImage] = []

    def build(self) -> BuiltImage:
        """Build what was asked for."""
        began = time.monotonic()
        image = self._request.image
        variant = self._request.variant if image.startswith("comfyui") else ""
        if image == "comfyui-vace":
            key, job, overrides, gib = self._bundle()
        elif image == "weights":
            key, job, overrides, gib = self._weights()
        else:
            key, job, overrides, gib = self._runtime()
        name = f"image-{image}{f'-{variant}' if variant else ''}"
        found = self._cache.find(name, key)
        reused = found is not None
        if found is None:
            found = self._make(name, key, job, gib)
        result = load_image(LayoutSource(found / "oci"))
        return BuiltImage(
            name=image,
            variant=variant,
            layout=found / "oci",
            digest=result.digest,
            size=result.size,
            layers=layers_of(result),
            overrides=overrides,
            reused=reused,
            seconds=time.monotonic() - began,
            below=self._below,
        )

    # One function for each kind of image: key of its inputs, how to make it, overrides, GiB needed

    def _runtime(self) -> _Plan:
        request = self._request
        lock = self._lock
        comfyui = request.image == "comfyui"
        groups = lock.variants[request.variant].groups if comfyui else ("gateway",)
        base = resolve_base(request.overrides.base, lock, self._cache, self._progress)
        git = self._git() if comfyui else {}
        overrides = self._overrides(base)
        facts = image_facts(request.variant, lock, overrides) if comfyui else None
        labels = labels_of(request.image, request.variant, lock, overrides, git)
        arguments = self._arguments(base)
        containerfile = self._containerfile()
        self._check_rendered(containerfile, groups)
        key = self._key(
            containerfile=containerfile,
            groups={group: lock.group_sha256(group) for group in (PIP_GROUP, *groups)},
            git=git,
            packages=packages_key(PACKAGES[request.image]),
            base=base.identity,
            arguments=arguments,
            facts=facts,
            labels=labels,
        )

        def make(folder: Path, log: Path) -> None:
            wheels = [wheel for group in (PIP_GROUP, *groups) for wheel in lock.wheels_of(group)]
            files = WheelCache(request.cache / "wheels").ensure(wheels, log, self._progress)
            context = Context(folder / "context", containerfile)
            context.add_wheels(lock, (PIP_GROUP, *groups), files)
            for name in git:
                context.add_source(lock.git[name], self._exporter(name))
            context.add_packages(PACKAGES[request.image], facts)
            context.finish()
            layouts = {} if base.layout is None else {"BASE": base.layout}
            self._run(folder, log, layouts=layouts, arguments=arguments, labels=labels)

        wheel_bytes = sum(lock.group_size(group) for group in groups)
        return key, make, overrides, 1.5 + 5 * wheel_bytes / _GIB

    def _weights(self) -> _Plan:
        models = self._models()
        overrides = ("weights",) if models.overridden else ()
        labels = labels_of("weights", "", self._lock, overrides, {})
        containerfile = self._containerfile()
        key = self._key(containerfile=containerfile, models=models.identity, labels=labels)

        def make(folder: Path, log: Path) -> None:
            models.check(self._progress)
            context = Context(folder / "context", containerfile)
            context.add_weights(models.folder, models.names, models.manifest)
            context.finish()
            self._run(folder, log, labels=labels)

        return key, make, overrides, 0.2 + 3.2 * models.size / _GIB

    def _bundle(self) -> _Plan:
        below = {
            "COMFYUI": self._other("comfyui"),
            "WEIGHTS": self._other("weights"),
        }
        overrides = tuple(sorted({name for each in below.values() for name in each.overrides}))
        git = self._git()
        labels = labels_of("comfyui-vace", self._request.variant, self._lock, overrides, git)
        containerfile = self._containerfile()
        key = self._key(
            containerfile=containerfile,
            below={name: each.digest for name, each in below.items()},
            labels=labels,
        )

        def make(folder: Path, log: Path) -> None:
            Context(folder / "context", containerfile).finish()
            layouts = {name: each.layout for name, each in below.items()}
            self._run(folder, log, layouts=layouts, labels=labels)

        size = sum(each.size for each in below.values())
        return key, make, overrides, 0.2 + 3 * size / _GIB

    def _other(self, image: str) -> BuiltImage:
        other = Builder(dataclasses.replace(self._request, image=image), self._progress)
        other._engine = self._engine
        built = other.build()
        self._engine = self._engine or other._engine
        self._below.append(built)
        return built

    # Making one

    def _make(
        self, name: str, key: str, make: Callable[[Path, Path], None], needed_gib: float
    ) -> Path:
        what = f"building image {name.removeprefix('image-')}"
        free = free_gib(self._request.cache)
        if free < needed_gib:
            raise DiskSpaceError(self._request.cache, what, needed_gib, free)
        log = self._request.cache / "logs" / f"{name}.log"

        def tell(line: str) -> None:
            step = current_step(log)
            self._progress(f"{line} [{step[:70]}]" if step else line)

        return self._cache.ensure(name, key, make, what=what, estimate_s=120, progress=tell)

    def _run(
        self,
        folder: Path,
        log: Path,
        *,
        layouts: Mapping[str, Path] | None = None,
        arguments: Mapping[str, str] | None = None,
        labels: Mapping[str, str],
    ) -> None:
        engine = self._chosen_engine()
        job = BuildJob(
            step=f"building image {self._request.image}",
            context=folder / "context",
            target=folder / "oci",
            layouts=layouts or {},
            arguments=arguments or {},
            labels=labels,
            compression=self._request.compression,
        )
        what = f"using the layers of {engine.name}"
        with self._cache.locked(f"engine-{engine.name}", what, self._progress):
            engine.build(job, log)
            share_blobs(folder / "oci", self._request.cache / "images" / "blobs")
        remove_tree(folder / "context")

    def _chosen_engine(self) -> Engine:
        if self._engine is None:
            self._engine = choose_engine(self._request.engine, self._engine_folder)
        return self._engine

    def _exporter(self, name: str) -> Callable[[Path], object]:
        override = self._request.overrides.git.get(name)
        remotes = self._request.git_remotes.get(name, ())

        def export(target: Path) -> object:
            return sources.export(
                self._lock.git[name],
                target,
                cache=self._request.cache / "git",
                remotes=(override.remote,) if override else remotes,
                commit=override.commit if override else None,
                progress=self._progress,
            )

        return export

    # Inputs

    def _key(self, **inputs: object) -> str:
        recipe = {
            "version": _RECIPE_VERSION,
            "engine": self._chosen_engine().name,
            "compression": self._request.compression,
            **inputs,
        }
        return content_key(recipe, {})

    def _containerfile(self) -> str:
        request = self._request
        names = [
            f"{request.image}-{request.variant}.Containerfile",
            f"{request.image}.Containerfile",
        ]
        for name in names:
            path = request.rendered / name
            if path.is_file():
                return path.read_text(encoding="utf-8")
        raise SourceMissingError(request.image, request.rendered / names[0])

    def _check_rendered(self, containerfile: str, groups: Sequence[str]) -> None:
        """The Containerfile must be the lock's: its text is all that layer caches look at."""
        facts = {f"group {group}": self._lock.group_sha256(group) for group in groups}
        facts["the Debian packages"] = self._lock.debian_arguments(self._request.image)
        stale = [name for name, fact in facts.items() if fact not in containerfile]
        if stale:
            raise InputError(
                f"the Containerfile of {self._request.image} was not rendered from this lock: "
                f"{', '.join(stale)} differ. A build from it could reuse old layers. Run "
                "`python -m images render`, and commit what it changes."
            )

    def _git(self) -> dict[str, str]:
        """Commit of each git source that this build uses."""
        given = self._request.overrides.git
        unknown = sorted(set(given) - set(self._lock.git))
        if unknown:
            raise InputError(
                f"there is no git source {', '.join(unknown)} to override; the lock has "
                f"{', '.join(sorted(self._lock.git))}. Name one of these."
            )
        return {
            name: given[name].commit if name in given else source.commit
            for name, source in sorted(self._lock.git.items())
        }

    def _overrides(self, base: BaseImage) -> tuple[str, ...]:
        given = self._request.overrides
        found = {name for name, each in self._git().items() if each != self._lock.git[name].commit}
        if self._request.image == "gateway":
            found = set()
        if base.overridden:
            found.add("base")
        if given.debian_packages is not None:
            found.add("debian")
        return tuple(sorted(found))

    def _arguments(self, base: BaseImage) -> dict[str, str]:
        arguments: dict[str, str] = {}
        if base.layout is None and base.reference is not None:
            arguments["BASE"] = base.reference
        given = self._request.overrides
        if given.debian_packages is not None:
            arguments["DEBIAN_PACKAGES"] = " ".join(given.debian_packages)
            arguments["DEBIAN_SHA256"] = ""
        if given.debian_mirror:
            main, _, security = given.debian_mirror.partition(",")
            arguments |= {"DEBIAN_MIRROR": main, "DEBIAN_SECURITY_MIRROR": security}
        return arguments

    def _models(self) -> Models:
        folder = self._request.weights
        if folder is None:
            raise InputError(
                f"image {self._request.image} needs a folder with weights; give one with --weights."
            )
        overridden = self._request.overrides.weights
        return read_models(folder, self._lock, allow_override=overridden)


_Plan = tuple[str, Callable[[Path, Path], None], tuple[str, ...], float]
