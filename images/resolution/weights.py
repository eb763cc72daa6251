"""Weights: the manifest of the lock from the pins; nothing is asked, the hashes are pins."""

from __future__ import annotations

from typing import Any

from images.pins import WeightPin, WeightPins

SCHEMA = 1


def resolve(pins: WeightPins) -> dict[str, Any]:
    """Return the weights manifest, as ``vace_weights.manifest`` reads it."""
    return {"schema": SCHEMA, "files": [_file(pins, each) for each in pins.files]}


def _file(pins: WeightPins, pin: WeightPin) -> dict[str, Any]:
    sources = [
        {
            "kind": source.kind,
            "repo": pins.repository,
            "revision": source.revision or pin.revision,
            "path": pin.path,
        }
        for source in pins.sources
    ]
    row: dict[str, Any] = {"name": pin.name, "folder": pin.folder, "licence": pin.licence}
    if pin.converter is None:
        return {
            **row,
            "size": pin.size,
            "sha256": pin.sha256,
            "sources": sources,
            "derived": None,
        }
    origin = {"name": pin.source, "size": pin.size, "sha256": pin.sha256, "sources": sources}
    return {
        **row,
        "size": pin.derived_size,
        "sha256": pin.derived_sha256,
        "derived": {"converter": pin.converter, "source": origin},
    }
