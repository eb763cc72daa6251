"""VPC 2016-04-28: NAT gateways and their SNAT entries."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

from rehearsal.cloud.errors import ApiError, invalid_parameter
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services.addresses import parse_block
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
from rehearsal.cloud.services.vpc import DEFAULT_RESOURCE_GROUP, check_vpc_name, find_vpc
from rehearsal.cloud.services.vswitches import find_vswitch
from rehearsal.cloud.state import Cloud, RegionState
from rehearsal.cloud.transitions import Transition

GATEWAYS = "nat_gateways"
CREATING = Transition("Creating", "Available", 5.0)
SNAT_CREATING = Transition("Pending", "Available", 2.0)


def find_gateway(state: RegionState, gateway_id: str, cloud: Cloud) -> Row:
    """The NAT gateway's row; raises InvalidNatGatewayId.NotFound (404)."""
    return find(
        state,
        GATEWAYS,
        gateway_id,
        cloud,
        lambda: ApiError(
            "InvalidNatGatewayId.NotFound",
            f"Specified NAT gateway does not exist. Given: {gateway_id!r} in {state.name}.",
            404,
        ),
    )


def addresses_of(state: RegionState, gateway_id: str) -> list[Row]:
    """The elastic addresses associated with a NAT gateway."""
    return [row for row in state.table("eips").values() if row["InstanceId"] == gateway_id]


def snat_entries_of(state: RegionState, address: str) -> list[str]:
    """The SNAT entries that send through this public address."""
    return [
        entry_id
        for row in state.table(GATEWAYS).values()
        for entry_id, entry in row["SnatEntries"].items()
        if address in entry["SnatIp"].split(",")
    ]


