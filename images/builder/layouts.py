"""Writes OCI layouts: from a root file system, from an archive, and many images into one archive.

Everything written is a function of its input: times are 0, owners are 0, names are in order.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from images.builder.errors import InputError
from images.builder.layers import CHUNK, HashingReader, LayerError
from images.builder.oci import (
    CONFIG_TYPE,
    INDEX_TYPE,
    LAYER_TYPE,
    LAYOUT,
    LAYOUT_FILE,
    MANIFEST_TYPE,
    REF_NAME,
    Descriptor,
    Image,
    LayoutSource,
    load_image,
)

_FICLONE = 0x40049409
"""ioctl of Linux (include/uapi/linux/fs.h) that clones a file; Python 3.11 has no name for it."""
EPOCH = "1970-01-01T00:00:00Z"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def layout_of_root(archive: Path, target: Path) -> None:
    """Make ``target`` an OCI layout of one layer: an uncompressed tar of a root file system.

    Raises InputError when the file is no tar archive or has no ``bin/sh``.
    """
    try:
        with tarfile.open(archive, "r:") as tar:
            names = {name.removeprefix("./") for name in tar.getnames()}
    except (OSError, tarfile.TarError) as error:
        raise InputError(
            f"{archive} is not an uncompressed tar archive of a root file system: {error}. Make "
            "one with `mmdebstrap --variant=essential bookworm FILE.tar`."
        ) from error
    if not names & {"bin/sh", "usr/bin/sh"}:
        raise InputError(
            f"{archive} holds no bin/sh, so no build step could run on it. Give a root file system "
            "of Debian, as `mmdebstrap` makes it."
        )
    blobs = _start(target)
    layer = _add_file(blobs, archive, LAYER_TYPE)
    config = _add_json(
        blobs,
        {
            "created": EPOCH,
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": [_PATH, "LANG=C.UTF-8"], "Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
            "history": [{"created": EPOCH, "created_by": "root file system"}],
        },
        CONFIG_TYPE,
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": config.json(),
        "layers": [layer.json()],
    }
    _write_index(target, [_add_json(blobs, manifest, MANIFEST_TYPE)])


def copy_image(image: Image, target: Path) -> None:
    """Make ``target`` an OCI layout with this image, each blob checked.

    Raises LayerError when a blob is not what the image names.
    """
    blobs = _start(target)
    for descriptor in [image.descriptor, image.config_descriptor, *image.layers]:
        path = blobs / descriptor.digest.partition(":")[2]
        if path.exists():
            continue
        with image.source.open(descriptor) as stream, path.open("wb") as sink:
            _copy(stream, sink, descriptor, image.source.name)
    bare = Descriptor(MANIFEST_TYPE, image.descriptor.digest, image.descriptor.size)
    _write_index(target, [bare])


def forget_build_cache(layout: Path) -> None:
    """Drop from an image's history what only tells which cached steps its builder reused.

    buildah notes the ids of intermediate images there. They depend on what the builder had built
    before, so the image's digest would, too. Layers are not touched.
    """
    image = load_image(LayoutSource(layout))
    history = [
        {key: value for key, value in row.items() if key != "comment"}
        for row in image.config.get("history", [])
    ]
    blobs = layout / "blobs" / "sha256"
    config = _add_json(
        blobs, {**image.config, "history": history}, image.config_descriptor.media_type
    )
    manifest = {**image.manifest, "config": config.json()}
    media_type = image.descriptor.media_type or MANIFEST_TYPE
    descriptor = _add_json(blobs, manifest, media_type)
    _write_index(layout, [descriptor])
    for old, new in ((image.descriptor, descriptor), (image.config_descriptor, config)):
        if old.digest != new.digest:
            (blobs / old.digest.partition(":")[2]).unlink()


def export_layout(source: Path, target: Path) -> None:
    """Make ``target`` a copy of the layout ``source``, for the user.

    No hard links: whoever edits a file of the copy would change the cache with it.
    Raises InputError when ``target`` is not empty.
    """
    if target.exists() and any(target.iterdir()):
        raise InputError(
            f"{target} is not empty; an OCI layout is only written into a new or empty folder, so "
            "that nothing is mixed. Name another, or remove it."
        )
    target.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target, copy_function=copy_apart, dirs_exist_ok=True)


def share_blobs(layout: Path, pool: Path) -> None:
    """Keep one copy of each blob, whatever the number of layouts that have it.

    The bundle has the layers of its two images, and a new commit most of those of the old one:
    gigabytes each. Blobs are never written to again, so a hard link is as good as a copy.
    """
    pool.mkdir(parents=True, exist_ok=True)
    for blob in (layout / "blobs" / "sha256").iterdir():
        known = pool / blob.name
        try:
            os.link(blob, known)
        except FileExistsError:
            spare = blob.with_name(f".{blob.name}")
            os.link(known, spare)
            spare.replace(blob)
        except OSError:
            return  # This file system has no hard links: copies, then.
    # What no layout has any more.
    for known in pool.iterdir():
        if known.stat().st_nlink == 1:
            known.unlink()


def copy_apart(source: str | Path, target: str | Path) -> None:
    """A file of its own with the same bytes, which share their place on disk where that works.

    The file system may clone a file (btrfs, XFS): no byte is read or written then, and what is
    written to one of the two later does not reach the other.
    """
    with Path(source).open("rb") as original, Path(target).open("wb") as copy:
        try:
            fcntl.ioctl(copy, _FICLONE, original.fileno())
        except OSError:
            shutil.copyfileobj(original, copy, CHUNK)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """A hard link, or a copy where there can be none (another file system).

    For what nobody writes to again: files inside the cache, and the user's weights in a build
    context, which is removed with the build.
    """
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_archive(target: Path, images: Mapping[str, Image]) -> None:
    """Write images with their ref names into one tar file; blobs that they share are in it once.

    The file appears under its name when it is complete. Raises LayerError for a damaged blob.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    rows = []
    written: set[str] = set()
    try:
        with tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
            _add_bytes(tar, LAYOUT_FILE, LAYOUT)
            for name, image in sorted(images.items()):
                for descriptor in [image.config_descriptor, *image.layers, image.descriptor]:
                    if descriptor.digest not in written:
                        written.add(descriptor.digest)
                        _add_blob(tar, image, descriptor)
                rows.append(
                    Descriptor(
                        image.descriptor.media_type or MANIFEST_TYPE,
                        image.digest,
                        image.descriptor.size,
                        {REF_NAME: name},
                    )
                )
            _add_bytes(tar, "index.json", _index(rows))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _add_blob(tar: tarfile.TarFile, image: Image, descriptor: Descriptor) -> None:
    info = tarfile.TarInfo(f"blobs/sha256/{descriptor.digest.partition(':')[2]}")
    info.size = descriptor.size
    with image.source.open(descriptor) as stream:
        reader = HashingReader(stream)
        tar.addfile(info, io.BufferedReader(reader, CHUNK))
        _check(reader, descriptor, image.source.name)


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _copy(stream: Any, sink: Any, descriptor: Descriptor, name: str) -> None:
    reader = HashingReader(stream)
    shutil.copyfileobj(io.BufferedReader(reader, CHUNK), sink, CHUNK)
    _check(reader, descriptor, name)


