"""GPU preflight: does this image fit the driver and the card, and if not, which one does?"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vace_comfyui.image import Image
from vace_comfyui.problems import Exit, Problem

TIMEOUT_SECONDS = 60
GIB = 1024**3
LEAST_MEMORY_GIB = 10
"""Text encoder (6.7 GB) or model with its activations: less than this fits neither."""


@dataclass(frozen=True)
class Device:
    """One GPU: name, compute capability as "8.6", memory in bytes."""

    name: str
    capability: str
    memory: int


@dataclass(frozen=True)
class Found:
    """What the probe found; `error` is set when CUDA cannot be used."""

    driver: str = ""
    cuda: str = ""
    devices: tuple[Device, ...] = ()
    error: str = ""

    def __str__(self) -> str:
        names = ", ".join(
            f"{device.name} (compute capability {device.capability}, {device.memory / GIB:.0f} GiB)"
            for device in self.devices
        )
        return (
            f"driver {self.driver or 'unknown'}, CUDA {self.cuda or 'unknown'}, {names or 'no GPU'}"
        )


Probe = Callable[[], Found]


def probe() -> Found:
    """Ask the driver's libraries, in a process of its own with a time limit."""
    command = [sys.executable, "-s", "-m", "vace_comfyui.nvidia"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
        return interpret(json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        return Found(error=f"the driver gave no answer in {TIMEOUT_SECONDS} s")
    except ValueError:
        return Found(error=f"the driver's libraries ended the probe with {done.returncode}")


def interpret(answer: Mapping[str, Any]) -> Found:
    """Bring both libraries' answers together; the driver API decides which devices count."""
    nvml, cuda = answer["nvml"], answer["cuda"]
    errors = [str(part["error"]) for part in (nvml, cuda) if "error" in part]
    rows = cuda.get("devices") or nvml.get("devices") or []
    return Found(
        driver=str(nvml.get("driver", "")),
        cuda=str(cuda.get("cuda", "")),
        devices=tuple(Device(row["name"], row["capability"], int(row["memory"])) for row in rows),
        error="; ".join(errors) if "error" in cuda or not nvml.get("driver") else "",
    )


def check(image: Image, found: Found) -> list[Problem]:
    """Everything about driver and devices that does not fit the image."""
    if not image.has_gpu:
        return []
    if found.error or not found.devices:
        return [_absent(image, found)]
    problems = []
    for device in found.devices:
        least = needed_driver(image.least_driver, device.capability)
        fits = covered(image.compute_capabilities, device.capability)
        if not fits or least is None:
            allowed = f"compute capability {', '.join(image.compute_capabilities)}"
            why = f"the image's variant {image.variant} has no kernels for it"
            problems.append(_misfit(image, found, device, allowed, why))
        elif version(found.driver) < version(least):
            allowed = f"driver {least} or newer"
            why = f"CUDA {image.cuda} of variant {image.variant} needs it on {device.capability}"
            problems.append(_misfit(image, found, device, allowed, why))
        elif device.memory < LEAST_MEMORY_GIB * GIB:
            allowed = f"at least {LEAST_MEMORY_GIB} GiB of GPU memory"
            why = "the text encoder alone takes 6.7 GB"
            remedy = "take an instance type with an NVIDIA T4, A10, L20 or larger"
            problems.append(Problem(Exit.GPU, "GPU", str(found), allowed, why, remedy))
    return problems


def _absent(image: Image, found: Found) -> Problem:
    given = str(found) + (f": {found.error}" if found.error else "")
    return Problem(
        Exit.GPU,
        "GPU",
        given,
        f"an NVIDIA GPU that CUDA {image.cuda} can use in this container",
        f"the image's variant {image.variant} computes on a GPU",
        "give the container the GPU (podman: --device nvidia.com/gpu=all; Kubernetes: limit "
        "nvidia.com/gpu: 1) and see that nvidia-smi works on the host; for a rehearsal without "
        "one use variant cpu",
    )


def _misfit(image: Image, found: Found, device: Device, allowed: str, why: str) -> Problem:
    others = {image.variant: image.least_driver, **image.alternatives}
    fitting = sorted(
        name
        for name, drivers in others.items()
        if name != image.variant and _fits(drivers, device.capability, found.driver)
    )
    if fitting:
        remedy = f"use the image's variant {' or '.join(fitting)} instead"
    else:
        drivers = {
            name: least
            for name, table in others.items()
            if (least := needed_driver(table, device.capability)) is not None
        }
        options = ", ".join(f"{least} for {name}" for name, least in sorted(drivers.items()))
        remedy = (
            f"install a newer driver ({options}); no variant fits {found.driver}"
            if options
            else "take an instance type with an NVIDIA T4, A10, L20 or newer; no variant fits "
            f"compute capability {device.capability}"
        )
    return Problem(Exit.GPU, "GPU", str(found), allowed, why, remedy)


def _fits(drivers: Mapping[str, str], capability: str, driver: str) -> bool:
    least = needed_driver(drivers, capability)
    return least is not None and version(driver) >= version(least)


def version(text: str) -> tuple[int, ...]:
    """A version as numbers; what is no number counts as 0."""
    return tuple(int(part) if part.isdigit() else 0 for part in text.split("."))


def covered(available: tuple[str, ...], capability: str) -> bool:
    """Whether code for `available` runs: the same major number, and no newer minor one."""
    major, minor = version(capability)
    return any(version(item)[0] == major and version(item)[1] <= minor for item in available)


def needed_driver(drivers: Mapping[str, str], capability: str) -> str | None:
    """Least driver for a capability: its own row, or the nearest older one of its generation."""
    rows = [item for item in drivers if covered((item,), capability)]
    return drivers[max(rows, key=version)] if rows else None
