"""VPC 2016-04-28: virtual private clouds and their system route table."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

from typing import Any

from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services.addresses import vpc_block
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
from rehearsal.cloud.state import Cloud, RegionState
from rehearsal.cloud.transitions import Transition

# Durations as seen by the authors of public Terraform logs: a VPC is Available after a few seconds.
CREATING = Transition("Pending", "Available", 3.0)

# The resource group that everything belongs to which names none.
DEFAULT_RESOURCE_GROUP = "rg-acfmxazb4ph6aiy"


def find_vpc(state: RegionState, vpc_id: str, cloud: Cloud) -> Row:
    """The VPC's row; raises InvalidVpcId.NotFound (404)."""
    return find(
        state,
        "vpcs",
        vpc_id,
        cloud,
        lambda: ApiError(
            "InvalidVpcId.NotFound",
            f"Specified VPC does not exist. Given: {vpc_id!r} in {state.name}.",
            404,
        ),
    )


def check_vpc_name(name: str, *, code: str = "InvalidVpcName.Malformed") -> str:
    """Return a name of the VPC product, or refuse it. Empty means unset."""
    if name and (len(name) > 128 or name.startswith(("http://", "https://"))):
        raise ApiError(
            code,
            f"Specified VPC name is not valid. Given: {len(name)} characters. Allowed: 1 to 128, "
            "not starting with http:// or https://.",
        )
    return name


