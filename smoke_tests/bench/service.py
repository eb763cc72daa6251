"""What the service says of itself, and what follows for the figures: profile, card, simulated."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from images import profiles, variants
from images.variants import Gpu
from smoke_tests.bench.errors import BenchError

GIB = 1 << 30


@dataclass(frozen=True)
class Service:
    """What /system_stats tells.

    Attributes:
        facts: for the report: versions and the card's name.
        profile: the speed profile, by ComfyUI's command line; None when its flags are no profile's.
        gpu: row of the shared table; None for a card that it lacks, and for a simulation.
        note: why there is no physical limit; empty when there is one.
    """

    simulated: bool
    facts: Mapping[str, str]
    profile: str | None
    gpu: Gpu | None
    note: str


def describe(stats: Mapping[str, Any], *, simulated: bool, gpu_name: str | None) -> Service:
    """Read an answer of /system_stats.

    Args:
        gpu_name: row of the table that the caller names, for cards that do not tell their name.

    Raises:
        BenchError: there is no such row.
    """
    system = stats["system"]
    device = (stats.get("devices") or [{}])[0]
    name, memory = str(device.get("name", "")), int(device.get("vram_total", 0)) / GIB
    facts = {
        "ComfyUI": str(system.get("comfyui_version", "")),
        "PyTorch": str(system.get("pytorch_version", "")),
        "GPU": re.sub(r"^cuda:\d+ | : .*$", "", name),
    }
    profile = profiles.of_command_line([str(word) for word in system.get("argv") or []])
    if simulated:
        return Service(True, facts, profile, None, "")
    gpu = _row(gpu_name) if gpu_name else variants.gpu_of_device(name, memory)
    note = ""
    if gpu is None:
        note = f"no physical limit: the GPU table (images/variants.toml) has no row for {name!r}"
    elif not (gpu.bf16_tflops or gpu.fp16_tflops):
        note = f"no physical limit: the peak of {gpu.gpu} is not published"
    return Service(False, facts, profile, gpu, note)


def _row(name: str) -> Gpu:
    for gpu in variants.gpus():
        if gpu.gpu == name:
            return gpu
    raise BenchError(
        f"--gpu is {name!r}",
        f"the table has {', '.join(each.gpu for each in variants.gpus())}",
        "the peak is taken from there",
        "Name one of these, or leave it out",
    )


def check_profile(believed: str | None, service: Service) -> None:
    """Raise when the service does not have the profile that it is believed to have."""
    if believed is None:
        return
    try:
        profiles.find(believed)
    except profiles.ProfileError as error:
        raise BenchError(
            f"--profile is {believed!r}",
            f"there are {', '.join(profiles.names())}",
            "each stands for named flags",
            "Name one of these",
        ) from error
    if believed != service.profile:
        raise BenchError(
            f"--profile is {believed}, and the service runs with "
            f"{service.profile or 'flags that are no profile'}",
            "both must be the same",
            "figures under a wrong name mislead whoever compares them",
            "Set speedProfile (or VACE_PROFILE) and wait for the restart, or correct --profile",
        )


def check_graph(classes: set[str], service: Service) -> None:
    """Raise when a graph holds what is known to be bad with the shipped weights."""
    capability = service.gpu.compute_capability if service.gpu else None
    found = profiles.graph_refusals(classes, capability)
    if found:
        raise BenchError(
            "; ".join(found),
            "graphs without known bad pairs are measured",
            "a fast run of black frames is no result",
            "See bad_pairs in images/profiles.toml",
        )
