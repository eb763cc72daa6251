"""ECS 2014-05-26: changing what an instance is told: attributes, type, metadata, maintenance."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

from typing import Any

from rehearsal.cloud.errors import ApiError, invalid_parameter, missing_parameter
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services import disk_rules
from rehearsal.cloud.services.ecs_common import (
    disks_of,
    find_instance,
    known_type,
    require_status,
)
from rehearsal.cloud.services.ecs_instances import INSTANCE
from rehearsal.cloud.services.ecs_launch_options import (
    check_host_name,
    check_metadata,
    check_protection,
    check_release_time,
    check_user_data,
)
from rehearsal.cloud.services.ecs_security_group_rules import enforce, find_group
from rehearsal.cloud.services.ecs_stock import check_stock
from rehearsal.cloud.services.lookups import (
    ECS,
    Row,
    check_description,
    check_name,
    here,
    refuse_unsupported,
)
from rehearsal.cloud.state import Cloud, RegionState

MAINTENANCE_ACTIONS = ("Stop", "AutoRecover", "AutoRedeploy")


@action(*ECS, resource=INSTANCE, secret_params=("Password", "UserData"))
def ModifyInstanceAttribute(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Change name, description, host name, user data, groups or deletion protection.

    A new host name and new user data reach the machine at its next boot.
    """
    state = here(request, cloud)
    row = find_instance(state, request.required("InstanceId"), cloud)
    require_status(row, cloud, "Running", "Stopped")
    refuse_unsupported(
        request, "CpuOptions", "AdditionalInfo", "NetworkInterfaceQueueNumber", "Recyclable"
    )
    if request.boolean("EnableJumboFrame"):
        refuse_unsupported(request, "EnableJumboFrame")
    changed: Row = {}
    if "InstanceName" in request.params:
        changed["InstanceName"] = check_name(
            request.get("InstanceName"),
            code="InvalidInstanceName.Malformed",
            parameter="InstanceName",
        )
    if "Description" in request.params:
        changed["Description"] = check_description(request.get("Description"))
    if request.get("HostName"):
        changed["HostName"] = check_host_name(request.get("HostName"))
    if "UserData" in request.params:
        changed["UserData"] = check_user_data(request.get("UserData"))
    if request.get("DeletionProtection"):
        changed["DeletionProtection"] = request.boolean("DeletionProtection")
        check_protection(changed["DeletionProtection"], row["SpotStrategy"])
    groups = request.repeated("SecurityGroupIds")
    if groups:
        _check_groups(state, cloud, row, groups)
        changed["SecurityGroupIds"] = groups
    before = set(row["SecurityGroupIds"])
    row.update(changed)
    if groups:
        enforce(state, cloud, before | set(groups))
    return {}


def _check_groups(state: RegionState, cloud: Cloud, row: Row, groups: list[str]) -> None:
    for group_id in groups:
        group = find_group(state, group_id, cloud)
        if group["VpcId"] != row["VpcId"]:
            raise ApiError(
                "InvalidSecurityGroupId.VPCMismatch",
                "The specified security group and the instance are not in the same VPC. "
                f"{group_id} is in {group['VpcId']}, {row['InstanceId']} in {row['VpcId']}.",
                403,
            )


@action(*ECS, resource=INSTANCE)
def ModifyInstanceSpec(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Change a stopped instance's type, if its zone has the type and its disks suit it.

    The rehearsal's machine keeps the memory that it was launched with.
    """
    state = here(request, cloud)
    row = find_instance(state, request.required("InstanceId"), cloud)
    refuse_unsupported(
        request, "InternetMaxBandwidth", "Temporary", "SystemDisk", "Disk", "CpuOptions"
    )
    item = known_type(request.required("InstanceType"))
    require_status(row, cloud, "Stopped")
    check_stock(cloud, item, state.name, row["ZoneId"])
    disks = disks_of(state, row["InstanceId"], cloud)
    for disk in disks:
        disk_rules.check_type_takes(item, disk["Category"])
    if sum(disk["Type"] == "data" for disk in disks) > item.data_disks:
        raise ApiError(
            "InstanceDiskLimitExceeded",
            "The amount of the disk on instance in question reach its limits. "
            f"{item.type_id} takes {item.data_disks} data disks.",
            403,
        )
    row["InstanceType"] = item.type_id
    return {"OrderId": ""}


@action(*ECS, resource=INSTANCE)
def ModifyInstanceMetadataOptions(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Change who may read the metadata service and how."""
    state = here(request, cloud)
    row = find_instance(state, request.required("InstanceId"), cloud)
    row["MetadataOptions"] = check_metadata(request, row["MetadataOptions"])
    return {}


@action(*ECS, resource=INSTANCE)
def ModifyInstanceAutoReleaseTime(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Set or clear the time at which an instance is to be released; the emulator only notes it."""
    state = here(request, cloud)
    row = find_instance(state, request.required("InstanceId"), cloud)
    row["AutoReleaseTime"] = check_release_time(request.get("AutoReleaseTime"))
    return {}


@action(*ECS)
def ModifyInstanceMaintenanceAttributes(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Say what should happen to instances when their host needs maintenance."""
    state = here(request, cloud)
    ids = request.repeated("InstanceId")
    if not ids:
        raise missing_parameter("InstanceId.1")
    wanted = request.get("ActionOnMaintenance")
    if wanted and wanted not in MAINTENANCE_ACTIONS:
        raise invalid_parameter("ActionOnMaintenance", wanted, ", ".join(MAINTENANCE_ACTIONS))
    windows = [
        {"StartTime": item.get("StartTime", ""), "EndTime": item.get("EndTime", "")}
        for item in request.structs("MaintenanceWindow")
    ]
    for row in [find_instance(state, instance_id, cloud) for instance_id in ids]:
        kept = row.setdefault("Maintenance", {})
        if wanted:
            kept["Action"] = wanted
        if request.get("NotifyOnMaintenance"):
            kept["Notify"] = request.boolean("NotifyOnMaintenance")
        kept["Windows"] = windows
    return {}
