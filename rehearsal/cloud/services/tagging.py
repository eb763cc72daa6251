"""Tags of ECS, VPC and SLB resources: put, take off, list; DescribeTags of ECS."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rehearsal.cloud.errors import ApiError, missing_parameter
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services.ecs_common import live_instances
from rehearsal.cloud.services.lookups import ECS, SLB, VPC, Row, check_tags, here, live_rows, page
from rehearsal.cloud.state import Cloud, RegionState

# Resource type on the wire (lower case) -> table.
ECS_TYPES = {
    "instance": "instances",
    "disk": "disks",
    "securitygroup": "security_groups",
    "command": "commands",
}
VPC_TYPES = {
    "vpc": "vpcs",
    "vswitch": "vswitches",
    "eip": "eips",
    "natgateway": "nat_gateways",
}
SLB_TYPES = {"instance": "load_balancers", "acl": "slb_acls"}
MAX_TAGS = 20


def _tag(request: Request, cloud: Cloud, types: dict[str, str]) -> dict[str, Any]:
    tags = request.tags()
    if not tags:
        raise missing_parameter("Tag.1.Key")
    check_tags(tags)
    rows = _rows(request, cloud, types)
    for row in rows:
        if len(row["Tags"] | tags) > MAX_TAGS:
            raise ApiError(
                "QuotaExceed.Tags",
                f"The number of tags exceeds the limit of {MAX_TAGS} on one resource.",
                403,
            )
    for row in rows:
        row["Tags"].update(tags)
    return {}


def _untag(request: Request, cloud: Cloud, types: dict[str, str]) -> dict[str, Any]:
    keys = request.repeated("TagKey")
    for row in _rows(request, cloud, types):
        for key in list(row["Tags"]) if request.boolean("All") else keys:
            row["Tags"].pop(key, None)
    return {}


def _list(request: Request, cloud: Cloud, types: dict[str, str]) -> dict[str, Any]:
    state = here(request, cloud)
    kind = request.required("ResourceType")
    ids = request.repeated("ResourceId")
    wanted = request.tags()
    if not ids and not wanted:
        raise missing_parameter("ResourceId.1")
    found = [
        {"ResourceId": key, "ResourceType": kind, "TagKey": name, "TagValue": value}
        for key, row in _table(state, _type(kind, types), cloud)
        if (not ids or key in ids)
        and all(k in row["Tags"] and v in ("", row["Tags"][k]) for k, v in wanted.items())
        for name, value in row["Tags"].items()
    ]
    chosen, paging = page(request, found, default=50, maximum=1000, by_token=True)
    return {"TagResources": {"TagResource": chosen}, "NextToken": paging["NextToken"]}


def _type(kind: str, types: dict[str, str]) -> str:
    table = types.get(kind.lower())
    if table is None:
        raise ApiError(
            "InvalidResourceType.NotFound",
            f"The ResourceType provided does not exist in our records. Given: {kind!r}. The "
            f"emulator tags: {', '.join(types)}.",
            404,
        )
    return table


def _table(state: RegionState, table: str, cloud: Cloud) -> Iterator[tuple[str, Row]]:
    if table == "instances":
        live_instances(state, cloud)
    else:
        live_rows(state, table, cloud)
    return iter(state.table(table).items())


def _rows(request: Request, cloud: Cloud, types: dict[str, str]) -> list[Row]:
    state = here(request, cloud)
    table = dict(_table(state, _type(request.required("ResourceType"), types), cloud))
    ids = request.repeated("ResourceId")
    if not ids:
        raise missing_parameter("ResourceId.1")
    missing = [item for item in ids if item not in table]
    if missing:
        raise ApiError(
            "InvalidResourceId.NotFound",
            f"The specified ResourceIds are not found in our records. Given: {', '.join(missing)}.",
            404,
        )
    return [table[item] for item in ids]


@action(*ECS, name="TagResources")
def tag_ecs(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Put tags on ECS resources."""
    return _tag(request, cloud, ECS_TYPES)


@action(*ECS, name="UntagResources")
def untag_ecs(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Take tags off ECS resources."""
    return _untag(request, cloud, ECS_TYPES)


@action(*ECS, name="ListTagResources", read_only=True)
def list_ecs(request: Request, cloud: Cloud) -> dict[str, Any]:
    """List the tags of ECS resources."""
    return _list(request, cloud, ECS_TYPES)


@action(*VPC, name="TagResources")
def tag_vpc(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Put tags on VPCs, vSwitches, elastic addresses and NAT gateways."""
    return _tag(request, cloud, VPC_TYPES)


@action(*VPC, name="UnTagResources")
def untag_vpc(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Take tags off VPC resources ("UnTag" is the VPC API's spelling)."""
    return _untag(request, cloud, VPC_TYPES)


@action(*VPC, name="ListTagResources", read_only=True)
def list_vpc(request: Request, cloud: Cloud) -> dict[str, Any]:
    """List the tags of VPCs, vSwitches, elastic addresses and NAT gateways."""
    return _list(request, cloud, VPC_TYPES)


@action(*SLB, name="TagResources")
def tag_slb(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Put tags on load balancers and access control lists."""
    return _tag(request, cloud, SLB_TYPES)


@action(*SLB, name="UntagResources")
def untag_slb(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Take tags off load balancers and access control lists."""
    return _untag(request, cloud, SLB_TYPES)


@action(*SLB, name="ListTagResources", read_only=True)
def list_slb(request: Request, cloud: Cloud) -> dict[str, Any]:
    """List the tags of load balancers and access control lists."""
    return _list(request, cloud, SLB_TYPES)


@action(*ECS, read_only=True)
def DescribeTags(request: Request, cloud: Cloud) -> dict[str, Any]:
    """The tags of one resource or of a type (older form); public images have none."""
    state = here(request, cloud)
    kind = request.get("ResourceType").lower()
    tables = ECS_TYPES if not kind or kind == "image" else {kind: _type(kind, ECS_TYPES)}
    wanted = request.get("ResourceId")
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for name, table in tables.items():
        if kind == "image":
            continue
        for key, row in _table(state, table, cloud):
            if wanted in ("", key):
                for tag in row["Tags"].items():
                    count = counts.setdefault(tag, {})
                    label = name.capitalize()
                    count[label] = count.get(label, 0) + 1
    tags = [
        {"TagKey": key, "TagValue": value, "ResourceTypeCount": count}
        for (key, value), count in counts.items()
    ]
    chosen, paging = page(request, tags, default=50)
    return {"Tags": {"Tag": chosen}, **paging}
