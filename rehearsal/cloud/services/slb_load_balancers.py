"""SLB 2014-05-15: classic load balancers (CLB)."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

from typing import Any

from rehearsal.cloud import account_traits, catalogue
from rehearsal.cloud.errors import ApiError, invalid_parameter
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services.addresses import take_private, take_public
from rehearsal.cloud.services.lookups import (
    SLB,
    Row,
    among,
    check_name,
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
from rehearsal.cloud.services.slb_common import (
    BALANCERS,
    add,
    balancer_arn,
    find_balancer,
    not_managed,
)
from rehearsal.cloud.services.vswitches import find_vswitch
from rehearsal.cloud.state import Cloud, RegionState

SPECS = (
    "slb.s1.small",
    "slb.s2.small",
    "slb.s2.medium",
    "slb.s3.small",
    "slb.s3.medium",
    "slb.s3.large",
    "slb.s4.large",
    "slb.lcu.elastic",
)
_BANDWIDTH = range(1, 5121)  # Mbit/s
_PROTECTIONS = ("NonProtection", "ConsoleProtection")


def _one_of(request: Request, name: str, default: str, allowed: tuple[str, ...]) -> str:
    given = request.get(name) or default
    if given not in allowed:
        raise invalid_parameter(name, given, ", ".join(allowed))
    return given


def _bandwidth(request: Request) -> int:
    given = request.integer("Bandwidth", 1)
    if given == -1:
        return -1
    if given not in _BANDWIDTH:
        raise invalid_parameter("Bandwidth", given, f"{_BANDWIDTH[0]} to {_BANDWIDTH[-1]}, or -1")
    return int(given or 1)


@action(*SLB, resource=balancer_arn)
def CreateLoadBalancer(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Create a load balancer with a public or a private address."""
    state = here(request, cloud)
    refuse_unsupported(request, "Address.", "CloudType")
    if request.get("Address"):
        refuse_unsupported(request, "Address")
    if account_traits.is_closed(cloud, state.account, "slb"):
        raise ApiError(
            "SERVICE_NOT_OPEN",
            f"The load balancer service is not activated for account {state.account}. Activate it "
            "in the console, then try again.",
            403,
        )
    if len(live_rows(state, BALANCERS, cloud)) >= quota(state, "load_balancers"):
        raise ApiError(
            "QuotaExceeded.LoadBalancer",
            f"The quota of load balancers is exceeded. {state.name} allows "
            f"{quota(state, 'load_balancers')}. Delete one that is not used.",
        )
    _one_of(request, "AddressIPVersion", "ipv4", ("ipv4",))
    _one_of(request, "PayType", "PayOnDemand", ("PayOnDemand",))
    vswitch_id = request.get("VSwitchId")
    kind = _one_of(
        request, "AddressType", "intranet" if vswitch_id else "internet", ("internet", "intranet")
    )
    spec = request.get("LoadBalancerSpec")
    if spec and spec not in SPECS:
        raise invalid_parameter("LoadBalancerSpec", spec, ", ".join(SPECS))
    charge = _one_of(
        request,
        "InstanceChargeType",
        "PayBySpec" if spec else "PayByCLCU",
        ("PayBySpec", "PayByCLCU"),
    )
    zones = catalogue.REGIONS[state.name].zones
    for name in ("MasterZoneId", "SlaveZoneId"):
        if request.get(name) and request.get(name) not in zones:
            raise invalid_parameter(name, request.get(name), ", ".join(zones))
    name = check_name(
        request.get("LoadBalancerName"),
        code="InvalidLoadBalancerName",
        parameter="LoadBalancerName",
    )
    settings = {
        "Bandwidth": _bandwidth(request),
        "InternetChargeType": _one_of(
            request, "InternetChargeType", "paybytraffic", ("paybytraffic", "paybybandwidth")
        ),
        "LoadBalancerSpec": spec,
        "InstanceChargeType": charge,
        "MasterZoneId": request.get("MasterZoneId") or zones[0],
        "SlaveZoneId": request.get("SlaveZoneId") or zones[-1],
        "DeleteProtection": _one_of(request, "DeleteProtection", "off", ("on", "off")),
        "ModificationProtectionStatus": _one_of(
            request, "ModificationProtectionStatus", "NonProtection", _PROTECTIONS
        ),
        "ModificationProtectionReason": request.get("ModificationProtectionReason"),
    }
    tags = new_tags(request)
    if kind == "intranet":
        if not vswitch_id:
            raise invalid_parameter("VSwitchId", "", "a vSwitch, because AddressType is intranet")
        vswitch = find_vswitch(state, vswitch_id, cloud)
        address, vpc_id = take_private(cloud, vswitch), vswitch["VpcId"]
    else:
        public = take_public(cloud)
        if public is None:
            raise ApiError(
                "ResourceNotAvailable.PublicAddress",
                "The emulator has no public address left; release an elastic address or a load "
                "balancer.",
            )
        address, vpc_id, vswitch_id = public, "", ""
    balancer_id = add(
        cloud,
        state,
        name=name or f"auto_named_slb-{address.replace('.', '-')}",
        address=address,
        address_type=kind,
        vpc_id=vpc_id,
        vswitch_id=vswitch_id,
        tags=tags,
    )
    row = state.table(BALANCERS)[balancer_id]
    row.update(settings)
    if request.get("ResourceGroupId"):
        row["ResourceGroupId"] = request.get("ResourceGroupId")
    return {
        "LoadBalancerId": balancer_id,
        "LoadBalancerName": row["LoadBalancerName"],
        "Address": address,
        "AddressIPVersion": "ipv4",
        "NetworkType": "vpc" if vpc_id else "classic",
        "VpcId": vpc_id,
        "VSwitchId": vswitch_id,
        "ResourceGroupId": row["ResourceGroupId"],
        "OrderId": 0,
    }


