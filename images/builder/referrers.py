"""Artifacts that refer to an image in its registry, such as its list of contents (SBOM).

A manifest with a ``subject`` refers to that image. Registries of the specification 1.1 list what
refers to a digest; for older ones clients keep the list themselves, as an index under the tag
``sha256-<digest>`` (the specification calls it the referrers tag schema).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from images.builder.oci import INDEX_TYPE, MANIFEST_TYPE, Descriptor
from images.builder.registry import Registry
from images.builder.registry_errors import RegistryAnswerError

EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_EMPTY = b"{}"


@dataclass(frozen=True)
class Referrer:
    """One artifact that refers to an image: its manifest, and what kind it is."""

    descriptor: Descriptor
    artifact_type: str


def referrers(
    registry: Registry, repository: str, digest: str, artifact_type: str = ""
) -> list[Referrer]:
    """What refers to the manifest with this digest, all kinds or one. Raises RegistryError."""
    content = registry.get_index(repository, f"referrers/{digest}")
    if content is None:
        content = registry.get_index(repository, f"manifests/{_tag(digest)}")
    rows = [] if content is None else _rows(content, registry, repository)
    found = [Referrer(Descriptor.parse(row), str(row.get("artifactType", ""))) for row in rows]
    return [each for each in found if artifact_type in ("", each.artifact_type)]


def attach(
    registry: Registry,
    repository: str,
    subject: Descriptor,
    content: bytes,
    *,
    artifact_type: str,
    annotations: Mapping[str, str] | None = None,
) -> Descriptor:
    """Push ``content`` as an artifact that refers to ``subject``; returns its manifest.

    Attaching the same content again changes nothing. Raises RegistryError.
    """
    config = registry.push_blob(repository, _EMPTY)
    blob = registry.push_blob(repository, content)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": artifact_type,
        "config": {"mediaType": EMPTY_TYPE, "digest": config.digest, "size": config.size},
        "layers": [{"mediaType": artifact_type, "digest": blob.digest, "size": blob.size}],
        "subject": {
            "mediaType": subject.media_type,
            "digest": subject.digest,
            "size": subject.size,
        },
        "annotations": dict(sorted((annotations or {}).items())),
    }
    encoded = _encode(manifest)
    own = f"sha256:{hashlib.sha256(encoded).hexdigest()}"
    descriptor, kept_by_registry = registry.push_manifest(repository, own, encoded, MANIFEST_TYPE)
    if not kept_by_registry:
        row = {**descriptor.json(), "artifactType": artifact_type}
        row["annotations"] = manifest["annotations"]
        _add_to_tag(registry, repository, subject.digest, row)
    return descriptor


def _add_to_tag(registry: Registry, repository: str, digest: str, row: dict[str, Any]) -> None:
    content = registry.get_index(repository, f"manifests/{_tag(digest)}")
    rows = [] if content is None else _rows(content, registry, repository)
    if any(each.get("digest") == row["digest"] for each in rows):
        return
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [*rows, row]}
    registry.push_manifest(repository, _tag(digest), _encode(index), INDEX_TYPE)


def _rows(content: bytes, registry: Registry, repository: str) -> list[dict[str, Any]]:
    try:
        return [dict(row) for row in json.loads(content)["manifests"]]
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryAnswerError(
            f"{registry.host}/{repository}: the list of what refers to an image is damaged "
            f"({error}). Expected is an OCI index. Remove the tag that begins with sha256-, and "
            "attach again."
        ) from error


def _tag(digest: str) -> str:
    return digest.replace(":", "-")


def _encode(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