@action(*VPC, resource=arn("vpc", "natgateway"))
def CreateNatGateway(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Create an enhanced NAT gateway in a vSwitch."""
    state = here(request, cloud)
    refuse_unsupported(request, "AccessMode", "BandwidthPackage", "PrivateLinkEnabled")
    vpc = find_vpc(state, request.required("VpcId"), cloud)
    for name, allowed in (
        ("NatType", ("Enhanced",)),
        ("NetworkType", ("internet",)),
        ("InstanceChargeType", ("PostPaid",)),
        ("InternetChargeType", ("PayByLcu", "PayBySpec")),
        ("EipBindMode", ("MULTI_BINDED", "NAT")),
    ):
        if request.get(name) and request.get(name) not in allowed:
            raise invalid_parameter(name, request.get(name), f"{', '.join(allowed)} (emulator)")
    vswitch = find_vswitch(state, request.required("VSwitchId"), cloud)
    if vswitch["VpcId"] != vpc["VpcId"]:
        raise invalid_parameter(
            "VSwitchId", vswitch["VSwitchId"], f"a vSwitch of {vpc['VpcId']}, which VpcId names"
        )
    same = [r for r in live_rows(state, GATEWAYS, cloud) if r["VpcId"] == vpc["VpcId"]]
    if len(same) >= quota(state, "nat_gateways"):
        raise ApiError(
            "QuotaExceeded.NatGateway",
            f"NAT gateway quota exceeded. {vpc['VpcId']} allows {quota(state, 'nat_gateways')}.",
        )
    gateway_id = cloud.new_id("ngw", state.name)
    row: Row = {
        "NatGatewayId": gateway_id,
        "Name": check_vpc_name(request.get("Name"), code="InvalidNatGatewayName.Malformed"),
        "Description": check_description(request.get("Description")),
        "VpcId": vpc["VpcId"],
        "VSwitchId": vswitch["VSwitchId"],
        "ZoneId": vswitch["ZoneId"],
        "SnatTableId": cloud.new_id("stb", state.name),
        "ForwardTableId": cloud.new_id("ftb", state.name),
        "InternetChargeType": request.get("InternetChargeType") or "PayByLcu",
        "Spec": request.get("Spec"),
        "EipBindMode": request.get("EipBindMode") or "MULTI_BINDED",
        "IcmpReplyEnabled": request.boolean("IcmpReplyEnabled", True),
        "DeletionProtection": False,
        "SnatEntries": {},
        "CreationTime": cloud.timestamp(),
        "Tags": new_tags(request),
    }
    change(row, cloud, CREATING)
    state.table(GATEWAYS)[gateway_id] = row
    return {
        "NatGatewayId": gateway_id,
        "SnatTableIds": {"SnatTableId": [row["SnatTableId"]]},
        "ForwardTableIds": {"ForwardTableId": [row["ForwardTableId"]]},
        "FullNatTableIds": {"FullNatTableId": []},
        "BandwidthPackageIds": {"BandwidthPackageId": []},
    }


@action(*VPC, read_only=True, resource=arn("vpc", "natgateway"))
def DescribeNatGateways(request: Request, cloud: Cloud) -> dict[str, Any]:
    """NAT gateways of a region, with filters and pages."""
    state = here(request, cloud)
    wanted = [request.get("NatGatewayId")] if request.get("NatGatewayId") else []
    rows = among(live_rows(state, GATEWAYS, cloud), wanted, "NatGatewayId")
    rows = matching(rows, request, VpcId="VpcId", VSwitchId="VSwitchId", Name="Name")
    chosen, paging = page(request, with_tags(rows, request), maximum=50)
    return {
        "NatGateways": {"NatGateway": [_view(row, state, cloud) for row in chosen]},
        **paging,
    }


@action(*VPC, resource=arn("vpc", "natgateway", "NatGatewayId"))
def ModifyNatGatewayAttribute(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Change a NAT gateway's name, description or behaviour."""
    state = here(request, cloud)
    row = find_gateway(state, request.required("NatGatewayId"), cloud)
    if "Name" in request.params:
        row["Name"] = check_vpc_name(request.get("Name"), code="InvalidNatGatewayName.Malformed")
    if "Description" in request.params:
        row["Description"] = check_description(request.get("Description"))
    if request.get("EipBindMode"):
        row["EipBindMode"] = request.get("EipBindMode")
    row["IcmpReplyEnabled"] = request.boolean("IcmpReplyEnabled", row["IcmpReplyEnabled"])
    return {}


@action(*VPC, name="DeletionProtection", resource=arn("vpc", "natgateway", "InstanceId"))
def protect_from_deletion(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Protect a NAT gateway from deletion, or stop doing so."""
    if request.required("Type") != "NATGW":
        raise invalid_parameter("Type", request.get("Type"), "NATGW (emulator)")
    row = find_gateway(here(request, cloud), request.required("InstanceId"), cloud)
    row["DeletionProtection"] = request.boolean("ProtectionEnable")
    return {}


@action(*VPC, resource=arn("vpc", "natgateway", "NatGatewayId"))
def DeleteNatGateway(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Delete a NAT gateway without addresses and entries (or with them, when forced)."""
    state = here(request, cloud)
    row = find_gateway(state, request.required("NatGatewayId"), cloud)
    gateway_id = row["NatGatewayId"]
    if row["DeletionProtection"]:
        raise ApiError(
            "OperationDenied.DeletionProtection",
            f"{gateway_id} is protected from deletion. Switch the protection off first.",
        )
    addresses = addresses_of(state, gateway_id)
    if addresses and not request.boolean("Force"):
        names = ", ".join(item["AllocationId"] for item in addresses)
        raise ApiError(
            "DependencyViolation.EIPS",
            f"Specified NAT gateway still has elastic addresses: {names}. Unassociate them first.",
        )
    if row["SnatEntries"] and not request.boolean("Force"):
        raise ApiError(
            "DependencyViolation.SnatEntry",
            f"Specified NAT gateway still has SNAT entries: {', '.join(row['SnatEntries'])}. "
            "Delete them first.",
        )
    for item in addresses:
        item.update({"Status": "Available", "InstanceId": "", "InstanceType": ""})
    del state.table(GATEWAYS)[gateway_id]
    return {}


# ---- SNAT entries


def _by_table(request: Request, cloud: Cloud) -> tuple[RegionState, Row]:
    state = here(request, cloud)
    table_id = request.required("SnatTableId")
    for row in live_rows(state, GATEWAYS, cloud):
        if row["SnatTableId"] == table_id:
            return state, row
    raise ApiError(
        "InvalidSnatTableId.NotFound",
        f"Specified SNAT table does not exist. Given: {table_id!r} in {state.name}.",
        404,
    )


def _entry(request: Request, row: Row) -> Row:
    entry_id = request.required("SnatEntryId")
    entry: Row | None = row["SnatEntries"].get(entry_id)
    if entry is None:
        raise ApiError(
            "InvalidSnatEntryId.NotFound",
            f"Specified SNAT entry does not exist. Given: {entry_id!r} in {row['SnatTableId']}.",
            404,
        )
    return entry


def _check_addresses(given: str, row: Row, state: RegionState, cloud: Cloud) -> str:
    own = {
        item["IpAddress"]
        for item in addresses_of(state, row["NatGatewayId"])
        if status_of(item, cloud) == "InUse"
    }
    missing = [one for one in given.split(",") if one not in own]
    if missing:
        raise ApiError(
            "EIP_NOT_IN_GATEWAY",
            f"The specified EIP is not in the gateway. Given: {', '.join(missing)}. "
            f"{row['NatGatewayId']} has: {', '.join(sorted(own)) or 'none'}. Associate it first.",
        )
    return given


@action(*VPC, resource=arn("vpc", "snattable", "SnatTableId"))
def CreateSnatEntry(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Let a vSwitch or a network reach the internet from a public address."""
    state, row = _by_table(request, cloud)
    vpc = find_vpc(state, row["VpcId"], cloud)
    vswitch_id, cidr = request.get("SourceVSwitchId"), request.get("SourceCIDR")
    if bool(vswitch_id) == bool(cidr):
        raise invalid_parameter(
            "SourceVSwitchId", vswitch_id, "either SourceVSwitchId or SourceCIDR"
        )
    if vswitch_id:
        vswitch = find_vswitch(state, vswitch_id, cloud)
        if vswitch["VpcId"] != row["VpcId"]:
            raise invalid_parameter("SourceVSwitchId", vswitch_id, f"a vSwitch of {row['VpcId']}")
        cidr = vswitch["CidrBlock"]
    block = parse_block(cidr)
    if block is None or not block.subnet_of(IPv4Network(vpc["CidrBlock"])):
        raise invalid_parameter("SourceCIDR", cidr, f"a network inside {vpc['CidrBlock']}")
    if any(item["SourceCIDR"] == cidr for item in row["SnatEntries"].values()):
        raise ApiError(
            "InvalidParameter.SourceCIDR.Duplicate",
            f"The source {cidr} has an SNAT entry in {row['SnatTableId']} already. Change that.",
        )
    if len(row["SnatEntries"]) >= quota(state, "snat_entries_per_table"):
        raise ApiError("QuotaExceeded.SnatEntry", "The quota of SNAT entries is exceeded.")
    entry_id = cloud.new_id("snat", state.name)
    entry: Row = {
        "SnatEntryId": entry_id,
        "SnatEntryName": check_vpc_name(request.get("SnatEntryName")),
        "SnatIp": _check_addresses(request.required("SnatIp"), row, state, cloud),
        "SourceCIDR": cidr,
        "SourceVSwitchId": vswitch_id,
        "EipAffinity": str(request.integer("EipAffinity", 0)),
    }
    change(entry, cloud, SNAT_CREATING)
    row["SnatEntries"][entry_id] = entry
    return {"SnatEntryId": entry_id}


@action(*VPC, read_only=True, resource=arn("vpc", "snattable", "SnatTableId"))
def DescribeSnatTableEntries(request: Request, cloud: Cloud) -> dict[str, Any]:
    """The SNAT entries of a table or of a NAT gateway."""
    state = here(request, cloud)
    rows = matching(
        live_rows(state, GATEWAYS, cloud),
        request,
        SnatTableId="SnatTableId",
        NatGatewayId="NatGatewayId",
    )
    if request.get("SnatTableId") and not rows:
        _by_table(request, cloud)
    found = [
        {
            **{name: value for name, value in entry.items() if not name.startswith("_")},
            "Status": status_of(entry, cloud),
            "SnatTableId": row["SnatTableId"],
            "NatGatewayId": row["NatGatewayId"],
        }
        for row in rows
        for entry in row["SnatEntries"].values()
        if request.get("SnatEntryId") in ("", entry["SnatEntryId"])
    ]
    chosen, paging = page(request, found, maximum=50)
    return {"SnatTableEntries": {"SnatTableEntry": chosen}, **paging}


@action(*VPC, resource=arn("vpc", "snattable", "SnatTableId"))
def ModifySnatEntry(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Change an SNAT entry's name or public addresses."""
    state, row = _by_table(request, cloud)
    entry = _entry(request, row)
    if request.get("SnatIp"):
        entry["SnatIp"] = _check_addresses(request.get("SnatIp"), row, state, cloud)
    if "SnatEntryName" in request.params:
        entry["SnatEntryName"] = check_vpc_name(request.get("SnatEntryName"))
    if "EipAffinity" in request.params:
        entry["EipAffinity"] = str(request.integer("EipAffinity", 0))
    return {}


@action(*VPC, resource=arn("vpc", "snattable", "SnatTableId"))
def DeleteSnatEntry(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Delete an SNAT entry."""
    _, row = _by_table(request, cloud)
    del row["SnatEntries"][_entry(request, row)["SnatEntryId"]]
    return {}


def _view(row: Row, state: RegionState, cloud: Cloud) -> dict[str, Any]:
    return {
        "NatGatewayId": row["NatGatewayId"],
        "Name": row["Name"],
        "Description": row["Description"],
        "Status": status_of(row, cloud),
        "BusinessStatus": "Normal",
        "VpcId": row["VpcId"],
        "RegionId": state.name,
        "NatType": "Enhanced",
        "NetworkType": "internet",
        "InstanceChargeType": "PostPaid",
        "InternetChargeType": row["InternetChargeType"],
        "Spec": row["Spec"],
        "EipBindMode": row["EipBindMode"],
        "IcmpReplyEnabled": row["IcmpReplyEnabled"],
        "PrivateLinkEnabled": False,
        "DeletionProtection": row["DeletionProtection"],
        "AutoPay": False,
        "ExpiredTime": "",
        "CreationTime": row["CreationTime"],
        "ResourceGroupId": DEFAULT_RESOURCE_GROUP,
        "SnatTableIds": {"SnatTableId": [row["SnatTableId"]]},
        "ForwardTableIds": {"ForwardTableId": [row["ForwardTableId"]]},
        "FullNatTableIds": {"FullNatTableId": []},
        "BandwidthPackageIds": {"BandwidthPackageId": []},
        "IpLists": {
            "IpList": [
                {"AllocationId": item["AllocationId"], "IpAddress": item["IpAddress"]}
                for item in addresses_of(state, row["NatGatewayId"])
            ]
        },
        "NatGatewayPrivateInfo": {
            "VswitchId": row["VSwitchId"],
            "IzNo": row["ZoneId"],
            "PrivateIpAddress": "",
            "EniInstanceId": "",
        },
        "Tags": tag_list(row["Tags"]),
    }
