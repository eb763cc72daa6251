"""ECS 2014-05-26: attaching data disks to instances and taking them off."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

from typing import Any

from rehearsal.cloud import catalogue
from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services import disk_rules, machine_work
from rehearsal.cloud.services.ecs_common import (
    disks_of,
    find_disk,
    find_instance,
    require_status,
)
from rehearsal.cloud.services.ecs_disks import DISK, wrong_disk_status
from rehearsal.cloud.services.lookups import ECS, Row, change, here, refuse_unsupported, status_of
from rehearsal.cloud.state import Cloud, RegionState
from rehearsal.cloud.transitions import Transition

ATTACHING = Transition("Attaching", "In_use", 2.0)
DETACHING = Transition("Detaching", "Available", 2.0)


@action(*ECS, serialised=False, resource=DISK)
def AttachDisk(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Attach a data disk to an instance of the same zone."""
    with cloud.lock:
        state = here(request, cloud)
        if request.boolean("Bootable"):
            refuse_unsupported(request, "Bootable")
        row = find_disk(state, request.required("DiskId"), cloud)
        instance = find_instance(state, request.required("InstanceId"), cloud)
        check_attachable(state, cloud, row, instance)
        row["DeleteWithInstance"] = request.boolean("DeleteWithInstance")
        begin_attachment(row, instance, cloud)
    attach(cloud, row, instance["InstanceId"])
    return {}


def check_attachable(state: RegionState, cloud: Cloud, row: Row, instance: Row) -> None:
    """Refuse an attachment that the real cloud refuses."""
    require_status(instance, cloud, "Running", "Stopped")
    if status_of(row, cloud) != "Available":
        raise wrong_disk_status(row, cloud)
    if row["ZoneId"] != instance["ZoneId"]:
        raise ApiError(
            "ResourcesNotInSameZone",
            "The specified instance and disk are not in the same zone. "
            f"{row['DiskId']} is in {row['ZoneId']}, {instance['InstanceId']} in "
            f"{instance['ZoneId']}; create the disk in the instance's zone.",
            403,
        )
    item = catalogue.INSTANCE_TYPES[instance["InstanceType"]]
    disk_rules.check_type_takes(item, row["Category"])
    attached = [d for d in disks_of(state, instance["InstanceId"], cloud) if d["Type"] == "data"]
    if len(attached) >= item.data_disks:
        raise ApiError(
            "InstanceDiskLimitExceeded",
            "The amount of the disk on instance in question reach its limits. "
            f"{item.type_id} takes {item.data_disks} data disks.",
            403,
        )


def begin_attachment(row: Row, instance: Row, cloud: Cloud) -> None:
    """Note the attachment; the status is Attaching until the cloud's time has passed."""
    row["InstanceId"] = instance["InstanceId"]
    row["AttachedTime"] = cloud.timestamp()
    change(row, cloud, ATTACHING)


def attach(cloud: Cloud, row: Row, instance_id: str) -> None:
    """Attach the disk to the machine; without ``cloud.lock``, since machines take their time."""
    try:
        device = machine_work.ask(
            f"attach {row['DiskId']} to {instance_id}",
            lambda: cloud.hypervisor.attach_disk(instance_id, row["DiskId"]),
        )
    except ApiError:
        with cloud.lock:
            free(row)
        raise
    with cloud.lock:
        row["Device"] = device


def free(row: Row) -> None:
    """Make a disk Available at once."""
    row.pop("_steps", None)
    row.pop("_since", None)
    row.update({"Status": "Available", "InstanceId": "", "Device": ""})


@action(*ECS, serialised=False, resource=DISK)
def DetachDisk(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Take a data disk off its instance."""
    with cloud.lock:
        state = here(request, cloud)
        row = find_disk(state, request.required("DiskId"), cloud)
        instance_id = request.required("InstanceId")
        instance = find_instance(state, instance_id, cloud)
        if row["Type"] == "system":
            raise ApiError(
                "DiskTypeViolation",
                "The specified disk is a system disk and cannot support the operation.",
                403,
            )
        status = status_of(row, cloud)
        if status == "Available":
            raise ApiError(
                "InvalidDisk.AlreadyDetached",
                f"The specified disk has been detached. {row['DiskId']} is Available.",
                404,
            )
        if row["InstanceId"] not in ("", instance_id):
            raise ApiError(
                "DependencyViolation",
                "The specified disk is not attached on the specified instance. "
                f"{row['DiskId']} is attached to {row['InstanceId']}.",
                403,
            )
        if status != "In_use":
            raise wrong_disk_status(row, cloud)
        require_status(instance, cloud, "Running", "Stopped")
    machine_work.ask(
        f"detach {row['DiskId']} from {instance_id}",
        lambda: cloud.hypervisor.detach_disk(instance_id, row["DiskId"]),
    )
    with cloud.lock:
        row.update({"InstanceId": "", "Device": "", "DetachingFrom": instance_id})
        row["DetachedTime"] = cloud.timestamp()
        change(row, cloud, DETACHING)
    return {}
