"""Renders the chart with the real helm."""

import json
import subprocess
from collections.abc import Mapping
from typing import Any

import yaml

from charts.readme import CHART
from rehearsal.toolchain import kubernetes

DIGEST = "sha256:" + "ab" * 32
IMAGES: dict[str, Any] = {
    "images": {
        "comfyui": {"repository": "registry.example.com/vace/comfyui-vace", "digest": DIGEST},
        "gateway": {"repository": "registry.example.com/vace/gateway", "digest": DIGEST},
    }
}


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``over`` laid upon it, as helm merges values."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        nested = isinstance(value, Mapping) and isinstance(below, Mapping)
        result[key] = merged(below, value) if nested else value
    return result


def run(values: Mapping[str, Any], preset: str = "") -> "subprocess.CompletedProcess[str]":
    """Run ``helm template`` with ``values`` over those of ``preset``."""
    command = [str(kubernetes.binaries()["helm"]), "template", "demo", str(CHART)]
    command += ["--namespace", "video", "--kube-version", "1.34.2"]
    if preset:
        command += ["--values", str(CHART / f"values-{preset}.yaml")]
    return subprocess.run(
        [*command, "--values", "-"],
        input=json.dumps(values),
        text=True,
        capture_output=True,
        check=False,
        timeout=60,
    )


def render(values: Mapping[str, Any], preset: str = "") -> list[dict[str, Any]]:
    """Return the objects that the chart makes of ``values`` and of images by digest."""
    ended = run(merged(IMAGES, values), preset)
    assert ended.returncode == 0, ended.stderr
    return [each for each in yaml.safe_load_all(ended.stdout) if each]


def refusal(values: Mapping[str, Any], preset: str = "") -> str:
    """Return what helm says when it must refuse ``values``."""
    ended = run(merged(IMAGES, values), preset)
    assert ended.returncode != 0, "the chart accepted it"
    return " ".join(ended.stderr.split())
