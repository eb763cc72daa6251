"""Which variant of the ComfyUI image fits a GPU and its driver. Pure: standard library only.

The table is ``variants.toml``. ``infra/``, the chart and the image's own preflight all take their
answer from it, so that none of them sends an image to a machine where it cannot start.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from images.errors import ImagesError

TABLE = Path(__file__).with_name("variants.toml")
_DRIVER = re.compile(r"(\d+(?:\.\d+){0,3})(?:-[a-z-]+)?")


class VariantError(ImagesError):
    """No variant runs on this GPU with this driver."""


@dataclass(frozen=True)
class Variant:
    """A build of the image for one CUDA release; ``cuda`` is None for the one without a GPU.

    Attributes:
        name: what image tags and Containerfiles carry, for example ``cu128``.
        cuda: release that torch was built with, for example ``12.8``.
        least_driver: compute capability -> first driver version that runs it.
    """

    name: str
    cuda: str | None
    least_driver: Mapping[str, str]

    @property
    def compute_capabilities(self) -> list[str]:
        """The GPUs that the variant has kernels for, lowest first."""
        return sorted(self.least_driver, key=version)

    def runs_on(self, compute_capability: str, driver: str) -> bool:
        """Whether the variant starts on this GPU with this driver."""
        least = self.least_driver.get(compute_capability)
        return least is not None and version(driver) >= version(least)


@dataclass(frozen=True)
class Gpu:
    """A GPU as Alibaba Cloud sells it; ``drivers`` that a service offers, its default first.

    Attributes:
        device: how CUDA names the card, without its maker; empty where that is not known.
        memory_gib: tells cards of one name apart; 0 where the name does.
        fp16_tflops, bf16_tflops, fp8_tflops: dense peaks; None where not known or not there.
        memory_gb_per_s: peak rate of the GPU's memory; None where not known.
        peak_source: where the peaks are from, and what is inferred.
    """

    gpu: str
    where: tuple[str, ...]
    compute_capability: str
    drivers: tuple[str, ...]
    source: str
    date: date
    device: str = ""
    memory_gib: int = 0
    fp16_tflops: float | None = None
    bf16_tflops: float | None = None
    fp8_tflops: float | None = None
    memory_gb_per_s: float | None = None
    peak_source: str = ""

    def choices(self) -> list[tuple[str, Variant]]:
        """Return (driver, variant) for every driver that the service offers and that suffices."""
        return [
            (driver, fitting[0])
            for driver in self.drivers
            if (fitting := variants_on(self.compute_capability, driver))
        ]


def version(text: str) -> tuple[int, ...]:
    """Return ``570.133.20`` or ``580.95.05-open`` as numbers that compare.

    Raises:
        VariantError: it does not begin with such a number.
    """
    found = _DRIVER.fullmatch(text.strip())
    if found is None:
        raise VariantError(
            f"{text!r} is not a version; driver versions look like 570.133.20 or 580.95.05-open, "
            "compute capabilities like 8.9. They are compared to find the image that starts. "
            "`nvidia-smi --query-gpu=driver_version,compute_cap --format=csv` prints both"
        )
    return tuple(int(part) for part in found[1].split("."))


@cache
def variants() -> tuple[Variant, ...]:
    """Return all variants, preferred first."""
    return tuple(
        Variant(row["name"], row.get("cuda"), row.get("least_driver", {}))
        for row in _table()["variants"]
    )


@cache
def gpus() -> tuple[Gpu, ...]:
    """Return the GPUs of Alibaba Cloud that the table knows."""
    return tuple(
        Gpu(**{**row, "where": tuple(row["where"]), "drivers": tuple(row["drivers"])})
        for row in _table()["gpus"]
    )


def gpu_of_device(name: str, memory_gib: float) -> Gpu | None:
    """Return the row of a card by what CUDA says of it; None for one that the table lacks.

    Args:
        name: for example ``NVIDIA A10`` or ``cuda:0 NVIDIA L20 : cudaMallocAsync``.
        memory_gib: of the card; the nearest row counts where several have the name.
    """
    words = re.findall(r"[A-Za-z0-9]+", name)
    found = [each for each in gpus() if each.device and each.device in words]
    return min(found, key=lambda each: abs(each.memory_gib - memory_gib), default=None)


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def find(name: str) -> Variant:
    """Return the variant of this name.

    Raises:
        VariantError: there is none.
    """
    for variant in variants():
        if variant.name == name:
            return variant
    raise VariantError(
        f"there is no variant {name!r}; there are {_names(variants())}. Each is a Containerfile "
        "of its own. Name one of these, or leave the choice to the GPU (`python -m images "
        "variants` prints the table)"
    )


def variants_on(compute_capability: str, driver: str) -> list[Variant]:
    """Return the variants that start on this GPU with this driver, preferred first."""
    return [each for each in variants() if each.runs_on(compute_capability, driver)]


def variant_for(compute_capability: str, driver_version: str) -> Variant:
    """Return the variant to use on a GPU with a driver.

    Args:
        compute_capability: for example ``8.9``.
        driver_version: for example ``570.133.20`` or ``580.95.05-open``.

    Raises:
        VariantError: none runs there; the message names what would.
    """
    fitting = variants_on(compute_capability, driver_version)
    if fitting:
        return fitting[0]
    raise VariantError(refusal(compute_capability, driver_version))


def refusal(compute_capability: str, driver_version: str) -> str:
    """Return why no variant fits, and what to use instead."""
    version(compute_capability)
    have = [each for each in variants() if compute_capability in each.least_driver]
    if not have:
        known = sorted({key for each in variants() for key in each.least_driver}, key=version)
        sold = ", ".join(sorted({each.gpu for each in gpus()}))
        return (
            f"a GPU of compute capability {compute_capability} was given; the images have "
            f"kernels for {', '.join(known)}. torch's wheels are built for these only. Use a "
            f"machine with one of: {sold}"
        )
    least = min(have, key=lambda each: version(each.least_driver[compute_capability]))
    options = ", ".join(
        f"{each.name} from {each.least_driver[compute_capability]} on" for each in have
    )
    return (
        f"driver {driver_version} was given for a GPU of compute capability {compute_capability}; "
        f"the variants that have kernels for it need: {options}. An older driver cannot load "
        f"their CUDA libraries. Install driver {least.least_driver[compute_capability]} or newer "
        f"and use {least.name} (ECS: gpuDriver auto; ACS: the label for the driver version)"
    )


def _names(rows: Sequence[Variant]) -> str:
    return ", ".join(each.name for each in rows)


def image_facts(name: str) -> dict[str, Any]:
    """Return what an image says about its variant in ``/opt/vace/image.json``.

    Raises:
        VariantError: there is no variant of this name.
    """
    variant = find(name)
    return {
        "variant": variant.name,
        "cuda": variant.cuda,
        "compute_capabilities": variant.compute_capabilities,
        "least_driver": dict(variant.least_driver),
    }
