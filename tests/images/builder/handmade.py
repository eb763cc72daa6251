"""Images made by hand: an OCI layout from dictionaries, so that a test can break any part of it."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import importlib.util
import io
import json
import marshal
import platform
import subprocess
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from images.builder.context import dump_json, package_files
from images.builder.facts import labels_of
from images.builder.oci import Image, LayoutSource, load_image
from images.lock import Lock, load
from tests.images.builder.tiny import Tiny, make_tiny, write_wheel

SITE = "opt/venv/lib/python3.11/site-packages"


WRAPPER = '#!/bin/sh\nexec /opt/venv/bin/python -s -m vace_comfyui "$@"\n'


@dataclass
class Entry:
    """A file of a layer: content, or a link's target."""

    content: bytes = b""
    mode: int = 0o644
    link: str | None = None
    hard: bool = False


def text(content: str, mode: int = 0o644) -> Entry:
    """A text file."""
    return Entry(content.encode(), mode)


def layer(files: Mapping[str, Entry]) -> bytes:
    """An uncompressed layer."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, entry in files.items():
            info = tarfile.TarInfo(path)
            info.mode = entry.mode
            if entry.link is not None:
                info.type = tarfile.LNKTYPE if entry.hard else tarfile.SYMTYPE
                info.linkname = entry.link
                tar.addfile(info)
            elif path.endswith("/"):
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            else:
                info.size = len(entry.content)
                tar.addfile(info, io.BytesIO(entry.content))
    return stream.getvalue()


def compressed(content: bytes, how: str) -> bytes:
    """Compress as builders do."""
    if how == "gzip":
        return gzip.compress(content, mtime=0)
    if how == "zstd":
        command = ["zstd", "-q", "-c"]
        return subprocess.run(command, input=content, stdout=subprocess.PIPE, check=True).stdout
    return content


@dataclass
class Parts:
    """Everything an image is made of; change it, then ``write``."""

    layers: list[dict[str, Entry]]
    labels: dict[str, str]
    user: str = "10001:10001"
    entry_point: list[str] = field(default_factory=lambda: ["vace-comfyui"])
    command: list[str] = field(default_factory=lambda: ["serve"])
    environment: list[str] = field(
        default_factory=lambda: [
            "PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        ]
    )
    compression: str = "gzip"
    comment: str = ""

    def write(self, folder: Path) -> Path:
        """Write an OCI layout."""
        blobs = folder / "blobs" / "sha256"
        blobs.mkdir(parents=True)

        def add(content: bytes, media_type: str) -> dict[str, Any]:
            value = hashlib.sha256(content).hexdigest()
            (blobs / value).write_bytes(content)
            return {"mediaType": media_type, "digest": f"sha256:{value}", "size": len(content)}

        suffix = f"+{self.compression}" if self.compression else ""
        diff_ids, rows = [], []
        for files in self.layers:
            plain = layer(files)
            diff_ids.append(f"sha256:{hashlib.sha256(plain).hexdigest()}")
            media = f"application/vnd.oci.image.layer.v1.tar{suffix}"
            rows.append(add(compressed(plain, self.compression), media))
        settings: dict[str, Any] = {
            "Labels": self.labels,
            "Cmd": self.command,
            "Env": self.environment,
        }
        if self.user:
            settings["User"] = self.user
        if self.entry_point:
            settings["Entrypoint"] = self.entry_point
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [
                {"created_by": f"layer {number}", "comment": self.comment}
                for number in range(len(rows))
            ],
        }
        manifest = {
            "schemaVersion": 2,
            "config": add(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
            "layers": rows,
        }
        top = add(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
        (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        return folder


@dataclass
class World:
    """A lock, and the parts of an image that is what the lock says."""

    tiny: Tiny
    lock: Lock
    parts: Parts


def make_world(root: Path, image: str = "comfyui-vace") -> World:
    """A lock with one wheel, one source, one Debian package, one weight file; and its image."""
    tiny = make_tiny(root)
    tiny.document["debian"]["packages"] = [
        {
            "name": "libx",
            "version": "1.2-3",
            "sha256": "1" * 64,
            "size": 10,
            "requested": True,
            "images": ["comfyui"],
        }
    ]
    tiny.write_lock()
    lock = load(root / "pins.lock.json")
    labels = labels_of(image, "cpu", lock, (), {"comfyui": lock.git["comfyui"].commit})
    wheel = write_wheel(root / "again", "tiny", "1.0", {"tiny/__init__.py": "X = 1\n"})
    facts = {"schema": 1, "variant": "cpu", "lock_sha256": lock.sha256, "overrides": []}
    status = (
        "Package: libx\nStatus: install ok installed\nVersion: 1.2-3\nDescription: x\n y: z\n\n"
        "Package: python3.11\nStatus: install ok installed\n"
        f"Version: {platform.python_version()}-6\n"
    )
    weights = root / "weights"
    packages = {**package_files("vace_comfyui"), **package_files("vace_weights")}
    layers = [
        {"usr/bin/su": text("su", 0o755), "usr/bin/python3.11": text("python", 0o755)},
        {"var/lib/dpkg/status": text(status)},
        {**unpacked(wheel), **byte_code(f"{SITE}/tiny/__init__.py", b"X = 1\n")},
        {
            "opt/comfyui/main.py": text("print('hello')\n"),
            "opt/comfyui/nodes/a.py": text("A = 1\n"),
        },
        {
            "opt/vace/image.json": text(dump_json(facts)),
            "usr/local/bin/vace-comfyui": text(WRAPPER, 0o755),
            **{f"opt/vace/{path}": Entry(file.read_bytes()) for path, file in packages.items()},
        },
        {
            "opt/models/vae/vae.safetensors": Entry(
                (weights / "vae" / "vae.safetensors").read_bytes(), 0o444
            )
        },
        {"opt/models/manifest.json": Entry((weights / "manifest.json").read_bytes(), 0o444)},
    ]
    return World(tiny, lock, Parts(layers, labels))


def byte_code(path: str, source: bytes, runs: bytes | None = None) -> dict[str, Entry]:
    """Byte code beside a source, as the build makes it; ``runs`` is compiled in its stead."""
    head = b"\xa7\r\r\n" + (1).to_bytes(4, "little") + importlib.util.source_hash(source)
    body = marshal.dumps(compile(source if runs is None else runs, path, "exec", dont_inherit=True))
    folder, _, name = path.rpartition("/")
    stem = name.removesuffix(".py")
    return {f"{folder}/__pycache__/{stem}.cpython-311.pyc": Entry(head + body)}


def base_image(world: World) -> Image:
    """An image of the lowest layer alone, with the digest that the lock names."""
    folder = world.tiny.root / "base"
    if not folder.exists():
        Parts(world.parts.layers[:1], {}).write(folder)
    image = load_image(LayoutSource(folder))
    named = dataclasses.replace(image.descriptor, digest=world.lock.base.digest)
    return dataclasses.replace(image, descriptor=named)


def unpacked(wheel: Path) -> dict[str, Entry]:
    """Files of a wheel where pip puts them."""
    with zipfile.ZipFile(wheel) as archive:
        return {f"{SITE}/{name}": Entry(archive.read(name)) for name in archive.namelist()}
