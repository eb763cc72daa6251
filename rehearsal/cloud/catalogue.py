"""What the emulated cloud sells: regions and zones, instance types, images, prices, stock.

Data only, plus the look-ups over it. Each block names its source and date. A value that no public
source states is marked "estimate": good enough to exercise a program that asks, not a quotation.
Instance types that exist in a zone but are sold out there are in :data:`SOLD_OUT`, so that a
program which takes the first zone of a list meets the same refusal as on the real cloud.
"""

from __future__ import annotations

from dataclasses import dataclass

# --- regions and zones ----------------------------------------------------------------------
# Alibaba Cloud help, "Regions and zones" and DescribeRegions/DescribeZones examples, 2026.


@dataclass(frozen=True)
class Region:
    """A region and its zones; ``price_factor`` is relative to cn-hangzhou."""

    region_id: str
    local_name: str
    zones: tuple[str, ...]
    price_factor: float = 1.0

    @property
    def domestic(self) -> bool:
        """Whether the region lies in mainland China."""
        return self.region_id.startswith("cn-")


def _region(region_id: str, name: str, letters: str, price_factor: float = 1.0) -> Region:
    # Zones outside mainland China append the letter without a hyphen (ap-southeast-1a).
    glue = "-" if region_id.startswith("cn-") else ""
    zones = tuple(f"{region_id}{glue}{letter}" for letter in letters)
    return Region(region_id, name, zones, price_factor)


# Price factors: A10 list prices per region from karpenter-provider-alibabacloud
# initial-on-demand-prices.json (Oct-Dec 2024): 9.53 mainland, 8.58 Ulanqab, 18.07 Singapore,
# 15.14 US East.
REGIONS: dict[str, Region] = {
    region.region_id: region
    for region in (
        _region("cn-hangzhou", "China (Hangzhou)", "bghijk"),
        _region("cn-shanghai", "China (Shanghai)", "befglmn"),
        _region("cn-beijing", "China (Beijing)", "fghijkl"),
        _region("cn-shenzhen", "China (Shenzhen)", "cdef"),
        _region("cn-wulanchabu", "China (Ulanqab)", "abc", 0.90),
        _region("ap-southeast-1", "Singapore", "abc", 1.90),
        _region("us-east-1", "US (Virginia)", "ab", 1.59),
    )
}

# --- instance types ---------------------------------------------------------------------------

ESSD_ONLY = ("cloud_essd", "cloud_auto")
ESSD_AND_OLDER = ("cloud_essd", "cloud_auto", "cloud_ssd", "cloud_efficiency")
ENTRY = ("cloud_essd_entry", "cloud_auto", "cloud_essd")


@dataclass(frozen=True)
class InstanceType:
    """One instance type.

    ``hourly`` is the pay-as-you-go price in CNY per hour in cn-hangzhou; ``quoted`` is False for
    an estimate. ``boot_families`` limits the image families that can boot (empty: no limit).
    """

    type_id: str
    vcpu: int
    memory_gib: float
    gpu_spec: str
    gpu_memory_gib: float
    network_gbps: float
    hourly: float
    quoted: bool = False
    gpu_amount: int = 1
    disk_categories: tuple[str, ...] = ESSD_ONLY
    data_disks: int = 16
    processor: str = "Intel Xeon Platinum 8369B"
    eni_quantity: int = 4
    boot_families: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        """The instance family, for example ``ecs.gn7i``."""
        return ".".join(self.type_id.split(".")[:2]).split("-c")[0]

    @property
    def memory_mib(self) -> int:
        """Memory in MiB, as DescribeInstances reports it."""
        return int(self.memory_gib * 1024)

    @property
    def architecture(self) -> str:
        """CPU architecture in DescribeInstanceTypes spelling."""
        return "X86"


def _gpu(  # noqa: PLR0917 - one row of a table
    type_id: str,
    vcpu: int,
    memory: float,
    spec: str,
    vram: float,
    net: float,
    hourly: float,
    *,
    quoted: bool = False,
    disk_categories: tuple[str, ...] = ESSD_ONLY,
    data_disks: int = 16,
) -> InstanceType:
    return InstanceType(
        type_id,
        vcpu,
        memory,
        spec,
        vram,
        net,
        hourly,
        quoted=quoted,
        disk_categories=disk_categories,
        data_disks=data_disks,
        eni_quantity=8 if vcpu > 16 else 4,
    )


def _cpu(
    type_id: str, vcpu: int, memory: float, hourly: float, disks: tuple[str, ...]
) -> InstanceType:
    return InstanceType(
        type_id, vcpu, memory, "", 0, 2, hourly, gpu_amount=0, disk_categories=disks, eni_quantity=2
    )


T4, A10, A30, A100, A100_80 = (
    "NVIDIA T4",
    "NVIDIA A10",
    "NVIDIA A30",
    "NVIDIA A100",
    "NVIDIA A100 80G",
)
L20 = "NVIDIA L20"
# The family page names no chip for these two; DescribeInstanceTypes' spelling is not public.
HOPPER_96 = "NVIDIA H20"
BLACKWELL_72 = "NVIDIA RTX PRO 5000"

