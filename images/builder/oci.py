"""Reads images where they lie: an OCI layout (a folder), or an archive of one (a tar file).

Nothing is unpacked: an archive's blobs are read at their place in the file. What is read of a
manifest or config is checked against its digest; layers are checked by whoever reads them to the
end (see ``images.builder.layers``). The layout is the one of the OCI image specification 1.1.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from images.builder.errors import InputError

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
MANIFEST_TYPES = (MANIFEST_TYPE, "application/vnd.docker.distribution.manifest.v2+json")
REF_NAME = "org.opencontainers.image.ref.name"
LAYOUT_FILE = "oci-layout"
LAYOUT = b'{"imageLayoutVersion": "1.0.0"}'
_METADATA_LIMIT = 8 << 20


@dataclass(frozen=True)
class Descriptor:
    """Points to a blob: media type, ``sha256:…`` and size in bytes."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> Descriptor:
        """From the JSON of a manifest or index. Raises InputError when a field is missing."""
        try:
            return cls(
                str(row.get("mediaType", "")),
                str(row["digest"]),
                int(row["size"]),
                dict(row.get("annotations") or {}),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"a descriptor of the image is incomplete: {json.dumps(row)[:200]}. It needs "
                "mediaType, digest and size. Build or copy the image again."
            ) from error

    def json(self) -> dict[str, Any]:
        """As the specification writes it."""
        row: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size,
        }
        if self.annotations:
            row["annotations"] = dict(self.annotations)
        return row


class BlobSource(Protocol):
    """Wherever an image's blobs come from: a layout, an archive, a registry."""

    @property
    def name(self) -> str:
        """What the user gave, for messages."""

    def images(self) -> list[Descriptor]:
        """Manifests that can be asked for."""

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Content of a blob. Raises InputError when there is no such blob."""


@dataclass(frozen=True)
class Image:
    """One image: manifest and config, read and checked; layers are read from ``source``."""

    source: BlobSource
    descriptor: Descriptor
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Digest of the manifest: what a reference by digest names."""
        return self.descriptor.digest

    @property
    def config_descriptor(self) -> Descriptor:
        """Where the config lies."""
        return Descriptor.parse(self.manifest["config"])

    @property
    def layers(self) -> list[Descriptor]:
        """Layers from the lowest to the highest."""
        return [Descriptor.parse(row) for row in self.manifest["layers"]]

    @property
    def diff_ids(self) -> list[str]:
        """Digests of the layers before compression, in the same order."""
        return [str(value) for value in self.config.get("rootfs", {}).get("diff_ids", [])]

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the config."""
        return dict(self.config.get("config", {}).get("Labels") or {})

    @property
    def size(self) -> int:
        """Bytes to pull: config and compressed layers."""
        return self.config_descriptor.size + sum(layer.size for layer in self.layers)

    def made_by(self) -> list[str]:
        """For each layer the build instruction that made it, as the history tells."""
        rows = [row for row in self.config.get("history", []) if not row.get("empty_layer")]
        commands = [str(row.get("created_by", "")) for row in rows]
        return commands if len(commands) == len(self.layers) else [""] * len(self.layers)


class LayoutSource:
    """An OCI layout in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not (folder / "index.json").is_file():
            raise InputError(
                f"{folder} is not an OCI layout: it has no index.json. Give the folder that "
                "`python -m images build --output oci:DIR` wrote."
            )

    @property
    def name(self) -> str:
        """``oci:<folder>``."""
        return f"oci:{self._folder}"

    def images(self) -> list[Descriptor]:
        """Entries of index.json."""
        return _manifests((self._folder / "index.json").read_bytes(), self.name)

    def path(self, digest: str) -> Path:
        """File of a blob."""
        algorithm, _, value = checked_digest(digest, self.name).partition(":")
        return self._folder / "blobs" / algorithm / value

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """The blob's file."""
        try:
            return self.path(descriptor.digest).open("rb")
        except FileNotFoundError:
            raise _missing(descriptor.digest, self.name) from None


class ArchiveSource:
    """An OCI layout in a tar file, uncompressed as tools write it."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._places: dict[str, tuple[int, int]] = {}
        try:
            with tarfile.open(archive, "r:") as tar:
                for member in tar:
                    if member.isfile():
                        name = member.name.removeprefix("./")
                        self._places[name] = (member.offset_data, member.size)
        except (OSError, tarfile.TarError) as error:
            raise InputError(
                f"{archive} cannot be read as an archive: {error}. An uncompressed tar file of an "
                "OCI layout is expected, as `python -m images save` writes it."
            ) from error
        if "index.json" not in self._places:
            raise InputError(
                f"{archive} holds no index.json, so it is not an archive of OCI images. "
                "Write one with `python -m images save`, or `buildah push IMAGE oci-archive:FILE`."
            )

    @property
    def name(self) -> str:
        """``oci-archive:<file>``."""
        return f"oci-archive:{self._archive}"

    def images(self) -> list[Descriptor]:
        """Entries of index.json."""
        with self._open("index.json") as stream:
            return _manifests(stream.read(), self.name)

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """The blob's part of the file."""
        algorithm, _, value = checked_digest(descriptor.digest, self.name).partition(":")
        path = f"blobs/{algorithm}/{value}"
        if path not in self._places:
            raise _missing(descriptor.digest, self.name)
        return self._open(path)

    def _open(self, path: str) -> BinaryIO:
        offset, size = self._places[path]
        return io.BufferedReader(_Part(self._archive, offset, size), 1 << 20)


