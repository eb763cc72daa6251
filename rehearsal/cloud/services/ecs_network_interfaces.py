"""ECS 2014-05-26: network interfaces; each instance has its primary one."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

from typing import Any

from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services.ecs_common import eip_of, live_instances
from rehearsal.cloud.services.lookups import ECS, Row, among, here, matching, page, with_tags
from rehearsal.cloud.state import Cloud, RegionState


@action(*ECS, read_only=True)
def DescribeNetworkInterfaces(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Network interfaces of a region, with filters and pages."""
    state = here(request, cloud)
    rows = among(
        live_instances(state, cloud), request.repeated("NetworkInterfaceId"), "NetworkInterfaceId"
    )
    rows = among(rows, request.repeated("PrivateIpAddress"), "PrivateIp")
    rows = matching(rows, request, InstanceId="InstanceId", VSwitchId="VSwitchId", VpcId="VpcId")
    group = request.get("SecurityGroupId")
    rows = [
        row
        for row in with_tags(rows, request)
        if (not group or group in row["SecurityGroupIds"])
        and request.get("Type") in ("", "Primary")
        and request.get("Status") in ("", "InUse")
    ]
    chosen, paging = page(request, rows)
    return {
        "NetworkInterfaceSets": {"NetworkInterfaceSet": [_view(row, state) for row in chosen]},
        **paging,
    }


@action(*ECS, read_only=True)
def DescribeNetworkInterfaceAttribute(request: Request, cloud: Cloud) -> dict[str, Any]:
    """One network interface."""
    state = here(request, cloud)
    wanted = request.required("NetworkInterfaceId")
    for row in live_instances(state, cloud):
        if row["NetworkInterfaceId"] == wanted:
            return _view(row, state)
    raise ApiError(
        "InvalidEniId.NotFound",
        f"The specified EniId {wanted!r} is not found.",
        404,
    )


def _view(row: Row, state: RegionState) -> dict[str, Any]:
    eip = eip_of(state, row["InstanceId"])
    public = (
        {"AllocationId": eip["AllocationId"], "PublicIpAddress": eip["IpAddress"]} if eip else {}
    )
    return {
        "NetworkInterfaceId": row["NetworkInterfaceId"],
        "NetworkInterfaceName": "",
        "Description": "",
        "Type": "Primary",
        "Status": "InUse",
        "InstanceId": row["InstanceId"],
        "VpcId": row["VpcId"],
        "VSwitchId": row["VSwitchId"],
        "ZoneId": row["ZoneId"],
        "MacAddress": row["Mac"],
        "PrivateIpAddress": row["PrivateIp"],
        "PrivateIpSets": {
            "PrivateIpSet": [
                {
                    "PrivateIpAddress": row["PrivateIp"],
                    "Primary": True,
                    "AssociatedPublicIp": public,
                }
            ]
        },
        "Ipv6Sets": {"Ipv6Set": []},
        "Ipv4PrefixSets": {"Ipv4PrefixSet": []},
        "Ipv6PrefixSets": {"Ipv6PrefixSet": []},
        "AssociatedPublicIp": public,
        "SecurityGroupIds": {"SecurityGroupId": row["SecurityGroupIds"]},
        "Attachment": {
            "InstanceId": row["InstanceId"],
            "DeviceIndex": 0,
            "NetworkCardIndex": 0,
            "TrunkNetworkInterfaceId": "",
            "MemberNetworkInterfaceIds": {"MemberNetworkInterfaceId": []},
        },
        "NetworkInterfaceTrafficMode": "Standard",
        "QueueNumber": 8,
        "QueuePairNumber": 0,
        "SourceDestCheck": True,
        "DeleteOnRelease": True,
        "ServiceManaged": False,
        "ServiceID": 0,
        "OwnerId": state.account,
        "ResourceGroupId": row["ResourceGroupId"],
        "CreationTime": row["CreationTime"],
        "Tags": {"Tag": []},
    }