@action(*SLB, read_only=True, resource=balancer_arn)
def DescribeLoadBalancerAttribute(request: Request, cloud: Cloud) -> dict[str, Any]:
    """One load balancer in detail, with its listeners."""
    state = here(request, cloud)
    row = find_balancer(state, request.required("LoadBalancerId"), cloud)
    listeners = list(row["Listeners"].values())
    return {
        **_view(row, state, cloud),
        "ListenerPorts": {"ListenerPort": [item["ListenerPort"] for item in listeners]},
        "ListenerPortsAndProtocol": {
            "ListenerPortAndProtocol": [
                {
                    "ListenerPort": item["ListenerPort"],
                    "ListenerProtocol": item["ListenerProtocol"],
                    "Description": item["Description"],
                    "ListenerForward": "off",
                    "ForwardPort": 0,
                }
                for item in listeners
            ]
        },
        "ListenerPortsAndProtocal": {
            "ListenerPortAndProtocal": [
                {
                    "ListenerPort": item["ListenerPort"],
                    "ListenerProtocal": item["ListenerProtocol"],
                }
                for item in listeners
            ]
        },
        "BackendServers": {"BackendServer": []},
        "LoadBalancerSpec": row["LoadBalancerSpec"],
        "AutoReleaseTime": 0,
    }


