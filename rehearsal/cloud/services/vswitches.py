"""VPC 2016-04-28: vSwitches."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

from typing import Any

from rehearsal.cloud import catalogue
from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services.addresses import free_private_count, vswitch_block
from rehearsal.cloud.services.ecs_common import live_instances
from rehearsal.cloud.services.lookups import (
    VPC,
    Row,
    among,
    arn,
    change,
    check_description,
    find,
    here,
    live_rows,
    matching,
    new_tags,
    page,
    quota,
    refuse_unsupported,
    status_of,
    tag_list,
    with_tags,
)
from rehearsal.cloud.services.vpc import (
    DEFAULT_RESOURCE_GROUP,
    check_vpc_name,
    dry_run,
    find_vpc,
)
from rehearsal.cloud.state import Cloud, RegionState
from rehearsal.cloud.transitions import Transition

CREATING = Transition("Pending", "Available", 3.0)


def find_vswitch(state: RegionState, vswitch_id: str, cloud: Cloud) -> Row:
    """The vSwitch's row; raises InvalidVSwitchId.NotFound (404)."""
    return find(
        state,
        "vswitches",
        vswitch_id,
        cloud,
        lambda: ApiError(
            "InvalidVSwitchId.NotFound",
            f"Specified virtual switch does not exist. Given: {vswitch_id!r} in {state.name}.",
            404,
        ),
    )


