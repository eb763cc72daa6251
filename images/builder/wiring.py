"""What a rendered Containerfile makes of an image's settings and start scripts.

Only the instructions that the templates use are understood; their values have no variables.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_CONTINUED = re.compile(r"\\\n(?:[ \t]*#[^\n]*\n)*")
_WRAPPER = re.compile(r"printf '(#!/bin/sh\\n[^']*)'\s+> (/usr/local/bin/[\w-]+)")


@dataclass
class Wiring:
    """Settings that decide what runs in a container.

    Attributes:
        wrappers: content of each start script, by its path without the leading slash.
    """

    environment: dict[str, str] = field(default_factory=dict)
    entry_point: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    user: str = ""
    folder: str = ""
    wrappers: dict[str, str] = field(default_factory=dict)


def containerfiles(rendered: Path, image: str, variant: str) -> list[Path]:
    """Containerfiles that an image is made by, from the lowest to the highest; missing ones too."""
    runtime = rendered / f"comfyui-{variant}.Containerfile"
    if image == "comfyui":
        return [runtime]
    own = rendered / f"{image}.Containerfile"
    return [runtime, own] if image == "comfyui-vace" else [own]


def wiring_of(texts: Sequence[str]) -> Wiring:
    """The wiring of an image that these Containerfiles make, each on top of the one before."""
    wiring = Wiring()
    for text in texts:
        for line in _CONTINUED.sub(" ", text).splitlines():
            name, _, value = line.strip().partition(" ")
            _apply(wiring, name, value.strip())
    return wiring


def _apply(wiring: Wiring, name: str, value: str) -> None:
    if name == "ENV":
        pairs = (part.partition("=") for part in shlex.split(value))
        wiring.environment.update({key: content for key, _, content in pairs})
    elif name == "USER":
        wiring.user = value
    elif name == "WORKDIR":
        wiring.folder = value
    elif name == "ENTRYPOINT":
        # A command of the image below goes with that one's entry point.
        wiring.entry_point, wiring.command = json.loads(value), []
    elif name == "CMD":
        wiring.command = json.loads(value)
    elif name == "RUN":
        for content, path in _WRAPPER.findall(value):
            wiring.wrappers[path.lstrip("/")] = content.replace("\\n", "\n")
