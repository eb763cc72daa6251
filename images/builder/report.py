"""What came out of a build: digests, and each layer with its size and what it is."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from images.builder.oci import Image

_GROUP = re.compile(r"source=wheels/(?!pip\b)([a-z0-9-]+)")
_MODEL = re.compile(r"/opt/models/(\S+?\.(?:safetensors|json))")
_COPY = re.compile(r"\b(?:COPY|ADD)\b(.*)")


@dataclass(frozen=True)
class Layer:
    """One layer: digest as pulled, digest of its content, compressed bytes, what it is."""

    digest: str
    diff_id: str
    size: int
    what: str


@dataclass(frozen=True)
class BuiltImage:
    """A built image.

    Attributes:
        name: comfyui, weights, comfyui-vace or gateway.
        variant: cu128, cu130 or cpu; empty where variants make no difference.
        layout: OCI layout that has it.
        digest: digest of its manifest.
        size: bytes to pull.
        overrides: what was not taken from the lock.
        reused: nothing had to be built.
        below: the images that it was put together from.
    """

    name: str
    variant: str
    layout: Path
    digest: str
    size: int
    layers: Sequence[Layer]
    overrides: Sequence[str]
    reused: bool
    seconds: float
    below: Sequence[BuiltImage] = ()

    def json(self) -> dict[str, Any]:
        """For programs."""
        document = asdict(dataclasses.replace(self, below=()))
        del document["below"]
        return {**document, "layout": str(self.layout)}

    def text(self) -> str:
        """For people."""
        title = f"{self.name} {self.variant}".strip()
        done = "already built" if self.reused else f"built in {self.seconds:.0f} s"
        lines = [f"{title}: {self.digest}", f"  {done}, {megabytes(self.size)} to pull"]
        if self.overrides:
            lines.append(f"  NOT for production, overridden: {', '.join(self.overrides)}")
        lines += [
            f"  {megabytes(layer.size):>12}  {layer.digest[7:19]}  {layer.what}"
            for layer in self.layers
        ]
        return "\n".join([*lines, f"  oci:{self.layout}"])


def megabytes(size: int) -> str:
    """A size in MB, 1,000,000 bytes each."""
    return f"{size / 1e6:,.1f} MB"


def layers_of(image: Image) -> list[Layer]:
    """Layers of an image with what its history tells about them."""
    rows = zip(image.layers, image.diff_ids, image.made_by(), strict=True)
    return [Layer(blob.digest, diff, blob.size, describe(made)) for blob, diff, made in rows]


def describe(instruction: str) -> str:
    """What a layer is, from the instruction that made it."""
    if found := _MODEL.search(instruction):
        return f"weights: {found[1]}"
    if found := _GROUP.search(instruction):
        return f"wheels: {found[1]}"
    if "apt-get" in instruction:
        return "Debian packages"
    if "python3 -m venv" in instruction or "-m venv" in instruction:
        return "Python environment"
    if found := _COPY.search(instruction):
        places = [word for word in found[1].split() if not word.startswith("--") and word != "in"]
        if places and places[-1].startswith("/"):
            return f"files: {places[-1]}"
    short = " ".join(instruction.split())
    short = re.sub(r"^(\|\d+ )?.*?/bin/sh -c ", "", short)
    return short[:70] or "base"