@action(*SLB, read_only=True, resource=balancer_arn)
def DescribeLoadBalancers(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Load balancers of a region, with filters and pages."""
    state = here(request, cloud)
    wanted = [item for item in request.get("LoadBalancerId").split(",") if item]
    rows = among(live_rows(state, BALANCERS, cloud), wanted, "LoadBalancerId")
    rows = matching(
        rows,
        request,
        LoadBalancerName="LoadBalancerName",
        Address="Address",
        AddressType="AddressType",
        VpcId="VpcId",
        VSwitchId="VSwitchId",
    )
    chosen, paging = page(request, with_tags(rows, request))
    return {
        "LoadBalancers": {"LoadBalancer": [_view(row, state, cloud) for row in chosen]},
        **paging,
    }


@action(*SLB, resource=balancer_arn)
def DeleteLoadBalancer(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Delete a load balancer with its listeners."""
    state = here(request, cloud)
    row = find_balancer(state, request.required("LoadBalancerId"), cloud)
    not_managed(row)
    if row["DeleteProtection"] == "on":
        raise ApiError(
            "OperationDenied.DeleteProtectionIsOn",
            f"The operation is not allowed because delete protection of {row['LoadBalancerId']} is "
            "on. Switch it off first.",
        )
    del state.table(BALANCERS)[row["LoadBalancerId"]]
    return {}


@action(*SLB, resource=balancer_arn)
def SetLoadBalancerName(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Rename a load balancer."""
    row = _to_change(request, cloud)
    row["LoadBalancerName"] = check_name(
        request.required("LoadBalancerName"),
        code="InvalidLoadBalancerName",
        parameter="LoadBalancerName",
    )
    return {}


@action(*SLB, resource=balancer_arn)
def SetLoadBalancerStatus(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Let a load balancer forward (active) or not (inactive)."""
    row = _to_change(request, cloud)
    allowed = ("active", "inactive")
    request.required("LoadBalancerStatus")
    row["Stopped"] = _one_of(request, "LoadBalancerStatus", "", allowed) == "inactive"
    return {}


@action(*SLB, resource=balancer_arn)
def SetLoadBalancerDeleteProtection(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Switch protection from deletion on or off."""
    row = _to_change(request, cloud)
    row["DeleteProtection"] = _one_of(request, "DeleteProtection", "", ("on", "off"))
    return {}


@action(*SLB, resource=balancer_arn)
def SetLoadBalancerModificationProtection(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Switch protection from changes in the console on or off."""
    row = _to_change(request, cloud)
    row["ModificationProtectionStatus"] = _one_of(
        request, "ModificationProtectionStatus", "", _PROTECTIONS
    )
    row["ModificationProtectionReason"] = request.get("ModificationProtectionReason")
    return {}


@action(*SLB, resource=balancer_arn)
def ModifyLoadBalancerInternetSpec(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Change a public balancer's bandwidth or its billing."""
    row = _to_change(request, cloud)
    if request.get("Bandwidth"):
        row["Bandwidth"] = _bandwidth(request)
    if request.get("InternetChargeType"):
        row["InternetChargeType"] = _one_of(
            request,
            "InternetChargeType",
            "",
            ("paybytraffic", "paybybandwidth", "PayByTraffic", "PayByBandwidth"),
        ).lower()
    return {}


@action(*SLB, resource=balancer_arn)
def ModifyLoadBalancerInstanceSpec(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Change a load balancer's size."""
    row = _to_change(request, cloud)
    row["LoadBalancerSpec"] = _one_of(request, "LoadBalancerSpec", "", SPECS)
    return {}


def _to_change(request: Request, cloud: Cloud) -> Row:
    row = find_balancer(here(request, cloud), request.required("LoadBalancerId"), cloud)
    not_managed(row)
    return row


def _view(row: Row, state: RegionState, cloud: Cloud) -> dict[str, Any]:
    status = status_of(row, cloud)
    zones = {"MasterZoneId": row["MasterZoneId"], "SlaveZoneId": row["SlaveZoneId"]}
    same = (
        "LoadBalancerId",
        "LoadBalancerName",
        "Address",
        "AddressType",
        "VpcId",
        "VSwitchId",
        "Bandwidth",
        "InternetChargeType",
        "LoadBalancerSpec",
        "InstanceChargeType",
        "DeleteProtection",
        "ModificationProtectionStatus",
        "ModificationProtectionReason",
        "ResourceGroupId",
        "CreateTime",
    )
    return {
        **{name: row[name] for name in same},
        **zones,
        "LoadBalancerStatus": "inactive" if status == "active" and row["Stopped"] else status,
        "AddressIPVersion": "ipv4",
        "NetworkType": "vpc" if row["VpcId"] else "classic",
        "PayType": "PayOnDemand",
        "RegionId": state.name,
        "RegionIdAlias": state.name,
        "Tags": tag_list(row["Tags"]),
    }
