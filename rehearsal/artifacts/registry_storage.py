"""Puts OCI layouts where docker-registry expects its data, without a running registry.

The layout of the storage folder is the one of the CNCF Distribution registry's filesystem driver:
blobs below ``blobs/sha256``, and in each repository links that say which blobs belong to it.
Blobs are hard-linked, so publishing an image costs neither time nor space.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

_STORE = Path("docker/registry/v2")


def publish(layout: Path, storage: Path, repository: str) -> str:
    """Make the image of an OCI layout pullable as ``repository``; returns its digest.

    ``layout`` holds one manifest; ``repository`` is for example ``vace/gateway``. Publishing the
    same image again changes nothing.
    """
    index = json.loads((layout / "index.json").read_text())
    [descriptor] = index["manifests"]
    manifest_digest: str = descriptor["digest"]
    manifest = json.loads(_layout_blob(layout, manifest_digest).read_text())
    folder = storage / _STORE / "repositories" / repository
    for blob in [manifest["config"], *manifest["layers"]]:
        _link_blob(layout, storage, blob["digest"])
        _write_link(folder / "_layers", blob["digest"])
    _link_blob(layout, storage, manifest_digest)
    # Last, so that a manifest never names a blob that is not there yet.
    _write_link(folder / "_manifests" / "revisions", manifest_digest)
    return manifest_digest


def image_size(layout: Path) -> int:
    """Compressed size in bytes of the one image in an OCI layout."""
    index = json.loads((layout / "index.json").read_text())
    [descriptor] = index["manifests"]
    manifest = json.loads(_layout_blob(layout, descriptor["digest"]).read_text())
    return sum(blob["size"] for blob in [manifest["config"], *manifest["layers"]])


def _layout_blob(layout: Path, digest: str) -> Path:
    algorithm, _, value = digest.partition(":")
    return layout / "blobs" / algorithm / value


def _link_blob(layout: Path, storage: Path, digest: str) -> None:
    algorithm, _, value = digest.partition(":")
    target = storage / _STORE / "blobs" / algorithm / value[:2] / value / "data"
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".data-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.hardlink_to(_layout_blob(layout, digest))
    # Another run may have been faster; both files have the same content.
    temporary.replace(target)


def _write_link(folder: Path, digest: str) -> None:
    algorithm, _, value = digest.partition(":")
    target = folder / algorithm / value / "link"
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".link-{os.getpid()}")
    temporary.write_text(digest)
    temporary.replace(target)
