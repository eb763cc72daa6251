"""Speed profiles: which of ComfyUI's optimisations are on, and on which GPU they may be.

``profiles.json`` is written by ``python -m images.profiles --write`` from ``images/profiles.toml``,
where every option stands with its reason and source.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vace_comfyui.gpu import Device, version
from vace_comfyui.problems import Exit, Problem

TABLE = Path(__file__).with_name("profiles.json")
DEFAULT = "safe"
VARIABLE = "VACE_PROFILE"


@dataclass(frozen=True)
class Option:
    """One value of a flag, why it is there, and the first compute capability that may use it."""

    name: str
    flag: str
    reason: str
    least_compute_capability: str
    needs: str

    def runs_on(self, capability: str) -> bool:
        """Whether a GPU may use it."""
        least = self.least_compute_capability
        return not least or version(capability) >= version(least)


@cache
def _table() -> Mapping[str, Any]:
    return dict(json.loads(TABLE.read_text(encoding="utf-8")))


@cache
def profiles() -> Mapping[str, tuple[Option, ...]]:
    """Options of every profile by its name, most careful first."""
    return {
        row["name"]: tuple(Option(**option) for option in row["options"])
        for row in _table()["profiles"]
    }


def refused_flags() -> Mapping[str, str]:
    """Flags that do not go together with the weights of this image, with the reason."""
    return dict(_table()["refused_flags"])


def check(name: str, devices: Sequence[Device]) -> list[Problem]:
    """Why the profile must not run on these GPUs. Without a GPU there is nothing to be wrong."""
    table = profiles()
    problems = []
    for device in devices:
        unfit = [option for option in table[name] if not option.runs_on(device.capability)]
        if not unfit:
            continue
        fitting = [
            other
            for other, options in table.items()
            if all(option.runs_on(device.capability) for option in options)
        ]
        reasons = "; ".join(
            f"{option.flag} {option.name} needs compute capability "
            f"{option.least_compute_capability} or newer ({option.needs})"
            for option in unfit
        )
        problems.append(
            Problem(
                Exit.USAGE,
                VARIABLE,
                f"{name!r} on {device.name} of compute capability {device.capability}",
                " or ".join(fitting),
                reasons,
                "set one of these (infra: speedProfile), or take an instance type with a newer GPU",
            )
        )
    return problems