class _Part(io.RawIOBase):
    """A stretch of a file, read from its beginning to its end."""

    def __init__(self, path: Path, offset: int, size: int) -> None:
        super().__init__()
        self._file = path.open("rb")
        self._file.seek(offset)
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: self._left]
        count = self._file.readinto(view)
        self._left -= count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def open_source(text: str) -> BlobSource:
    """A layout or archive from ``oci:DIR`` or ``oci-archive:FILE``. Raises InputError."""
    kind, _, path = text.partition(":")
    if kind == "oci" and path:
        return LayoutSource(Path(path))
    if kind == "oci-archive" and path:
        return ArchiveSource(Path(path))
    raise InputError(f"{text!r} is neither oci:DIR nor oci-archive:FILE. Give one of these forms.")


def load_image(source: BlobSource, ref: str = "") -> Image:
    """Read manifest and config of one image.

    ``ref`` is a ref name or a digest; it may be left out when the source has one image. An index
    inside the index (several platforms) is followed when it holds one image. Raises InputError.
    """
    found = source.images()
    names = [row.annotations.get(REF_NAME, "") or row.digest for row in found]
    if ref:
        chosen = [row for row, name in zip(found, names, strict=True) if ref in (name, row.digest)]
    else:
        chosen = found
    if len(chosen) != 1:
        wanted = f"image {ref!r}" if ref else "one image"
        raise InputError(
            f"{source.name} has {len(chosen)} matches where {wanted} was wanted; it holds "
            f"{', '.join(sorted(names)) or 'nothing'}. Name one of these."
        )
    descriptor = chosen[0]
    manifest = read_json(source, descriptor)
    if "manifests" in manifest:
        inner = [
            Descriptor.parse(row)
            for row in manifest["manifests"]
            # Builders put attestations beside the image, as a platform that does not exist.
            if row.get("platform", {}).get("os") != "unknown"
        ]
        if len(inner) != 1:
            raise InputError(
                f"{source.name}: {descriptor.digest} is an index of {len(inner)} platforms; these "
                "images are built for linux/amd64 alone. Name the manifest's own digest."
            )
        descriptor = inner[0]
        manifest = read_json(source, descriptor)
    if "layers" not in manifest or "config" not in manifest:
        raise InputError(
            f"{source.name}: {descriptor.digest} is no image manifest (no config or layers). "
            "Build or copy the image again."
        )
    config = read_json(source, Descriptor.parse(manifest["config"]))
    return Image(source, descriptor, manifest, config)


def read_json(source: BlobSource, descriptor: Descriptor) -> dict[str, Any]:
    """A small blob, checked against its size and digest. Raises InputError."""
    if descriptor.size > _METADATA_LIMIT:
        raise InputError(
            f"{source.name}: {descriptor.digest} claims {descriptor.size} bytes; a manifest or "
            f"config has at most {_METADATA_LIMIT}. Build or copy the image again."
        )
    with source.open(descriptor) as stream:
        content = stream.read(_METADATA_LIMIT + 1)
    actual = "sha256:" + hashlib.sha256(content).hexdigest()
    if actual != descriptor.digest or len(content) != descriptor.size:
        raise InputError(
            f"{source.name}: blob {descriptor.digest} of {descriptor.size} bytes was expected, "
            f"but {len(content)} bytes with {actual} are there. It was damaged or exchanged; "
            "build or copy the image again."
        )
    parsed = json.loads(content)
    if not isinstance(parsed, dict):
        raise InputError(f"{source.name}: blob {descriptor.digest} is not a JSON object.")
    return parsed


def checked_digest(digest: str, source: str) -> str:
    """The digest if it is ``sha256:`` and 64 digits; anything else could name another path."""
    algorithm, _, value = digest.partition(":")
    if algorithm != "sha256" or len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise InputError(
            f"{source}: {digest!r} is not a digest; `sha256:` and 64 hexadecimal digits are "
            "expected. The image's JSON is damaged; build or copy it again."
        )
    return digest


def _manifests(content: bytes, name: str) -> list[Descriptor]:
    try:
        rows = json.loads(content)["manifests"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{name}: index.json is damaged ({error}). Build or copy the image again."
        ) from error
    return [Descriptor.parse(row) for row in rows]


def _missing(digest: str, name: str) -> InputError:
    return InputError(f"{name} lacks blob {digest}, which the image needs. Copy the image again.")
