"""Catalogue of GPU machines: facts as data, with source and date. Pure: imports no Pulumi."""

import tomllib
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

FP8_COMPUTE_CAPABILITY = (8, 9)
"""First compute capability with FP8 tensor cores (Ada; NVIDIA CUDA documentation)."""


@dataclass(frozen=True)
class Price:
    """A pay-as-you-go price in CNY per hour, and where and when it was read."""

    cny_per_hour: float
    source: str
    date: date

    def __str__(self) -> str:
        return f"{self.cny_per_hour:.2f} CNY/hour ({self.source}, {self.date.isoformat()})"


@dataclass(frozen=True)
class InstanceType:
    """One ECS instance type; sizes in GiB.

    Raises:
        ValueError: a row that cannot be true (no GPU memory, no price date and so on).
    """

    type: str
    vcpu: int
    memory_gib: int
    gpu: str
    gpu_memory_gib: int
    compute_capability: tuple[int, int]
    driver: str
    prices: dict[str, Price]

    def __post_init__(self) -> None:
        if min(self.vcpu, self.memory_gib, self.gpu_memory_gib) <= 0:
            raise ValueError(f"{self.type}: vcpu, memory_gib and gpu_memory_gib must be positive")
        if not self.type.startswith("ecs."):
            raise ValueError(f"{self.type}: an ECS instance type starts with 'ecs.'")

    @property
    def fp8(self) -> bool:
        """Whether the GPU computes in FP8; derived, so that it cannot disagree."""
        return self.compute_capability >= FP8_COMPUTE_CAPABILITY

    def price(self, region: str) -> Price | None:
        """Return the known price in ``region``, or None."""
        return self.prices.get(region)

    def describe(self, region: str) -> str:
        """Return one line for people: type, GPU, memory and price."""
        price = self.price(region)
        return (
            f"{self.type} ({self.gpu}, {self.gpu_memory_gib} GiB GPU memory, {self.vcpu} vCPU, "
            f"{self.memory_gib} GiB): {price or f'no known price in {region}'}"
        )


def _parse(document: dict[str, Any]) -> tuple[InstanceType, ...]:
    prices: dict[str, dict[str, Price]] = {}
    for row in document["prices"]:
        for region in row["regions"]:
            prices.setdefault(row["type"], {})[region] = Price(
                row["cny_per_hour"], row["source"], row["date"]
            )
    result = []
    for row in document["instances"]:
        major, minor = row["compute_capability"].split(".")
        result.append(
            InstanceType(
                type=row["type"],
                vcpu=row["vcpu"],
                memory_gib=row["memory_gib"],
                gpu=row["gpu"],
                gpu_memory_gib=row["gpu_memory_gib"],
                compute_capability=(int(major), int(minor)),
                driver=row["driver"],
                prices=prices.pop(row["type"], {}),
            )
        )
    if prices:
        raise ValueError(f"prices for instance types that the catalogue lacks: {sorted(prices)}")
    return tuple(result)


@cache
def instance_types() -> tuple[InstanceType, ...]:
    """Return the rows of ``instances.toml`` in file order.

    Raises:
        ValueError: a row is impossible, or a price belongs to no row.
    """
    path = Path(__file__).with_name("instances.toml")
    return _parse(tomllib.loads(path.read_text(encoding="utf-8")))


def find(type_name: str) -> InstanceType | None:
    """Return the row of an instance type, or None when the catalogue lacks it."""
    return next((row for row in instance_types() if row.type == type_name), None)
