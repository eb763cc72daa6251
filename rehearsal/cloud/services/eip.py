"""VPC 2016-04-28: elastic IP addresses (EIP), for instances and NAT gateways."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

from typing import Any

from rehearsal.cloud.errors import ApiError, invalid_parameter
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services import machine_work, nat
from rehearsal.cloud.services.addresses import take_public
from rehearsal.cloud.services.ecs_common import eip_of, instance_status
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
from rehearsal.cloud.services.vpc import DEFAULT_RESOURCE_GROUP, check_vpc_name
from rehearsal.cloud.state import Cloud, RegionState
from rehearsal.cloud.transitions import GONE, Transition

ASSOCIATING = Transition("Associating", "InUse", 2.0)
UNASSOCIATING = Transition("Unassociating", "Available", 2.0)
RELEASING = Transition("Releasing", GONE, 1.0)
# Mbit/s, by billing method (EIP help, AllocateEipAddress, 2026).
MAX_BANDWIDTH = {"PayByTraffic": 200, "PayByBandwidth": 500}
INSTANCE_TYPES = ("EcsInstance", "Nat")
WRONG_STATUS = "Current elastic IP status does not support this operation."


def find_eip(state: RegionState, allocation_id: str, cloud: Cloud) -> Row:
    """The address's row; raises InvalidAllocationId.NotFound (404)."""
    return find(
        state,
        "eips",
        allocation_id,
        cloud,
        lambda: ApiError(
            "InvalidAllocationId.NotFound",
            f"Specified allocation ID is not found. Given: {allocation_id!r} in {state.name}.",
            404,
        ),
    )


def _bandwidth(request: Request, charge: str, default: str) -> str:
    given = request.get("Bandwidth") or default
    maximum = MAX_BANDWIDTH[charge]
    if not given.isdigit() or not 1 <= int(given) <= maximum:
        raise ApiError(
            "InvalidParameter",
            f'Specified value of "Bandwidth" is not valid. Given: {given!r}. Allowed: 1 to '
            f"{maximum} Mbit/s for {charge}.",
        )
    return given