@action(*VPC, resource=arn("vpc", "vpc"))
def CreateVpc(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Create a VPC with its router and system route table."""
    state = here(request, cloud)
    refuse_unsupported(request, "Ipv6CidrBlock", "UserCidr", "Ipv4IpamPoolId")
    if request.boolean("EnableIpv6"):
        refuse_unsupported(request, "EnableIpv6")
    block = vpc_block(request.get("CidrBlock") or "172.16.0.0/12")
    limit = quota(state, "vpcs")
    if len(live_rows(state, "vpcs", cloud)) >= limit:
        raise ApiError(
            "QuotaExceeded.Vpc",
            f"VPC quota exceeded. {state.name} allows {limit}. Delete a VPC that is not used, or "
            "ask the Quota Center for more.",
        )
    vpc_id = cloud.new_id("vpc", state.name)
    row: Row = {
        "VpcId": vpc_id,
        "VpcName": check_vpc_name(request.get("VpcName")),
        "Description": check_description(
            request.get("Description"), code="InvalidVpcDiscription.Malformed"
        ),
        "CidrBlock": str(block),
        "VRouterId": cloud.new_id("vrt", state.name),
        "RouteTableId": cloud.new_id("vtb", state.name),
        "RouteTableName": "",
        "RouteTableDescription": "",
        "ResourceGroupId": request.get("ResourceGroupId") or DEFAULT_RESOURCE_GROUP,
        "DnsHostnameStatus": "DISABLED",
        "CreationTime": cloud.timestamp(),
        "Tags": new_tags(request),
    }
    if request.boolean("DryRun"):
        raise dry_run()
    if request.boolean("EnableDnsHostname"):
        row["DnsHostnameStatus"] = "ENABLED"
    change(row, cloud, CREATING)
    state.table("vpcs")[vpc_id] = row
    return {
        "VpcId": vpc_id,
        "VRouterId": row["VRouterId"],
        "RouteTableId": row["RouteTableId"],
        "ResourceGroupId": row["ResourceGroupId"],
    }


def dry_run() -> ApiError:
    """What a dry run answers when the request would have passed."""
    return ApiError(
        "DryRunOperation", "Request validation has been passed with DryRun flag set.", 400
    )


@action(*VPC, read_only=True, resource=arn("vpc", "vpc", "VpcId"))
def DescribeVpcAttribute(request: Request, cloud: Cloud) -> dict[str, Any]:
    """One VPC in detail."""
    state = here(request, cloud)
    row = find_vpc(state, request.required("VpcId"), cloud)
    return _view(row, state, cloud)


@action(*VPC, read_only=True, resource=arn("vpc", "vpc"))
def DescribeVpcs(request: Request, cloud: Cloud) -> dict[str, Any]:
    """VPCs of a region, with filters and pages."""
    state = here(request, cloud)
    wanted = [item for item in request.get("VpcId").split(",") if item]
    rows = among(live_rows(state, "vpcs", cloud), wanted, "VpcId")
    rows = with_tags(matching(rows, request, VpcName="VpcName"), request)
    if request.boolean("IsDefault"):
        rows = []
    chosen, paging = page(request, rows, maximum=50)
    return {"Vpcs": {"Vpc": [_view(row, state, cloud) for row in chosen]}, **paging}


@action(*VPC, resource=arn("vpc", "vpc", "VpcId"))
def ModifyVpcAttribute(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Change a VPC's name, description or DNS host names."""
    state = here(request, cloud)
    row = find_vpc(state, request.required("VpcId"), cloud)
    if request.get("CidrBlock") not in ("", row["CidrBlock"]):
        refuse_unsupported(request, "CidrBlock")
    if request.boolean("EnableIPv6"):
        refuse_unsupported(request, "EnableIPv6")
    if "VpcName" in request.params:
        row["VpcName"] = check_vpc_name(request.get("VpcName"))
    if "Description" in request.params:
        row["Description"] = check_description(
            request.get("Description"), code="InvalidVpcDiscription.Malformed"
        )
    if "EnableDnsHostname" in request.params:
        enabled = request.boolean("EnableDnsHostname")
        row["DnsHostnameStatus"] = "ENABLED" if enabled else "DISABLED"
    return {}


@action(*VPC, resource=arn("vpc", "vpc", "VpcId"))
def DeleteVpc(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Delete a VPC that holds nothing any more."""
    state = here(request, cloud)
    row = find_vpc(state, request.required("VpcId"), cloud)
    vpc_id = row["VpcId"]
    if status_of(row, cloud) == "Pending":
        raise ApiError(
            "IncorrectVpcStatus",
            f"Current VPC status does not support this operation. {vpc_id} is Pending; wait until "
            "it is Available.",
        )
    for table, suffix, key in (
        ("vswitches", "VSwitch", "VSwitchId"),
        ("security_groups", "SecurityGroup", "SecurityGroupId"),
        ("nat_gateways", "NatGateway", "NatGatewayId"),
    ):
        inside = [r[key] for r in live_rows(state, table, cloud) if r["VpcId"] == vpc_id]
        if inside:
            words = " SecurityGroup" if suffix == "SecurityGroup" else ""
            raise ApiError(
                f"DependencyViolation.{suffix}",
                f"Specified object has dependent resources{words}. {vpc_id} still has "
                f"{', '.join(inside)}; delete them first.",
            )
    del state.table("vpcs")[vpc_id]
    return {}


@action(*VPC, read_only=True, resource=arn("vpc", "vpc"))
def DescribeRouteTableList(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Route tables: each VPC has its system route table."""
    state = here(request, cloud)
    rows = matching(
        live_rows(state, "vpcs", cloud),
        request,
        VpcId="VpcId",
        RouterId="VRouterId",
        RouteTableId="RouteTableId",
        RouteTableName="RouteTableName",
    )
    chosen, paging = page(request, rows, maximum=50)
    switches = live_rows(state, "vswitches", cloud)
    return {
        "RouterTableList": {
            "RouterTableListType": [
                {
                    "RouteTableId": row["RouteTableId"],
                    "RouteTableName": row["RouteTableName"],
                    "Description": row["RouteTableDescription"],
                    "RouteTableType": "System",
                    "AssociateType": "VSwitch",
                    "RouterType": "VRouter",
                    "RouterId": row["VRouterId"],
                    "VpcId": row["VpcId"],
                    "VSwitchIds": {
                        "VSwitchId": [
                            s["VSwitchId"] for s in switches if s["VpcId"] == row["VpcId"]
                        ]
                    },
                    "GatewayIds": {"GatewayIds": []},
                    "ResourceGroupId": row["ResourceGroupId"],
                    "RoutePropagationEnable": True,
                    "Status": "Available",
                    "CreationTime": row["CreationTime"],
                    "OwnerId": int(state.account),
                    "Tags": {"Tag": []},
                }
                for row in chosen
            ]
        },
        "Code": "Success",
        "Message": "",
        "Success": True,
        **paging,
    }


def _view(row: Row, state: RegionState, cloud: Cloud) -> dict[str, Any]:
    switches = [
        s["VSwitchId"] for s in live_rows(state, "vswitches", cloud) if s["VpcId"] == row["VpcId"]
    ]
    return {
        "VpcId": row["VpcId"],
        "VpcName": row["VpcName"],
        "Description": row["Description"],
        "CidrBlock": row["CidrBlock"],
        "Status": status_of(row, cloud),
        "VRouterId": row["VRouterId"],
        "RouterTableIds": {"RouterTableIds": [row["RouteTableId"]]},
        "VSwitchIds": {"VSwitchId": switches},
        "SecondaryCidrBlocks": {"SecondaryCidrBlock": []},
        "UserCidrs": {"UserCidr": []},
        "Ipv6CidrBlocks": {"Ipv6CidrBlock": []},
        "Ipv6CidrBlock": "",
        "EnabledIpv6": False,
        "NatGatewayIds": {"NatGatewayIds": []},
        "CloudResources": {
            "CloudResourceSetType": [
                {"ResourceType": "VSwitch", "ResourceCount": len(switches)},
                {"ResourceType": "VRouter", "ResourceCount": 1},
                {"ResourceType": "RouteTable", "ResourceCount": 1},
            ]
        },
        "AssociatedCens": {"AssociatedCen": []},
        "ResourceGroupId": row["ResourceGroupId"],
        "CreationTime": row["CreationTime"],
        "RegionId": state.name,
        "OwnerId": int(state.account),
        "IsDefault": False,
        "ClassicLinkEnabled": False,
        "AdvancedResource": False,
        "CenStatus": "Detached",
        "DnsHostnameStatus": row["DnsHostnameStatus"],
        "DhcpOptionsSetId": "",
        "DhcpOptionsSetStatus": "",
        "Tags": tag_list(row["Tags"]),
    }