# vCPU, memory, GPU memory and base bandwidth: Alibaba Cloud help, "GPU-accelerated compute-
# optimized and vGPU-accelerated instance families" (2026) and its gn9gc section.
# Quoted prices: read-only DescribePrice calls, Shanghai and Shenzhen, 2026-09-24 (T4 11.84,
# A10 9.74, L20 14.63); all other prices are estimates in proportion to vCPU and memory.
INSTANCE_TYPES: dict[str, InstanceType] = {
    item.type_id: item
    for item in (
        _gpu(
            "ecs.gn6i-c4g1.xlarge", 4, 15, T4, 16, 4, 11.84,
            quoted=True, disk_categories=ESSD_AND_OLDER,
        ),
        _gpu("ecs.gn6i-c8g1.2xlarge", 8, 31, T4, 16, 5, 14.21, disk_categories=ESSD_AND_OLDER),
        _gpu("ecs.gn6i-c16g1.4xlarge", 16, 62, T4, 16, 6, 16.70, disk_categories=ESSD_AND_OLDER),
        _gpu("ecs.gn6i-c24g1.6xlarge", 24, 93, T4, 16, 7.5, 17.38, disk_categories=ESSD_AND_OLDER),
        _gpu("ecs.gn6i-c40g1.10xlarge", 40, 155, T4, 16, 10, 19.56, disk_categories=ESSD_AND_OLDER),
        _gpu("ecs.gn7i-c8g1.2xlarge", 8, 30, A10, 24, 16, 9.74, quoted=True),
        _gpu("ecs.gn7i-c16g1.4xlarge", 16, 60, A10, 24, 16, 10.31),
        _gpu("ecs.gn7i-c32g1.8xlarge", 32, 188, A10, 24, 16, 13.09),
        _gpu("ecs.gn7i-c48g1.12xlarge", 48, 310, A10, 24, 16, 16.71),
        _gpu("ecs.gn7i-c56g1.14xlarge", 56, 346, A10, 24, 16, 18.24),
        _gpu("ecs.gn7s-c8g1.2xlarge", 8, 60, A30, 24, 16, 12.50),
        _gpu("ecs.gn7s-c16g1.4xlarge", 16, 120, A30, 24, 16, 13.80),
        _gpu("ecs.gn7s-c32g1.8xlarge", 32, 250, A30, 24, 16, 17.00),
        _gpu("ecs.gn7s-c48g1.12xlarge", 48, 380, A30, 24, 16, 21.00),
        _gpu("ecs.gn7s-c56g1.14xlarge", 56, 440, A30, 24, 16, 23.00),
        _gpu("ecs.gn7-c12g1.3xlarge", 12, 94, A100, 40, 4, 31.00),
        _gpu("ecs.gn7e-c16g1.4xlarge", 16, 125, A100_80, 80, 8, 34.74),
        _gpu("ecs.gn8is.2xlarge", 8, 64, L20, 48, 8, 14.63, quoted=True),
        _gpu("ecs.gn8is.4xlarge", 16, 128, L20, 48, 16, 15.84),
        _gpu("ecs.gn8v.4xlarge", 16, 96, HOPPER_96, 96, 12, 32.00),
        _gpu("ecs.gn8v.6xlarge", 24, 128, HOPPER_96, 96, 15, 35.00),
        # Only one data disk can be attached to a gn9gc type (same page).
        _gpu("ecs.gn9gc.4xlarge", 16, 128, BLACKWELL_72, 72, 16, 18.50, data_disks=1),
        _gpu("ecs.gn9gc.8xlarge", 32, 192, BLACKWELL_72, 72, 32, 22.00, data_disks=1),
        # A few types without a GPU, so that a filter which forgets the GPU picks a wrong one.
        _cpu("ecs.e-c1m2.large", 2, 4, 0.34, ENTRY),
        _cpu("ecs.u1-c1m4.large", 2, 8, 0.45, ENTRY),
        _cpu("ecs.g7.large", 2, 8, 0.76, ESSD_ONLY),
        _cpu("ecs.g7.2xlarge", 8, 32, 3.03, ESSD_ONLY),
    )
}  # fmt: skip

# Zones where vSwitches can be made but no instance is on sale. Estimate: the oldest zone.
CLOSED_ZONES: frozenset[str] = frozenset({"cn-hangzhou-b"})

