"""Writes small OCI layouts by hand, and a lock that fits them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from images.builder.oci import CONFIG_TYPE, LAYER_TYPE, LAYOUT, LAYOUT_FILE, MANIFEST_TYPE
from images.lock import Lock, parse

Layer = Mapping[str, bytes | None]
"""Path to content; None makes a folder, and names that begin with .wh. are whiteouts."""


def layer_tar(files: Layer, executable: Sequence[str] = ()) -> bytes:
    """The archive of a layer."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.mode = 0o755 if name in executable else 0o644
            if content is None:
                member.type = tarfile.DIRTYPE
            member.size = len(content or b"")
            tar.addfile(member, io.BytesIO(content or b""))
    return stream.getvalue()


def write_layout(
    folder: Path, layers: Sequence[Layer], labels: Mapping[str, str], *, pack: str = ""
) -> str:
    """Write a layout with one image; returns its digest. ``pack`` is gzip, zstd or nothing."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(content: bytes, media_type: str) -> dict[str, Any]:
        value = hashlib.sha256(content).hexdigest()
        (blobs / value).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{value}", "size": len(content)}

    archives = [layer_tar(files) for files in layers]
    layer_type = f"{LAYER_TYPE}+{pack}" if pack else LAYER_TYPE
    config = {
        "architecture": "amd64", "os": "linux", "config": {"Labels": dict(labels)},
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(row).hexdigest()}" for row in archives],
        },
    }  # fmt: skip
    manifest = {
        "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
        "config": put(json.dumps(config).encode(), CONFIG_TYPE),
        "layers": [put(packed(row, pack), layer_type) for row in archives],
    }  # fmt: skip
    descriptor = put(json.dumps(manifest).encode(), MANIFEST_TYPE)
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}))
    (folder / LAYOUT_FILE).write_bytes(LAYOUT)
    return str(descriptor["digest"])


def packed(content: bytes, pack: str) -> bytes:
    """A layer as it lies in a layout."""
    if pack == "gzip":
        return gzip.compress(content, mtime=0)
    if pack == "zstd":
        command = ["zstd", "--quiet", "--stdout"]
        return subprocess.run(command, input=content, capture_output=True, check=True).stdout
    return content


def metadata(name: str, version: str, licence: str = "MIT") -> dict[str, bytes]:
    """An installed wheel, as far as a list of contents looks at it."""
    folder = f"opt/venv/lib/python3.11/site-packages/{name}-{version}.dist-info"
    text = (
        f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nLicense-Expression: {licence}\n"
    )
    return {f"{folder}/METADATA": text.encode(), f"{folder}/RECORD": b""}


def dpkg_status(**versions: str) -> dict[str, bytes]:
    """dpkg's database with these packages, and one that was removed."""
    rows = [
        f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n"
        for name, version in versions.items()
    ]
    rows.append("Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n")
    return {"var/lib/dpkg/status": "\n".join(rows).encode()}


MODEL = b"the weights"
COMFYUI_FILES = {"main.py": b"print()\n", "comfy/model.py": b"", "comfy.txt": b"sorts before"}
NODE_FILES = {"__init__.py": b"# nodes\n"}


def small_manifest(content: bytes = MODEL) -> dict[str, Any]:
    """A weights manifest with one file."""
    return {
        "schema": 1,
        "files": [
            {
                "name": "wan21_vace_vae.safetensors", "folder": "vae", "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(), "licence": "Apache-2.0",
                "sources": [
                    {"kind": "huggingface", "repo": "a/b", "revision": "c", "path": "d.safetensors"}
                ],
                "derived": None,
            }
        ],
    }  # fmt: skip


def small_lock(comfyui_tree: str, node_tree: str) -> Lock:
    """A lock with two wheels, a Debian package, two sources and one model."""

    def wheel(name: str, version: str, licence: str | None) -> dict[str, Any]:
        filename = f"{name}-{version}-py3-none-any.whl"
        return {
            "name": name, "version": version, "filename": filename, "size": 1, "licence": licence
        }  # fmt: skip

    def source(url: str, tree: str, path: str) -> dict[str, Any]:
        return {
            "url": url, "mirrors": [], "commit": "c" * 40, "version": "0.33.0", "tree": tree,
            "licence": "GPL-3.0-only", "path": path,
        }  # fmt: skip

    return parse(
        {
            "schema": 1, "pins_sha256": "0" * 64, "gateway_requirements_sha256": "0" * 64,
            "resolved_at": "2026-11-23",
            "base": {
                "name": "debian:bookworm-slim", "digest": f"sha256:{'0' * 64}", "source": "test"
            },
            "debian": {
                "suite": "bookworm", "architecture": "amd64",
                "packages": [
                    {
                        "name": "python3", "version": "3.11.2-1+b1", "sha256": "d" * 64, "size": 1,
                        "requested": True, "images": ["comfyui", "gateway"],
                    }
                ],
            },
            "git": {
                "comfyui": source("https://github.com/Owner/ComfyUI", comfyui_tree, ""),
                "nodes": source("https://git.example.com/nodes", node_tree, "custom_nodes/Nodes"),
            },
            "wheels": {
                "a" * 64: wheel("aio_http", "1.0", "Apache-2.0 AND MIT"),
                "b" * 64: wheel("numpy", "2.0", None),
                "e" * 64: wheel("gate", "1.0", "MIT"),
            },
            "groups": {"python": ["a" * 64, "b" * 64], "gateway": ["e" * 64]},
            "variants": {"cpu": {"groups": ["python"]}},
            "omitted": {},
            "weights": small_manifest(),
        }
    )  # fmt: skip