@action(*VPC, resource=arn("vpc", "eip"))
def AllocateEipAddress(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Allocate an elastic IP address."""
    state = here(request, cloud)
    refuse_unsupported(
        request, "PublicIpAddressPoolId", "SecurityProtectionTypes", "InstanceId", "IpAddress"
    )
    charge = request.get("InternetChargeType") or "PayByBandwidth"
    if charge not in MAX_BANDWIDTH:
        raise ApiError(
            "InvalidParameter",
            f'Specified value of "InternetChargeType" is not valid. Given: {charge!r}. Allowed: '
            f"{', '.join(MAX_BANDWIDTH)}.",
        )
    if request.get("InstanceChargeType", "PostPaid") not in ("", "PostPaid"):
        raise invalid_parameter(
            "InstanceChargeType", request.get("InstanceChargeType"), "PostPaid in the emulator"
        )
    limit = quota(state, "eips")
    if len(live_rows(state, "eips", cloud)) >= limit:
        raise ApiError(
            "QuotaExceeded.Eip",
            f"Elastic IP address quota exceeded. {state.name} allows {limit}. Release an address "
            "that is not used, or ask the Quota Center for more.",
        )
    address = take_public(cloud)
    if address is None:
        raise ApiError(
            "ReserveIpFail",
            "Reserve eip failed. The emulator has no public address left; release one.",
        )
    allocation_id = cloud.new_id("eip", state.name)
    row: Row = {
        "AllocationId": allocation_id,
        "IpAddress": address,
        "Name": check_vpc_name(request.get("Name"), code="InvalidName"),
        "Description": check_description(request.get("Description"), code="InvalidDescription"),
        "Bandwidth": _bandwidth(request, charge, "5"),
        "InternetChargeType": charge,
        "ISP": request.get("ISP") or "BGP",
        "ResourceGroupId": request.get("ResourceGroupId") or DEFAULT_RESOURCE_GROUP,
        "InstanceId": "",
        "InstanceType": "",
        "UnbindingFrom": "",
        "Status": "Available",
        "AllocationTime": cloud.timestamp(),
        "Tags": new_tags(request),
    }
    state.table("eips")[allocation_id] = row
    return {
        "AllocationId": allocation_id,
        "EipAddress": address,
        "ResourceGroupId": row["ResourceGroupId"],
        "OrderId": "",
    }


@action(*VPC, read_only=True, resource=arn("vpc", "eip"))
def DescribeEipAddresses(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Elastic IP addresses of a region, with filters and pages."""
    state = here(request, cloud)
    rows = live_rows(state, "eips", cloud)
    wanted = [item for item in request.get("AllocationId").split(",") if item]
    addresses = [item for item in request.get("EipAddress").split(",") if item]
    rows = among(among(rows, wanted, "AllocationId"), addresses, "IpAddress")
    rows = matching(
        rows,
        request,
        EipName="Name",
        ISP="ISP",
        AssociatedInstanceId="InstanceId",
        AssociatedInstanceType="InstanceType",
    )
    status = request.get("Status")
    rows = [row for row in rows if not status or status_of(row, cloud) == status]
    chosen, paging = page(request, with_tags(rows, request))
    return {
        "EipAddresses": {"EipAddress": [_view(row, state, cloud) for row in chosen]},
        **paging,
    }


@action(*VPC, resource=arn("vpc", "eip", "AllocationId"))
def ModifyEipAddressAttribute(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Change an address's bandwidth, name or description."""
    state = here(request, cloud)
    row = find_eip(state, request.required("AllocationId"), cloud)
    if status_of(row, cloud) not in ("Available", "InUse"):
        raise _wrong_status(row, cloud)
    if request.get("Bandwidth"):
        row["Bandwidth"] = _bandwidth(request, row["InternetChargeType"], row["Bandwidth"])
    if "Name" in request.params:
        row["Name"] = check_vpc_name(request.get("Name"), code="InvalidName")
    if "Description" in request.params:
        row["Description"] = check_description(
            request.get("Description"), code="InvalidDescription"
        )
    return {}


@action(*VPC, serialised=False, resource=arn("vpc", "eip", "AllocationId"))
def AssociateEipAddress(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Bind an address to an ECS instance or a NAT gateway."""
    with cloud.lock:
        state = here(request, cloud)
        refuse_unsupported(request, "PrivateIpAddress", "Mode")
        row = find_eip(state, request.required("AllocationId"), cloud)
        instance_id = request.required("InstanceId")
        if _instance_type(request) == "Nat":
            return _associate_gateway(state, row, instance_id, cloud)
        instance = state.table("instances").get(instance_id)
        if instance is None or instance_status(instance, cloud) == GONE:
            # "InvalidInstanId" is the real API's spelling.
            raise ApiError(
                "InvalidInstanId.NotFound",
                f"Specified instance does not exist. Given: {instance_id!r} in {state.name}.",
                404,
            )
        if status_of(row, cloud) != "Available":
            raise _wrong_status(row, cloud)
        other = eip_of(state, instance_id)
        if other is not None:
            raise ApiError(
                "InvalidAssociation.Duplicated",
                f"Specified instance already is associated. {instance_id} has "
                f"{other['AllocationId']}; unassociate it first.",
            )
        status = instance_status(instance, cloud)
        if status not in ("Running", "Stopped"):
            raise ApiError(
                "IncorrectInstanceStatus",
                "Current instance status does not support this operation. "
                f"{instance_id} is {status}; allowed: Running, Stopped.",
            )
        row["InstanceId"] = instance_id
        row["InstanceType"] = "EcsInstance"
        change(row, cloud, ASSOCIATING)
    try:
        machine_work.ask(
            f"bind {row['IpAddress']} to {instance_id}",
            lambda: cloud.hypervisor.associate_address(instance_id, row["IpAddress"]),
        )
    except ApiError:
        with cloud.lock:
            _unbind(row)
        raise
    return {}


@action(*VPC, serialised=False, resource=arn("vpc", "eip", "AllocationId"))
def UnassociateEipAddress(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Take an address off its instance."""
    with cloud.lock:
        state = here(request, cloud)
        row = find_eip(state, request.required("AllocationId"), cloud)
        kind = _instance_type(request)
        if status_of(row, cloud) != "InUse":
            raise _wrong_status(row, cloud)
        given = request.get("InstanceId")
        if given not in ("", row["InstanceId"]):
            raise ApiError(
                "InvalidInstanceId.NotFound",
                f"Specified instance does not exist. Given: {given!r}; {row['AllocationId']} is "
                f"associated with {row['InstanceId']}.",
            )
        if kind != row["InstanceType"]:
            raise invalid_parameter("InstanceType", kind, f"{row['InstanceType']}, which it serves")
        instance_id = row["InstanceId"]
        if kind == "Nat":
            _refuse_in_use(state, row)
            row.update({"InstanceId": "", "InstanceType": "", "UnbindingFrom": instance_id})
            row["UnbindingType"] = kind
            change(row, cloud, UNASSOCIATING)
            return {}
    machine_work.ask(
        f"take {row['IpAddress']} off {instance_id}",
        lambda: cloud.hypervisor.disassociate_address(row["IpAddress"]),
    )
    with cloud.lock:
        row.update({"InstanceId": "", "InstanceType": "", "UnbindingFrom": instance_id})
        row["UnbindingType"] = kind
        change(row, cloud, UNASSOCIATING)
    return {}


@action(*VPC, resource=arn("vpc", "eip", "AllocationId"))
def ReleaseEipAddress(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Give an address back."""
    state = here(request, cloud)
    row = find_eip(state, request.required("AllocationId"), cloud)
    if status_of(row, cloud) != "Available":
        raise _wrong_status(row, cloud)
    change(row, cloud, RELEASING)
    return {}


def unbind_from(state: RegionState, instance_id: str, cloud: Cloud) -> None:
    """Free the address of an instance that is being released, as the real cloud does."""
    row = eip_of(state, instance_id)
    if row is not None:
        cloud.hypervisor.disassociate_address(row["IpAddress"])
        _unbind(row)


def _unbind(row: Row) -> None:
    row.pop("_steps", None)
    row.pop("_since", None)
    row.update({"Status": "Available", "InstanceId": "", "InstanceType": ""})


def _instance_type(request: Request) -> str:
    given = request.get("InstanceType") or "EcsInstance"
    if given not in INSTANCE_TYPES:
        raise ApiError(
            "InvalidInstanceType.ValueNotSupported",
            f"The specified value of InstanceType is not supported. Given: {given!r}. The "
            f"emulator has: {', '.join(INSTANCE_TYPES)}.",
        )
    return given


def _associate_gateway(
    state: RegionState, row: Row, gateway_id: str, cloud: Cloud
) -> dict[str, Any]:
    gateway = nat.find_gateway(state, gateway_id, cloud)
    if status_of(row, cloud) != "Available":
        raise _wrong_status(row, cloud)
    if status_of(gateway, cloud) != "Available":
        raise ApiError(
            "IncorrectStatus.NatGateway",
            f"{gateway_id} is {status_of(gateway, cloud)}; wait until it is Available.",
        )
    row.update({"InstanceId": gateway_id, "InstanceType": "Nat"})
    change(row, cloud, ASSOCIATING)
    return {}


def _refuse_in_use(state: RegionState, row: Row) -> None:
    entries = nat.snat_entries_of(state, row["IpAddress"])
    if entries:
        raise ApiError(
            "DependencyViolation.SnatEntry",
            f"{row['AllocationId']} is used by the SNAT entries {', '.join(entries)}; delete them "
            "first.",
        )


def _wrong_status(row: Row, cloud: Cloud) -> ApiError:
    return ApiError(
        "IncorrectEipStatus",
        f"{WRONG_STATUS} {row['AllocationId']} is {status_of(row, cloud)}.",
    )


def _view(row: Row, state: RegionState, cloud: Cloud) -> dict[str, Any]:
    status = status_of(row, cloud)
    # The instance stays named until the end of Unassociating: the provider waits for it to go.
    instance_id = row["InstanceId"] or (row["UnbindingFrom"] if status == "Unassociating" else "")
    kind = row["InstanceType"] or row.get("UnbindingType", "EcsInstance")
    return {
        "AllocationId": row["AllocationId"],
        "IpAddress": row["IpAddress"],
        "Name": row["Name"],
        "Description": row["Description"],
        "Descritpion": row["Description"],
        "Bandwidth": row["Bandwidth"],
        "EipBandwidth": row["Bandwidth"],
        "InternetChargeType": row["InternetChargeType"],
        "ChargeType": "PostPaid",
        "ISP": row["ISP"],
        "Status": status,
        "InstanceId": instance_id,
        "InstanceType": kind if instance_id else "",
        "InstanceRegionId": state.name if instance_id else "",
        # Left empty: a value here makes the provider replace the association.
        "PrivateIpAddress": "",
        "VpcId": "",
        "Mode": "NAT",
        "Netmode": "public",
        "RegionId": state.name,
        "ResourceGroupId": row["ResourceGroupId"],
        "AllocationTime": row["AllocationTime"],
        "ExpiredTime": "",
        "BusinessStatus": "Normal",
        "DeletionProtection": False,
        "HDMonitorStatus": "OFF",
        "SecondLimited": False,
        "SegmentInstanceId": "",
        "PublicIpAddressPoolId": "",
        "BandwidthPackageId": "",
        "BandwidthPackageBandwidth": "",
        "BandwidthPackageType": "",
        "HasReservationData": False,
        "ServiceManaged": 0,
        "Zone": "",
        "AvailableRegions": {"AvailableRegion": [state.name]},
        "OperationLocks": {"LockReason": []},
        "SecurityProtectionTypes": {"SecurityProtectionType": []},
        "Tags": tag_list(row["Tags"]),
    }
