"""ECS 2014-05-26: regions, zones, instance types, and what is in stock where."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

from typing import Any, Literal

from rehearsal.cloud import catalogue
from rehearsal.cloud.catalogue import InstanceType
from rehearsal.cloud.errors import ApiError, invalid_parameter
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services import disk_rules
from rehearsal.cloud.services.ecs_common import known_type
from rehearsal.cloud.services.lookups import ECS, here, page
from rehearsal.cloud.state import Cloud

Stock = Literal["in stock", "sold out", "not offered"]
NO_STOCK = (
    "The requested resource is sold out in the specified zone; try other types of resources or "
    "other regions and zones."
)


def stock_of(cloud: Cloud, type_id: str, zone: str) -> Stock:
    """Whether a zone has an instance type; the control interface may have changed it."""
    if zone in catalogue.CLOSED_ZONES:
        return "not offered"
    override = cloud.stock_overrides.get(f"{zone}/{type_id}")
    if override is not None:
        return "in stock" if override else "sold out"
    if not catalogue.offered(type_id, zone):
        return "not offered"
    return "sold out" if (zone, type_id) in catalogue.SOLD_OUT else "in stock"


def check_stock(cloud: Cloud, item: InstanceType, region_id: str, zone: str) -> None:
    """Refuse a type that cannot be bought in the zone.

    Raises Zone.NotOnSale, InvalidResourceType.NotSupported (nowhere in the region),
    InvalidInstanceType.ZoneNotSupported and OperationDenied.NoStock, all 403.
    """
    if zone in catalogue.CLOSED_ZONES:
        raise ApiError(
            "Zone.NotOnSale",
            f"The specified zone is not available for purchase. Given: {zone}.",
            403,
        )
    zones = [z for z in catalogue.REGIONS[region_id].zones if _sold(cloud, item.type_id, z)]
    if not zones:
        raise ApiError(
            "InvalidResourceType.NotSupported",
            f"user order resource type [{item.type_id}] not exists in [{region_id}]",
            403,
        )
    if zone not in zones:
        raise ApiError(
            "InvalidInstanceType.ZoneNotSupported",
            "The specified zone does not support this instancetype. Given: "
            f"{item.type_id} in {zone}. Zones that offer it: {', '.join(zones)}.",
            403,
        )
    if stock_of(cloud, item.type_id, zone) == "sold out":
        raise ApiError("OperationDenied.NoStock", NO_STOCK, 403)


def _sold(cloud: Cloud, type_id: str, zone: str) -> bool:
    return stock_of(cloud, type_id, zone) != "not offered"


# --- regions and zones --------------------------------------------------------------------------


@action(*ECS, read_only=True)
def DescribeRegions(request: Request, cloud: Cloud) -> dict[str, Any]:
    """The regions."""
    return {
        "Regions": {
            "Region": [
                {
                    "RegionId": region.region_id,
                    "LocalName": region.local_name,
                    "RegionEndpoint": f"ecs.{region.region_id}.aliyuncs.com",
                    "Status": "available",
                }
                for region in catalogue.REGIONS.values()
            ]
        }
    }


@action(*ECS, read_only=True)
def DescribeZones(request: Request, cloud: Cloud) -> dict[str, Any]:
    """The zones of a region, with the instance types that they offer (in stock or not)."""
    region = catalogue.REGIONS[here(request, cloud).name]
    zones = []
    for zone in region.zones:
        types = [t for t in catalogue.INSTANCE_TYPES if _sold(cloud, t, zone)]
        families = sorted({catalogue.INSTANCE_TYPES[t].family for t in types})
        zones.append(
            {
                "ZoneId": zone,
                "LocalName": f"{region.local_name} Zone {zone[-1].upper()}",
                "ZoneType": "AvailabilityZone",
                "AvailableInstanceTypes": {"InstanceTypes": types},
                "AvailableDiskCategories": {"DiskCategories": list(disk_rules.CATEGORIES)},
                "AvailableResourceCreation": {
                    "ResourceTypes": ["VSwitch", "IoOptimized", "Instance", "Disk"]
                },
                "AvailableVolumeCategories": {"VolumeCategories": []},
                "AvailableDedicatedHostTypes": {"DedicatedHostType": []},
                "DedicatedHostGenerations": {"DedicatedHostGeneration": []},
                "AvailableResources": {
                    "ResourcesInfo": [
                        {
                            "IoOptimized": True,
                            "InstanceTypes": {"supportedInstanceType": types},
                            "InstanceTypeFamilies": {"supportedInstanceTypeFamily": families},
                            "InstanceGenerations": {"supportedInstanceGeneration": []},
                            "NetworkTypes": {"supportedNetworkCategory": ["vpc"]},
                            "SystemDiskCategories": {
                                "supportedSystemDiskCategory": list(disk_rules.CATEGORIES)
                            },
                            "DataDiskCategories": {
                                "supportedDataDiskCategory": list(disk_rules.CATEGORIES)
                            },
                        }
                    ]
                },
            }
        )
    return {"Zones": {"Zone": zones}}


# --- availability -------------------------------------------------------------------------------


@action(*ECS, read_only=True)
def DescribeAvailableResource(request: Request, cloud: Cloud) -> dict[str, Any]:
    """What each zone can sell now: zones, instance types, or disk categories."""
    region = catalogue.REGIONS[here(request, cloud).name]
    destination = request.required("DestinationResource")
    if destination not in ("Zone", "InstanceType", "SystemDisk", "DataDisk"):
        raise invalid_parameter(
            "DestinationResource",
            destination,
            "Zone, InstanceType, SystemDisk or DataDisk in the emulator",
            code="InvalidParameter.DestinationResource",
        )
    disk_destination = destination.endswith("Disk")
    if disk_destination and request.get("ResourceType") != "disk":
        request.required("InstanceType")
    if request.get("InstanceType"):
        known_type(request.get("InstanceType"))
    wanted_zone = request.get("ZoneId")
    if wanted_zone and wanted_zone not in region.zones:
        raise ApiError(
            "InvalidZoneId.NotFound",
            f"The ZoneId provided does not exist in our records. Given: {wanted_zone!r}.",
            404,
        )
    zones = []
    for zone in region.zones:
        if wanted_zone not in ("", zone):
            continue
        types = [t for t in _asked_types(request) if _sold(cloud, t.type_id, zone)]
        if not types:
            continue
        buyable = [t for t in types if stock_of(cloud, t.type_id, zone) == "in stock"]
        resources = (
            []
            if destination == "Zone"
            else [_disks(request, destination, types)]
            if disk_destination
            else [_types(cloud, types, zone)]
        )
        zones.append(
            {
                "RegionId": region.region_id,
                "ZoneId": zone,
                **_availability(bool(buyable)),
                "AvailableResources": {"AvailableResource": resources},
            }
        )
    return {"AvailableZones": {"AvailableZone": zones}}


def _asked_types(request: Request) -> list[InstanceType]:
    cores, memory = request.integer("Cores"), request.get("Memory")
    wanted = request.get("InstanceType")
    category = request.get("SystemDiskCategory") or request.get("DataDiskCategory")
    return [
        item
        for item in catalogue.INSTANCE_TYPES.values()
        if wanted in ("", item.type_id)
        and cores in (None, item.vcpu)
        and (not memory or float(memory) == item.memory_gib)
        and (not category or category in item.disk_categories)
    ]


def _availability(in_stock: bool) -> dict[str, str]:
    if in_stock:
        return {"Status": "Available", "StatusCategory": "WithStock"}
    return {"Status": "SoldOut", "StatusCategory": "WithoutStock"}


def _types(cloud: Cloud, types: list[InstanceType], zone: str) -> dict[str, Any]:
    return {
        "Type": "InstanceType",
        "SupportedResources": {
            "SupportedResource": [
                {
                    "Value": t.type_id,
                    **_availability(stock_of(cloud, t.type_id, zone) == "in stock"),
                }
                for t in types
            ]
        },
    }


def _disks(request: Request, destination: str, types: list[InstanceType]) -> dict[str, Any]:
    categories = [c for c in disk_rules.CATEGORIES if any(c in t.disk_categories for t in types)]
    wanted = request.get(f"{destination}Category")
    supported = []
    for category in categories:
        if wanted not in ("", category):
            continue
        low, high = disk_rules.limits(category, "PL0", system=destination == "SystemDisk")
        supported.append(
            {
                "Value": category,
                "Status": "Available",
                "StatusCategory": "WithStock",
                "Min": max(low, 20) if destination == "SystemDisk" else low,
                "Max": high,
                "Unit": "GiB",
            }
        )
    return {"Type": destination, "SupportedResources": {"SupportedResource": supported}}


# --- instance types -----------------------------------------------------------------------------


@action(*ECS, read_only=True)
def DescribeInstanceTypes(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Instance types with all their properties, in pages of NextToken."""
    wanted = request.repeated("InstanceTypes")
    families = request.repeated("InstanceTypeFamilies") + [
        f for f in [request.get("InstanceTypeFamily")] if f
    ]
    specs = request.repeated("GpuSpecs") + [s for s in [request.get("GPUSpec")] if s]
    cpu_low = request.integer("MinimumCpuCoreCount", 0) or 0
    cpu_high = request.integer("MaximumCpuCoreCount", 10**6) or 10**6
    gpus_low = request.integer("MinimumGPUAmount", 0) or 0
    memory_low = float(request.get("MinimumMemorySize") or 0)
    memory_high = float(request.get("MaximumMemorySize") or 10**6)
    chosen = [
        item
        for item in catalogue.INSTANCE_TYPES.values()
        if (not wanted or item.type_id in wanted)
        and (not families or item.family in families)
        and (not specs or item.gpu_spec in specs)
        and cpu_low <= item.vcpu <= cpu_high
        and memory_low <= item.memory_gib <= memory_high
        and item.gpu_amount >= gpus_low
    ]
    part, paging = page(request, chosen, default=100, by_token=True)
    return {
        "InstanceTypes": {"InstanceType": [_type_view(item) for item in part]},
        "NextToken": paging["NextToken"],
    }