def _check(reader: HashingReader, descriptor: Descriptor, name: str) -> None:
    if reader.digest != descriptor.digest or reader.count != descriptor.size:
        raise LayerError(
            f"{name}: blob {descriptor.digest} of {descriptor.size} bytes was expected, but "
            f"{reader.count} bytes with {reader.digest} came. It was damaged or exchanged; build "
            "or copy the image again."
        )


def _start(target: Path) -> Path:
    blobs = target / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (target / LAYOUT_FILE).write_bytes(LAYOUT)
    return blobs


def _add_file(blobs: Path, file: Path, media_type: str) -> Descriptor:
    # The file is the user's: copied first, so that what is hashed is what is kept, whatever is done
    # to the original meanwhile or later.
    copy = blobs / ".copy"
    copy_apart(file, copy)
    with copy.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    copy.replace(blobs / digest)
    return Descriptor(media_type, f"sha256:{digest}", (blobs / digest).stat().st_size)


def _add_json(blobs: Path, document: Mapping[str, Any], media_type: str) -> Descriptor:
    content = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    value = hashlib.sha256(content).hexdigest()
    (blobs / value).write_bytes(content)
    return Descriptor(media_type, f"sha256:{value}", len(content))


def _write_index(target: Path, rows: list[Descriptor]) -> None:
    (target / "index.json").write_bytes(_index(rows))


def _index(rows: list[Descriptor]) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": [row.json() for row in rows],
    }
    return json.dumps(document, indent=1).encode() + b"\n"
