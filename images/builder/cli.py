"""``python -m images build | push | save | verify | sbom | clean``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from images.builder import engines, sbom
from images.builder.base import FORMS
from images.builder.build import build
from images.builder.cache import Cache, default_cache_folder, remove_tree
from images.builder.errors import InputError
from images.builder.facts import IMAGE_LABEL, LOCK_LABEL, OVERRIDES_LABEL, VARIANT_LABEL
from images.builder.last import last_built, remember
from images.builder.layouts import export_layout
from images.builder.oci import Image, LayoutSource, load_image, open_source
from images.builder.publish import push, save
from images.builder.references import parse_reference
from images.builder.registry import Registry
from images.builder.registry_auth import (
    HOST_VARIABLE,
    PASSWORD_VARIABLE,
    USERNAME_VARIABLE,
    find_credentials,
)
from images.builder.registry_source import RegistrySource
from images.builder.report import megabytes
from images.builder.request import IMAGES, VARIANTS, BuildRequest, GitOverride, Overrides
from images.builder.verify import verify
from images.builder.wheels import WheelCache
from images.lock import Lock, load

_Subparsers = argparse._SubParsersAction  # the name that argparse has for it


def add_parsers(subparsers: _Subparsers[argparse.ArgumentParser]) -> None:
    """Add the commands; each sets ``run``, which takes the options and returns a status."""
    _add_build(subparsers)
    _add_push(subparsers)
    _add_save(subparsers)
    _add_verify(subparsers)
    sbom.add_parser(subparsers)
    clean = subparsers.add_parser("clean", help="remove built images, their layers and wheels")
    clean.add_argument("--all", action="store_true", help="wheels and git sources, too")
    clean.set_defaults(run=_clean)


def _add_build(subparsers: _Subparsers[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("build", help="build images from the lock")
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=f"{', '.join(IMAGES)} or all")
    _add_variant(parser)
    parser.add_argument("--engine", default="auto", choices=["auto", *engines.ENGINES])
    parser.add_argument(
        "--weights", type=Path, metavar="DIR", help="as `vace_weights prepare` leaves it"
    )
    parser.add_argument("--compression", default="zstd", choices=engines.COMPRESSIONS)
    parser.add_argument("--base", metavar="IMAGE", help=FORMS)
    parser.add_argument(
        "--debian-mirror",
        default="",
        metavar="URL[,URL]",
        help="other sources of Debian packages and of security updates (URL-security)",
    )
    parser.add_argument(
        "--git-remote",
        action="append",
        default=[],
        metavar="NAME=URL",
        help="another address with the locked commit; may be repeated",
    )
    parser.add_argument(
        "--override",
        action="append",
        default=[],
        metavar="WHAT",
        help="NAME=URL@COMMIT (a git source), debian=PACKAGE,PACKAGE, or weights; for trials: the "
        "image says so, and `verify` refuses it",
    )
    parser.add_argument("--output", metavar="oci:DIR", help="also write the (one) image there")
    parser.add_argument("--json", action="store_true", help="report as JSON")
    parser.set_defaults(run=_build)


def _add_push(subparsers: _Subparsers[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("push", help="push an image to a registry")
    parser.add_argument("image", metavar="IMAGE", help="a name, oci:DIR or oci-archive:FILE")
    parser.add_argument("target", metavar="REGISTRY/REPOSITORY:TAG")
    _add_variant(parser)
    parser.add_argument(
        "--allow-overrides", action="store_true", help="push an image built for a rehearsal"
    )
    parser.add_argument(
        "--from", dest="archive", type=Path, metavar="ARCHIVE", help="take it from a saved archive"
    )
    _add_access(parser)
    parser.set_defaults(run=_push)


def _add_save(subparsers: _Subparsers[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("save", help="write images into one OCI archive")
    parser.add_argument("archive", type=Path, metavar="FILE")
    parser.add_argument(
        "images", nargs="*", metavar="IMAGE", help="default: comfyui-vace and gateway"
    )
    _add_variant(parser)
    parser.set_defaults(run=_save)


def _add_verify(subparsers: _Subparsers[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("verify", help="check an image against the lock")
    parser.add_argument(
        "image",
        metavar="IMAGE",
        help="a name, REGISTRY/REPOSITORY:TAG or @sha256:DIGEST, oci-archive:FILE or oci:DIR",
    )
    _add_variant(parser)
    parser.add_argument("--name", default="", help="which image of an archive with several")
    parser.add_argument(
        "--allow-overrides", action="store_true", help="accept an image built for a rehearsal"
    )
    parser.add_argument(
        "--allow-skips", action="store_true", help="accept checks that lack what they compare with"
    )
    parser.add_argument(
        "--base",
        metavar="IMAGE",
        help="the locked base, as oci:DIR or oci-archive:FILE; default: the cache's",
    )
    parser.add_argument("--json", action="store_true", help="report as JSON")
    _add_access(parser)
    parser.set_defaults(run=_verify)


def _add_variant(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--variant", default=VARIANTS[0], choices=VARIANTS)


def _add_access(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--auth-file",
        "--authfile",
        type=Path,
        metavar="F",
        help=f"credentials; default: those of podman or docker login. {USERNAME_VARIABLE} and "
        f"{PASSWORD_VARIABLE} in the environment come before the file, for the registry that "
        f"{HOST_VARIABLE} names (with its port)",
    )
    parser.add_argument(
        "--ca", type=Path, metavar="F", help="authority of the registry's certificate"
    )


def _build(options: argparse.Namespace) -> int:
    names = options.images or ["all"]
    chosen = list(IMAGES) if "all" in names else names
    if options.output and len(chosen) != 1:
        raise InputError(
            f"--output takes one image, and {len(chosen)} are built. Name one, or use `save` for "
            "an archive with several."
        )
    reports = []
    for name in chosen:
        request = BuildRequest(
            name,
            variant=options.variant,
            weights=options.weights,
            engine=options.engine,
            compression=options.compression,
            overrides=parse_overrides(options.override, options.base, options.debian_mirror),
            git_remotes=_remotes(options.git_remote),
        )
        built = build(request, _tell)
        remember(request.cache, built)
        if options.output:
            export_layout(built.layout, _output_folder(options.output))
        reports.append(built)
        if not options.json:
            print(built.text(), flush=True)
    if options.json:
        print(json.dumps([built.json() for built in reports], indent=1))
    return 0


def _push(options: argparse.Namespace) -> int:
    target = parse_reference(options.target)
    if options.archive is not None:
        image = load_image(open_source(f"oci-archive:{options.archive}"), options.image)
    else:
        image = _local(options.image, options.variant)
    given = image.labels.get(OVERRIDES_LABEL, "")
    if given and not options.allow_overrides:
        raise InputError(
            f"{image.source.name} was built with overrides ({given}), for a rehearsal or trial; "
            "only what the lock says is published. Build it without them, or add "
            "--allow-overrides for a registry of rehearsals."
        )
    pushed = push(
        image,
        target,
        credentials=find_credentials(target.host, options.auth_file),
        authority=options.ca,
        progress=_tell,
    )
    print(pushed.text())
    return 0


def _save(options: argparse.Namespace) -> int:
    names = options.images or ["comfyui-vace", "gateway"]
    images = {}
    for name in names:
        image = _local(name, options.variant)
        variant = image.labels.get(VARIANT_LABEL, "")
        images[f"{image.labels.get(IMAGE_LABEL, name)}{f'-{variant}' if variant else ''}"] = image
    size = save(images, options.archive, _tell)
    print(f"{options.archive}: {megabytes(size)}")
    for name, image in sorted(images.items()):
        print(f"  {name}  {image.digest}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    lock = load()
    cache = default_cache_folder()

    def check(image: Image) -> int:
        report = verify(
            image,
            lock,
            allow_overrides=options.allow_overrides,
            allow_skips=options.allow_skips,
            base=_base(options.base, lock, cache),
            find_wheel=WheelCache(cache / "wheels").find,
            git_cache=cache / "git",
            progress=_tell,
        )
        print(json.dumps(report.json(), indent=1) if options.json else report.text())
        return 0 if report.ok else 1

    if _is_local(options.image):
        return check(_local(options.image, options.variant, options.name, any_lock=True))
    reference = parse_reference(options.image)
    credentials = find_credentials(reference.host, options.auth_file)
    with Registry(reference.host, credentials=credentials, authority=options.ca) as registry:
        return check(load_image(RegistrySource(registry, reference)))


def _base(text: str | None, lock: Lock, cache: Path) -> Image | None:
    """The base to compare with: the one that was given, or the locked one if the cache has it."""
    if text is not None:
        return load_image(open_source(text))
    for entry in Cache(cache).entries():
        if entry.name == "base" and (entry.path / "oci" / "index.json").is_file():
            image = load_image(LayoutSource(entry.path / "oci"))
            if image.digest == lock.base.digest:
                return image
    return None


def _clean(options: argparse.Namespace) -> int:
    root = default_cache_folder()
    cache = Cache(root)
    names = {"base", *(f"image-{image}" for image in IMAGES)}
    names |= {f"image-{image}-{variant}" for image in IMAGES for variant in VARIANTS}
    for entry in cache.entries():
        if entry.name in names:
            cache.remove(entry)
            print(f"removed {entry.name} {entry.key}")
    for program in ("buildah", "podman"):
        with cache.locked(f"engine-{program}", f"removing layers of {program}", _tell):
            engines.BuildahEngine(program, root / "images").remove_storage()
    for name in ("images/blobs", *(("wheels", "git") if options.all else ())):
        if (root / name).exists():
            remove_tree(root / name)
            print(f"removed {name}")
    return 0


def parse_overrides(rows: Sequence[str], base: str | None, mirror: str) -> Overrides:
    """Overrides from the command line. Raises InputError for one that is not understood."""
    git: dict[str, GitOverride] = {}
    debian: tuple[str, ...] | None = None
    weights = False
    for row in rows:
        name, separator, value = row.partition("=")
        remote, at, commit = value.rpartition("@")
        if row == "weights":
            weights = True
        elif name == "debian" and separator:
            debian = tuple(part for part in value.split(",") if part)
        elif separator and at and remote:
            git[name] = GitOverride(remote, commit)
        else:
            raise InputError(
                f"--override {row!r} is not understood. Allowed are NAME=URL@COMMIT with a full "
                "commit, debian=PACKAGE,PACKAGE, and weights. Give one of these."
            )
    return Overrides(base, git, debian, mirror, weights)


def _remotes(rows: Sequence[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for row in rows:
        name, separator, url = row.partition("=")
        if not separator or not url:
            raise InputError(f"--git-remote {row!r} is not understood; give NAME=URL.")
        found[name] = (*found.get(name, ()), url)
    return found


def _output_folder(text: str) -> Path:
    kind, _, folder = text.partition(":")
    if kind != "oci" or not folder:
        raise InputError(f"--output {text!r} is not understood; give oci:DIR.")
    return Path(folder)


def _is_local(text: str) -> bool:
    return text in IMAGES or text.startswith(("oci:", "oci-archive:"))


def _local(text: str, variant: str, name: str = "", *, any_lock: bool = False) -> Image:
    """An image of this machine: the one built last under a name, a layout or an archive."""
    if text not in IMAGES:
        return load_image(open_source(text), name)
    image = load_image(LayoutSource(last_built(default_cache_folder(), text, variant)))
    wanted = f"sha256:{load().sha256}"
    if not any_lock and image.labels.get(LOCK_LABEL) != wanted:
        raise InputError(
            f"the {text} that was built last comes from lock {image.labels.get(LOCK_LABEL)}, the "
            f"lock is now {wanted}. Only what the lock says is published. Run "
            f"`python -m images build {text} --variant {variant}` first."
        )
    return image


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
