"""Brings built images to a registry, and into one archive for sites without a network."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from images.builder.cache import free_gib
from images.builder.errors import DiskSpaceError, InputError
from images.builder.facts import IMAGE_LABEL
from images.builder.layers import CHUNK, HashingReader, LayerError
from images.builder.layouts import write_archive
from images.builder.oci import MANIFEST_TYPE, Descriptor, Image, LayoutSource
from images.builder.progress import Progress, ProgressCallback
from images.builder.references import Reference
from images.builder.registry import Registry
from images.builder.registry_auth import Credentials
from images.builder.registry_errors import (
    RegistryAnswerError,
    RegistryMissingError,
    RegistryUnreachableError,
)
from images.builder.report import megabytes

CONFIG_KEYS = {"comfyui": "comfyuiImage", "comfyui-vace": "comfyuiImage", "gateway": "gatewayImage"}
"""Keys of the stack's config that take an image's digest reference."""
_BYTES_PER_SECOND = 30e6
_ATTEMPTS = 4
_FIRST_WAIT_S = 2.0
_T = TypeVar("_T")


@dataclass(frozen=True)
class Pushed:
    """An image in a registry.

    Attributes:
        reference: by digest, without the tag.
        sent: bytes that the registry did not have yet.
        size: bytes of the whole image.
    """

    image: str
    reference: str
    tag: str
    sent: int
    size: int

    def text(self) -> str:
        """For people, with a line to paste."""
        lines = [
            self.reference,
            f"  tag {self.tag}; sent {megabytes(self.sent)} of {megabytes(self.size)}",
        ]
        key = CONFIG_KEYS.get(self.image)
        if key:
            lines.append(f"  pulumi config set {key} {self.reference}")
        return "\n".join(lines)


def push(
    image: Image,
    target: Reference,
    *,
    credentials: Credentials | None = None,
    authority: Path | None = None,
    progress: ProgressCallback = lambda _: None,
    wait: Callable[[float], None] = time.sleep,
) -> Pushed:
    """Upload what the registry lacks, then the manifest under the tag.

    The manifest comes last, so the tag never names an image that is not whole. Blobs go in chunks;
    each request is tried four times. Raises RegistryError, LayerError for a blob that is damaged
    here, InputError when the target has no tag.
    """
    if not target.tag or target.digest:
        raise InputError(
            f"{target}: images are pushed under a tag, and a digest comes out of it. "
            "Give REGISTRY/REPOSITORY:TAG."
        )
    sent = 0
    blobs = [*image.layers, image.config_descriptor]
    with Registry(target.host, credentials=credentials, authority=authority, wait=wait) as registry:
        for number, blob in enumerate(blobs, 1):
            what = f"pushing {target}: blob {number} of {len(blobs)}, {megabytes(blob.size)}"

            def there(blob: Descriptor = blob) -> bool:
                return registry.has_blob(target.repository, blob.digest)

            if not _patiently(there, what, progress, wait):
                with Progress(what, 1 + blob.size / _BYTES_PER_SECOND, progress):
                    _push_blob(registry, target.repository, image, blob, progress)
                sent += blob.size
        with image.source.open(image.descriptor) as stream:
            content = stream.read()
        media_type = image.descriptor.media_type or MANIFEST_TYPE

        def finish() -> Descriptor:
            return registry.push_manifest(target.repository, target.tag, content, media_type)[0]

        descriptor = _patiently(finish, f"pushing {target}: manifest", progress, wait)
    reference = f"{target.name}@{descriptor.digest}"
    name = image.labels.get(IMAGE_LABEL, "")
    return Pushed(name, reference, target.tag, sent, image.size)


def save(images: Mapping[str, Image], archive: Path, progress: ProgressCallback) -> int:
    """Write images, by ref name, into one OCI archive; returns its size in bytes.

    Raises DiskSpaceError before the first byte, LayerError for a damaged blob.
    """
    total = sum(
        {blob.digest: blob.size for each in images.values() for blob in each.layers}.values()
    )
    folder = archive.absolute().parent
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder, so {archive.name} cannot be written. Make it.")
    if free_gib(folder) < total / 2**30:
        raise DiskSpaceError(folder, f"saving {archive.name}", total / 2**30, free_gib(folder))
    with Progress(f"saving {archive.name}, {megabytes(total)}", 1 + total / 300e6, progress):
        write_archive(archive.absolute(), images)
    return archive.stat().st_size


def _push_blob(
    registry: Registry,
    repository: str,
    image: Image,
    blob: Descriptor,
    progress: ProgressCallback,
) -> None:
    def tell(sentence: str) -> None:
        progress(f"pushing {registry.host}/{repository}: {sentence}")

    with _as_file(image, blob) as file:
        pushed = registry.push_blob(repository, file, tell=tell)
    if pushed.digest != blob.digest:
        raise LayerError(
            f"{image.source.name}: blob {blob.digest} was expected, but its bytes have "
            f"{pushed.digest}. It was damaged or exchanged; build or copy the image again."
        )


@contextlib.contextmanager
def _as_file(image: Image, blob: Descriptor) -> Iterator[Path]:
    """The blob's file; a temporary one where it lies inside an archive."""
    if isinstance(image.source, LayoutSource):
        yield image.source.path(blob.digest)
        return
    # Not the system's temporary folder, which may be in memory; a layer can have gigabytes.
    folder = os.environ.get("TMPDIR", "/var/tmp")  # noqa: S108  # the file has a random name
    with tempfile.NamedTemporaryFile(prefix="vace-blob-", dir=folder) as copy:
        with image.source.open(blob) as stream:
            reader = HashingReader(stream)
            while chunk := reader.read(CHUNK):
                copy.write(chunk)
        copy.flush()
        if reader.digest != blob.digest:
            raise LayerError(
                f"{image.source.name}: blob {blob.digest} was expected, but {reader.digest} is "
                "there. The archive was damaged; copy it again."
            )
        yield Path(copy.name)


def _patiently(
    call: Callable[[], _T], what: str, progress: ProgressCallback, wait: Callable[[float], None]
) -> _T:
    for attempt in range(1, _ATTEMPTS):
        try:
            return call()
        except RegistryMissingError:
            raise
        except (RegistryUnreachableError, RegistryAnswerError) as error:
            seconds = _FIRST_WAIT_S * 2 ** (attempt - 1)
            progress(f"{what}: attempt {attempt} failed ({error}), again in {seconds:.0f} s")
            wait(seconds)
    return call()
