"""``image.json``: what this image is, written when it was built."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vace_comfyui.problems import Exit, Problem, SettingsError

SCHEMA = 1
_CAPABILITY = re.compile(r"\d+\.\d+")


@dataclass(frozen=True)
class Image:
    """One variant of the image.

    Attributes:
        variant: `cu128`, `cu130` or `cpu`.
        cuda: CUDA version of its PyTorch, or None without PyTorch.
        compute_capabilities: those that it must have kernels for, as "8.6".
        least_driver: least driver version by compute capability.
        lock_sha256: hash of the lock that it was built from.
        overrides: what a rehearsal replaced; empty in a real image.
        alternatives: least drivers by compute capability of the other variants.
        omitted: distributions left out on purpose, though others declare them.
    """

    variant: str
    cuda: str | None
    compute_capabilities: tuple[str, ...]
    least_driver: Mapping[str, str]
    lock_sha256: str
    overrides: tuple[str, ...] = ()
    alternatives: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    omitted: tuple[str, ...] = ()

    @property
    def has_gpu(self) -> bool:
        """Whether it is made for a GPU."""
        return self.cuda is not None


def load(path: Path) -> Image:
    """Read the description.

    Raises:
        SettingsError: it is absent or malformed.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return _parse(document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(
            [
                Problem(
                    Exit.USAGE,
                    str(path),
                    f"{type(error).__name__}: {error}",
                    f"the description of schema {SCHEMA} that the build writes",
                    "without it nobody knows which GPU and driver this image needs",
                    "use an image that was built with `python -m images build`",
                )
            ]
        ) from error


def _parse(document: Mapping[str, Any]) -> Image:
    if document["schema"] != SCHEMA:
        raise ValueError(f"schema is {document['schema']!r}")
    cuda = document["cuda"]
    return Image(
        variant=str(document["variant"]),
        cuda=None if cuda is None else str(cuda),
        compute_capabilities=tuple(_capabilities(document["compute_capabilities"])),
        least_driver=_drivers(document["least_driver"]),
        lock_sha256=str(document["lock_sha256"]),
        overrides=tuple(_texts(document.get("overrides", []))),
        alternatives={
            str(name): _drivers(table) for name, table in document.get("alternatives", {}).items()
        },
        omitted=tuple(document.get("omitted", {})),
    )


def _texts(value: object) -> list[str]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list")
    return [str(item) for item in value]


def _capabilities(value: object) -> list[str]:
    found = _texts(value)
    wrong = [item for item in found if not _CAPABILITY.fullmatch(item)]
    if wrong:
        raise ValueError(f"{wrong} are no compute capabilities like 8.6")
    return found


def _drivers(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is not an object")
    _capabilities(list(value))
    return {str(key): str(version) for key, version in value.items()}
