"""ECS 2014-05-26: DescribePrice."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

from typing import Any

from rehearsal.cloud import catalogue
from rehearsal.cloud.errors import invalid_parameter
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services import disk_rules
from rehearsal.cloud.services.ecs_common import known_type
from rehearsal.cloud.services.lookups import ECS, here
from rehearsal.cloud.state import Cloud

HOURS = {"Hour": 1, "Month": 720, "Year": 8760}


@action(*ECS, read_only=True)
def DescribePrice(request: Request, cloud: Cloud) -> dict[str, Any]:
    """The price of an instance with its disks, or of a disk, in CNY per PriceUnit."""
    region = here(request, cloud).name
    kind = request.get("ResourceType") or "instance"
    unit = request.get("PriceUnit") or "Hour"
    if unit not in HOURS:
        raise invalid_parameter("PriceUnit", unit, ", ".join(HOURS))
    factor = HOURS[unit] * (request.integer("Period", 1) or 1)
    details: list[tuple[str, float, float]] = []
    if kind == "instance":
        item = known_type(request.required("InstanceType"))
        spot = request.get("SpotStrategy") not in ("", "NoSpot")
        list_price = catalogue.hourly_price(item.type_id, region)
        paid = catalogue.hourly_price(item.type_id, region, spot=spot)
        details.append(("instanceType", list_price, paid))
        if any(key.startswith("SystemDisk.") for key in request.params):
            details.append(_disk(request, "SystemDisk.", "systemDisk", region, default_size=40))
    elif kind != "disk":
        raise invalid_parameter("ResourceType", kind, "instance or disk in the emulator")
    index = 1
    while f"DataDisk.{index}.Size" in request.params:
        details.append(_disk(request, f"DataDisk.{index}.", "dataDisk", region))
        index += 1
    amount = request.integer("Amount", 1) or 1
    total = round(sum(price for _, price, _ in details) * factor * amount, 4)
    trade = round(sum(price for _, _, price in details) * factor * amount, 4)
    return {
        "PriceInfo": {
            "Price": {
                "Currency": "CNY",
                "OriginalPrice": total,
                "TradePrice": trade,
                "DiscountPrice": round(total - trade, 4),
                "ReservedInstanceHourPrice": 0.0,
                "DetailInfos": {
                    "DetailInfo": [
                        {
                            "Resource": resource,
                            "OriginalPrice": round(price * factor, 4),
                            "TradePrice": round(paid * factor, 4),
                            "DiscountPrice": round((price - paid) * factor, 4),
                            "Rules": {"Rule": []},
                        }
                        for resource, price, paid in details
                    ]
                },
            },
            "Rules": {"Rule": []},
            "RelatedPrice": {},
        }
    }


def _disk(
    request: Request, prefix: str, resource: str, region: str, *, default_size: int = 0
) -> tuple[str, float, float]:
    category = disk_rules.check_category(
        request.get(f"{prefix}Category"),
        f"{prefix}Category",
        code="InvalidDiskCategory.ValueNotSupported",
    )
    level = disk_rules.check_level(
        category, request.get(f"{prefix}PerformanceLevel"), f"{prefix}PerformanceLevel"
    )
    size = request.integer(f"{prefix}Size", default_size) or default_size
    price = catalogue.disk_price(category, level, size, region)
    return resource, price, price
