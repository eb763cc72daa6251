"""The image that all others start from: the locked one, or what replaces it.

``--base`` takes four forms. A registry's reference that ends with the locked digest is a mirror
and changes nothing; anything else is an override, which the image then says about itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from images.builder.cache import Cache
from images.builder.errors import InputError
from images.builder.layouts import copy_image, layout_of_root
from images.builder.oci import LayoutSource, load_image, open_source
from images.builder.progress import ProgressCallback
from images.builder.wheels import file_sha256
from images.lock import Lock

FORMS = "oci:DIR, oci-archive:FILE, rootfs:FILE.tar, or REGISTRY/REPOSITORY@sha256:DIGEST"


@dataclass(frozen=True)
class BaseImage:
    """What FROM gets.

    Attributes:
        identity: digest that stands for its content in the cache's keys.
        reference: a registry's reference, or None when ``layout`` has the image.
        layout: OCI layout with the image, or None.
        overridden: it is not the locked one.
    """

    identity: str
    reference: str | None
    layout: Path | None
    overridden: bool


def resolve_base(
    text: str | None, lock: Lock, cache: Cache, progress: ProgressCallback
) -> BaseImage:
    """The base that a build uses; archives are unpacked into the cache once.

    Raises InputError when the text has none of the four forms or the file cannot be used.
    """
    if text is None:
        return BaseImage(lock.base.digest, lock.base.reference, None, overridden=False)
    kind, _, rest = text.partition(":")
    if kind == "oci":
        layout = Path(rest).resolve()
        digest = load_image(LayoutSource(layout)).digest
        return BaseImage(digest, None, layout, digest != lock.base.digest)
    if kind == "oci-archive":
        image = load_image(open_source(text))
        layout = _unpacked(cache, image.digest, lambda target: copy_image(image, target), progress)
        return BaseImage(image.digest, None, layout, image.digest != lock.base.digest)
    if kind == "rootfs":
        archive = Path(rest)
        if not archive.is_file():
            raise InputError(
                f"--base {text}: {archive} is not a file. Give an uncompressed tar archive of a "
                "Debian root file system."
            )
        key = file_sha256(archive)
        layout = _unpacked(cache, key, lambda target: layout_of_root(archive, target), progress)
        return BaseImage(load_image(LayoutSource(layout)).digest, None, layout, overridden=True)
    name, separator, digest = text.rpartition("@")
    if not separator or not digest.startswith("sha256:") or len(digest) != 71:
        raise InputError(
            f"--base {text!r} is not understood. Allowed are {FORMS}. A tag is not enough, "
            "because it can point to another image tomorrow."
        )
    if not name:
        raise InputError(f"--base {text!r} names no repository before the @. Give {FORMS}.")
    return BaseImage(digest, text, None, digest != lock.base.digest)


def _unpacked(
    cache: Cache, identity: str, write: Callable[[Path], None], progress: ProgressCallback
) -> Path:
    def build(folder: Path, _: Path) -> None:
        write(folder / "oci")

    key = identity.removeprefix("sha256:")[:16]
    folder = cache.ensure(
        "base", key, build, what="preparing the base image", estimate_s=5, progress=progress
    )
    return folder / "oci"