@action(*ECS, read_only=True)
def DescribeInstanceTypeFamilies(request: Request, cloud: Cloud) -> dict[str, Any]:
    """The instance families of a region."""
    here(request, cloud)
    families = {item.family: item for item in catalogue.INSTANCE_TYPES.values()}
    return {
        "InstanceTypeFamilies": {
            "InstanceTypeFamily": [
                {"InstanceTypeFamilyId": name, "Generation": "ecs-6" if "6" in name else "ecs-7"}
                for name in families
            ]
        }
    }


def _type_view(item: InstanceType) -> dict[str, Any]:
    bits = int(item.network_gbps * 1024 * 1000)
    return {
        "InstanceTypeId": item.type_id,
        "InstanceTypeFamily": item.family,
        "InstanceFamilyLevel": "EnterpriseLevel" if item.gpu_amount else "EntryLevel",
        "InstanceCategory": "GPU" if item.gpu_amount else "General-purpose",
        "CpuCoreCount": item.vcpu,
        "MemorySize": float(item.memory_gib),
        "CpuArchitecture": item.architecture,
        "PhysicalProcessorModel": item.processor,
        "CpuSpeedFrequency": 2.9,
        "CpuTurboFrequency": 3.5,
        "GPUAmount": item.gpu_amount,
        "GPUSpec": item.gpu_spec,
        "GPUMemorySize": float(item.gpu_memory_gib),
        "InstanceBandwidthRx": bits,
        "InstanceBandwidthTx": bits,
        "InstancePpsRx": 1600000,
        "InstancePpsTx": 1600000,
        "EniQuantity": item.eni_quantity,
        "EniTotalQuantity": item.eni_quantity,
        "EniTrunkSupported": False,
        "EniPrivateIpAddressQuantity": 10,
        "EniIpv6AddressQuantity": 10,
        "EriQuantity": 0,
        "PrimaryEniQueueNumber": 8,
        "SecondaryEniQueueNumber": 8,
        "MaximumQueueNumberPerEni": 8,
        "TotalEniQueueQuantity": 16,
        "QueuePairNumber": 0,
        "DiskQuantity": item.data_disks + 1,
        "LocalStorageAmount": 0,
        "LocalStorageCapacity": 0,
        "LocalStorageCategory": "",
        "NvmeSupport": "required" if item.disk_categories == catalogue.ESSD_ONLY else "unsupported",
        "InitialCredit": 0,
        "BaselineCredit": 0,
        "NetworkEncryptionSupport": False,
        "JumboFrameSupport": False,
        "SupportedBootModes": {"SupportedBootMode": ["BIOS", "UEFI"]},
        "CpuOptions": {
            "Core": item.vcpu // 2,
            "ThreadsPerCore": 2,
            "SupportedTopologyTypes": {"SupportedTopologyType": []},
        },
    }