@action(*VPC, resource=arn("vpc", "vswitch"))
def CreateVSwitch(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Create a vSwitch in a zone of the VPC's region."""
    state = here(request, cloud)
    refuse_unsupported(request, "Ipv6CidrBlock", "VpcIpv6CidrBlock")
    vpc = find_vpc(state, request.required("VpcId"), cloud)
    zone = request.required("ZoneId")
    if zone not in catalogue.REGIONS[state.name].zones:
        raise ApiError(
            "InvalidZoneId.NotFound",
            f"Specified zone does not exist. Given: {zone!r}. {state.name} has: "
            f"{', '.join(catalogue.REGIONS[state.name].zones)}.",
            404,
        )
    if status_of(vpc, cloud) != "Available":
        raise ApiError(
            "IncorrectVpcStatus",
            f"Current VPC status does not support this operation. {vpc['VpcId']} is "
            f"{status_of(vpc, cloud)}; wait until it is Available.",
        )
    neighbours = [r for r in live_rows(state, "vswitches", cloud) if r["VpcId"] == vpc["VpcId"]]
    block = vswitch_block(request.required("CidrBlock"), vpc, neighbours)
    limit = quota(state, "vswitches_per_vpc")
    if len(neighbours) >= limit:
        raise ApiError(
            "QuotaExceeded.VSwitch",
            f"Virtual switch quota exceeded. {vpc['VpcId']} allows {limit}.",
        )
    vswitch_id = cloud.new_id("vsw", state.name)
    row: Row = {
        "VSwitchId": vswitch_id,
        "VSwitchName": check_vpc_name(
            request.get("VSwitchName"), code="InvalidVSwitchName.Malformed"
        ),
        "Description": check_description(
            request.get("Description"), code="InvalidVSwitchDiscription.Malformed"
        ),
        "VpcId": vpc["VpcId"],
        "ZoneId": zone,
        "CidrBlock": str(block),
        "RouteTableId": vpc["RouteTableId"],
        "CreationTime": cloud.timestamp(),
        "Tags": new_tags(request),
    }
    if request.boolean("DryRun"):
        raise dry_run()
    change(row, cloud, CREATING)
    state.table("vswitches")[vswitch_id] = row
    return {"VSwitchId": vswitch_id}


@action(*VPC, read_only=True, resource=arn("vpc", "vswitch", "VSwitchId"))
def DescribeVSwitchAttributes(request: Request, cloud: Cloud) -> dict[str, Any]:
    """One vSwitch in detail; an empty object (HTTP 200) when there is none, as the real API."""
    state = here(request, cloud)
    vswitch_id = request.required("VSwitchId")
    if vswitch_id not in {r["VSwitchId"] for r in live_rows(state, "vswitches", cloud)}:
        return {"VSwitchId": "", "VpcId": "", "Status": "", "CidrBlock": "", "ZoneId": ""}
    return _view(state.table("vswitches")[vswitch_id], state, cloud)


@action(*VPC, read_only=True, resource=arn("vpc", "vswitch"))
def DescribeVSwitches(request: Request, cloud: Cloud) -> dict[str, Any]:
    """vSwitches of a region, with filters and pages."""
    state = here(request, cloud)
    wanted = [item for item in request.get("VSwitchId").split(",") if item]
    rows = among(live_rows(state, "vswitches", cloud), wanted, "VSwitchId")
    rows = matching(rows, request, VpcId="VpcId", ZoneId="ZoneId", VSwitchName="VSwitchName")
    chosen, paging = page(request, with_tags(rows, request), maximum=50)
    return {
        "VSwitches": {"VSwitch": [_view(row, state, cloud) for row in chosen]},
        **paging,
    }


@action(*VPC, resource=arn("vpc", "vswitch", "VSwitchId"))
def ModifyVSwitchAttribute(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Change a vSwitch's name or description."""
    state = here(request, cloud)
    row = find_vswitch(state, request.required("VSwitchId"), cloud)
    refuse_unsupported(request, "Ipv6CidrBlock", "VpcIpv6CidrBlock")
    if "VSwitchName" in request.params:
        row["VSwitchName"] = check_vpc_name(
            request.get("VSwitchName"), code="InvalidVSwitchName.Malformed"
        )
    if "Description" in request.params:
        row["Description"] = check_description(
            request.get("Description"), code="InvalidVSwitchDiscription.Malformed"
        )
    return {}


@action(*VPC, resource=arn("vpc", "vswitch", "VSwitchId"))
def DeleteVSwitch(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Delete a vSwitch that nothing uses."""
    state = here(request, cloud)
    row = find_vswitch(state, request.required("VSwitchId"), cloud)
    vswitch_id = row["VSwitchId"]
    if status_of(row, cloud) == "Pending":
        raise ApiError(
            "IncorrectVSwitchStatus",
            f"The current status of virtual switch does not support this operation. {vswitch_id} "
            "is Pending; wait until it is Available.",
        )
    inside = [r["InstanceId"] for r in live_instances(state, cloud) if r["VSwitchId"] == vswitch_id]
    for table, key in (("load_balancers", "LoadBalancerId"), ("nat_gateways", "NatGatewayId")):
        inside += [r[key] for r in live_rows(state, table, cloud) if r["VSwitchId"] == vswitch_id]
    inside += [
        cluster_id
        for cluster_id, r in state.table("clusters").items()
        if vswitch_id in r["vswitch_ids"]
    ]
    if inside:
        raise ApiError(
            "DependencyViolation",
            f"Specified object has dependent resources. {vswitch_id} is still used by "
            f"{', '.join(inside)}; release them first.",
        )
    del state.table("vswitches")[vswitch_id]
    return {}


def _view(row: Row, state: RegionState, cloud: Cloud) -> dict[str, Any]:
    return {
        "VSwitchId": row["VSwitchId"],
        "VSwitchName": row["VSwitchName"],
        "Description": row["Description"],
        "VpcId": row["VpcId"],
        "ZoneId": row["ZoneId"],
        "CidrBlock": row["CidrBlock"],
        "Ipv6CidrBlock": "",
        "EnabledIpv6": False,
        "Status": status_of(row, cloud),
        "AvailableIpAddressCount": free_private_count(state, row),
        "IsDefault": False,
        "RouteTable": {"RouteTableId": row["RouteTableId"], "RouteTableType": "System"},
        "NetworkAclId": "",
        "ResourceGroupId": DEFAULT_RESOURCE_GROUP,
        "ShareType": "",
        "CloudResources": {"CloudResourceSetType": []},
        "CreationTime": row["CreationTime"],
        "OwnerId": int(state.account),
        "Tags": tag_list(row["Tags"]),
    }
