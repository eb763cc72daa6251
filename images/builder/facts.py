"""What an image says about itself: its labels, and image.json for the checks at its start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vace_gateway import __version__ as gateway_version

from images import variants
from images.lock import Lock

IMAGE_LABEL = "com.wan-vace.image"
VARIANT_LABEL = "com.wan-vace.variant"
LOCK_LABEL = "com.wan-vace.lock"
OVERRIDES_LABEL = "com.wan-vace.overrides"
_OCI = "org.opencontainers.image"
_DESCRIPTIONS = {
    "comfyui": "ComfyUI with the nodes of the Wan VACE graphs; the weights are mounted",
    "weights": "Weights of Wan2.1-VACE-1.3B for ComfyUI; data only",
    "comfyui-vace": "ComfyUI with the nodes and the weights of Wan2.1-VACE-1.3B (FP8)",
    "gateway": "HTTPS gateway in front of ComfyUI: authentication, admission, streaming",
}


def image_facts(variant: str, lock: Lock, overrides: Sequence[str]) -> dict[str, Any]:
    """Content of ``/opt/vace/image.json``; what the image needs to refuse a GPU by name."""
    chosen = variants.find(variant)
    others = [each for each in variants.variants() if each.cuda and each.name != variant]
    return {
        "schema": 1,
        "variant": chosen.name,
        "cuda": chosen.cuda,
        "compute_capabilities": chosen.compute_capabilities,
        "least_driver": dict(chosen.least_driver),
        "alternatives": {each.name: dict(each.least_driver) for each in others},
        "lock_sha256": lock.sha256,
        "overrides": list(overrides),
        # Declared by other packages, left out by the lock on purpose.
        "omitted": dict(lock.omitted),
    }


def labels_of(
    image: str, variant: str, lock: Lock, overrides: Sequence[str], git: Mapping[str, str]
) -> dict[str, str]:
    """Labels of an image; ``git`` has the commit of each source that was used."""
    labels = {
        f"{_OCI}.title": f"vace-{image}" if image != "comfyui-vace" else image,
        f"{_OCI}.description": _DESCRIPTIONS[image],
        IMAGE_LABEL: image,
        LOCK_LABEL: f"sha256:{lock.sha256}",
        OVERRIDES_LABEL: ",".join(overrides),
    }
    if variant and image.startswith("comfyui"):
        labels[VARIANT_LABEL] = variant
    if image == "gateway":
        labels[f"{_OCI}.version"] = gateway_version
    elif "comfyui" in git:
        labels[f"{_OCI}.version"] = f"{lock.git['comfyui'].version}-{variant}"
        labels[f"{_OCI}.revision"] = git["comfyui"]
        labels[f"{_OCI}.source"] = lock.git["comfyui"].url
    licences = _licences(image, lock)
    if licences:
        labels[f"{_OCI}.licenses"] = " AND ".join(licences)
    return labels


def _licences(image: str, lock: Lock) -> list[str]:
    found: set[str] = set()
    if image.startswith("comfyui"):
        found |= {source.licence for source in lock.git.values() if source.licence}
    if image in ("weights", "comfyui-vace"):
        found |= {str(file["licence"]) for file in lock.weights["files"] if file.get("licence")}
    return sorted(found)