# --- where types are offered, and stock -------------------------------------------------------
# A family that has an entry is offered only in the zones listed; all other families are offered
# in every zone. gn8is: in stock in Shanghai and Shenzhen on 2026-09-24 by DescribeAvailableResource
# (third-party read-only run); the help page sends buyers of gn8is and gn8v to sales. The choice of
# zones inside a region is an estimate.
OFFERED: dict[str, frozenset[str]] = {
    "ecs.gn6i": frozenset(
        {
            *("cn-hangzhou-g", "cn-hangzhou-h", "cn-hangzhou-i", "cn-hangzhou-j"),
            *("cn-shanghai-b", "cn-shanghai-e", "cn-shanghai-f", "cn-shanghai-g"),
            *("cn-beijing-f", "cn-beijing-g", "cn-beijing-h", "cn-shenzhen-d", "cn-shenzhen-e"),
            *("ap-southeast-1a", "ap-southeast-1b", "us-east-1a", "us-east-1b"),
        }
    ),
    "ecs.gn7i": frozenset(
        {
            *("cn-hangzhou-h", "cn-hangzhou-i", "cn-hangzhou-j", "cn-hangzhou-k"),
            *("cn-shanghai-b", "cn-shanghai-l", "cn-shanghai-m", "cn-shanghai-n"),
            *("cn-beijing-h", "cn-beijing-i", "cn-beijing-l", "cn-shenzhen-e", "cn-shenzhen-f"),
            *("cn-wulanchabu-a", "cn-wulanchabu-b", "cn-wulanchabu-c"),
            *("ap-southeast-1b", "ap-southeast-1c", "us-east-1a", "us-east-1b"),
        }
    ),
    "ecs.gn7s": frozenset({"cn-hangzhou-i", "cn-shanghai-m", "cn-beijing-l"}),
    "ecs.gn7": frozenset({"cn-hangzhou-i", "cn-shanghai-l", "cn-beijing-h", "ap-southeast-1b"}),
    "ecs.gn7e": frozenset({"cn-hangzhou-j", "cn-shanghai-m", "cn-beijing-i", "ap-southeast-1c"}),
    "ecs.gn8is": frozenset(
        {"cn-hangzhou-j", "cn-hangzhou-k", "cn-shanghai-l", "cn-shanghai-n", "cn-shenzhen-f"}
        | {"ap-southeast-1c"}
    ),
    "ecs.gn8v": frozenset({"cn-hangzhou-k", "cn-wulanchabu-c", "ap-southeast-1c"}),
    "ecs.gn9gc": frozenset({"cn-hangzhou-k", "cn-shanghai-n", "cn-beijing-l"}),
}

# Sold out at the start of a rehearsal: (zone, type). Estimate; changed at run time through the
# emulator's control interface (/stock).
SOLD_OUT: frozenset[tuple[str, str]] = frozenset(
    {
        ("cn-hangzhou-h", "ecs.gn7i-c8g1.2xlarge"),
        ("cn-hangzhou-h", "ecs.gn7i-c16g1.4xlarge"),
        ("cn-hangzhou-i", "ecs.gn7i-c32g1.8xlarge"),
        ("cn-hangzhou-j", "ecs.gn8is.2xlarge"),
        ("cn-hangzhou-k", "ecs.gn9gc.4xlarge"),
        ("cn-shanghai-b", "ecs.gn7i-c8g1.2xlarge"),
        ("cn-beijing-h", "ecs.gn7i-c16g1.4xlarge"),
        ("ap-southeast-1b", "ecs.gn7i-c8g1.2xlarge"),
    }
)

# --- prices -----------------------------------------------------------------------------------
# CNY per GiB and hour: ESSD list prices per GiB and month / 720 (PL0 0.5, PL1 1.0, PL2 2.0,
# PL3 4.0, AutoPL 0.75, SSD 1.0, efficiency 0.35, entry 0.3). Estimate after the ECS price page.
DISK_GIB_HOUR: dict[str, float] = {
    "cloud_essd/PL0": 0.000694,
    "cloud_essd/PL1": 0.001389,
    "cloud_essd/PL2": 0.002778,
    "cloud_essd/PL3": 0.005556,
    "cloud_auto": 0.001042,
    "cloud_ssd": 0.001389,
    "cloud_efficiency": 0.000486,
    "cloud_essd_entry": 0.000417,
}
# Spot price as a share of the pay-as-you-go price. Estimate.
SPOT_SHARE = 0.35


def hourly_price(type_id: str, region_id: str, *, spot: bool = False) -> float:
    """CNY per hour of an instance type in a region; ``spot`` gives the market price."""
    price = INSTANCE_TYPES[type_id].hourly * REGIONS[region_id].price_factor
    return round(price * (SPOT_SHARE if spot else 1.0), 3)


def disk_price(category: str, performance_level: str, size_gib: int, region_id: str) -> float:
    """CNY per hour of a disk in a region."""
    key = f"{category}/{performance_level or 'PL1'}" if category == "cloud_essd" else category
    return round(DISK_GIB_HOUR[key] * size_gib * REGIONS[region_id].price_factor, 4)


def region_of_zone(zone_id: str) -> str | None:
    """The region that a zone belongs to, or None when there is no such zone."""
    return next((r.region_id for r in REGIONS.values() if zone_id in r.zones), None)


def offered(type_id: str, zone_id: str) -> bool:
    """Whether a zone offers an instance type at all, in stock or not."""
    item = INSTANCE_TYPES.get(type_id)
    if item is None:
        return False
    zones = OFFERED.get(item.family)
    return zone_id in zones if zones is not None else region_of_zone(zone_id) is not None
