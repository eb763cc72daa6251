"""ECS 2014-05-26: the life of an instance after its launch: start, stop, reboot, release."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rehearsal.cloud import catalogue
from rehearsal.cloud.errors import ApiError, invalid_parameter, missing_parameter
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services import machine_work
from rehearsal.cloud.services.ecs_common import (
    disks_of,
    find_instance,
    instance_status,
    require_status,
)
from rehearsal.cloud.services.ecs_disk_attachments import free
from rehearsal.cloud.services.ecs_security_group_rules import enforce, firewall
from rehearsal.cloud.services.ecs_stock import check_stock
from rehearsal.cloud.services.eip import unbind_from
from rehearsal.cloud.services.lookups import ECS, Row, arn, change, here, minute_stamp
from rehearsal.cloud.services.vpc import dry_run
from rehearsal.cloud.state import Cloud, RegionState
from rehearsal.cloud.transitions import GONE, Transition

STARTING = Transition("Starting", "Running", 6.0)
STOPPING = Transition("Stopping", "Stopped", 5.0)
REBOOTING = (Transition("Stopping", "Starting", 3.0), STARTING)
RELEASING = Transition("Stopping", GONE, 5.0)
INSTANCE = arn("ecs", "instance", "InstanceId")

Operation = Callable[[Request, Cloud, RegionState, Row], None]


# --- one instance -------------------------------------------------------------------------------


def _start(request: Request, cloud: Cloud, state: RegionState, row: Row) -> None:
    require_status(row, cloud, "Stopped")
    if row["StoppedMode"] == "StopCharging":
        # Its place was given back; the zone may have nothing for it any more.
        item = catalogue.INSTANCE_TYPES[row["InstanceType"]]
        check_stock(cloud, item, state.name, row["ZoneId"])
    row["StoppedMode"] = "Not-applicable"
    row["StartTime"] = minute_stamp(cloud.clock())
    change(row, cloud, STARTING)
    instance_id = row["InstanceId"]

    def work() -> None:
        cloud.hypervisor.start(instance_id)
        with cloud.lock:
            rules = firewall(state, cloud, row)
        cloud.hypervisor.apply_rules(instance_id, rules)

    _later(cloud, row, f"start {instance_id}", work)


def _stop(request: Request, cloud: Cloud, state: RegionState, row: Row) -> None:
    require_status(row, cloud, "Running")
    mode = request.get("StoppedMode") or "KeepCharging"
    if mode == "Not-applicable":
        # The provider sends back what it read of the running instance.
        mode = "KeepCharging"
    if mode not in ("KeepCharging", "StopCharging"):
        raise invalid_parameter("StoppedMode", mode, "KeepCharging or StopCharging")
    force = request.boolean("ForceStop")
    row["StoppedMode"] = mode
    change(row, cloud, STOPPING)
    instance_id = row["InstanceId"]
    _later(
        cloud,
        row,
        f"stop {instance_id}",
        lambda: cloud.hypervisor.stop(instance_id, force=force),
    )


def _reboot(request: Request, cloud: Cloud, state: RegionState, row: Row) -> None:
    require_status(row, cloud, "Running")
    force = request.boolean("ForceStop") or request.boolean("ForceReboot")
    change(row, cloud, *REBOOTING)
    instance_id = row["InstanceId"]

    def work() -> None:
        cloud.hypervisor.reboot(instance_id, force=force)
        with cloud.lock:
            rules = firewall(state, cloud, row)
        cloud.hypervisor.apply_rules(instance_id, rules)

    _later(cloud, row, f"reboot {instance_id}", work)


def _later(cloud: Cloud, row: Row, what: str, work: Callable[[], None]) -> None:
    """Do the machine's part beside the request; say what is true when it fails."""

    def failed() -> None:
        row.pop("_steps", None)
        row.pop("_since", None)
        running = cloud.hypervisor.is_running(row["InstanceId"])
        row["Status"] = "Running" if running else "Stopped"

    machine_work.later(cloud, row["InstanceId"], what, work, failed=failed)


def _one(operation: Operation, request: Request, cloud: Cloud) -> dict[str, Any]:
    state = here(request, cloud)
    row = find_instance(state, request.required("InstanceId"), cloud)
    if request.boolean("DryRun"):
        raise dry_run()
    operation(request, cloud, state, row)
    return {}


@action(*ECS, resource=INSTANCE)
def StartInstance(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Start a stopped instance."""
    return _one(_start, request, cloud)


@action(*ECS, resource=INSTANCE)
def StopInstance(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Stop a running instance; StoppedMode=StopCharging gives its place back."""
    return _one(_stop, request, cloud)


@action(*ECS, resource=INSTANCE)
def RebootInstance(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Restart a running instance."""
    return _one(_reboot, request, cloud)


# --- several instances --------------------------------------------------------------------------


def _several(operation: Operation, request: Request, cloud: Cloud) -> dict[str, Any]:
    """All or nothing by default; ``BatchOptimization=SuccessFirst`` does what can be done."""
    state = here(request, cloud)
    ids = request.repeated("InstanceId")
    if not ids:
        raise missing_parameter("InstanceId.1")
    rows = [find_instance(state, instance_id, cloud) for instance_id in ids]
    if request.boolean("DryRun"):
        raise dry_run()
    needed = "Stopped" if operation is _start else "Running"
    if request.get("BatchOptimization") != "SuccessFirst":
        for row in rows:
            require_status(row, cloud, needed)
    answers = []
    for row in rows:
        before = instance_status(row, cloud)
        code, message = "200", "success"
        try:
            operation(request, cloud, state, row)
        except ApiError as error:
            if request.get("BatchOptimization") != "SuccessFirst":
                raise
            code, message = error.code, error.message
        answers.append(
            {
                "InstanceId": row["InstanceId"],
                "PreviousStatus": before,
                "CurrentStatus": instance_status(row, cloud),
                "Code": code,
                "Message": message,
            }
        )
    return {"InstanceResponses": {"InstanceResponse": answers}}


_INSTANCES = arn("ecs", "instance")


@action(*ECS, resource=_INSTANCES)
def StartInstances(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Start several stopped instances."""
    return _several(_start, request, cloud)


@action(*ECS, resource=_INSTANCES)
def StopInstances(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Stop several running instances."""
    return _several(_stop, request, cloud)


@action(*ECS, resource=_INSTANCES)
def RebootInstances(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Restart several running instances."""
    return _several(_reboot, request, cloud)


# --- release ------------------------------------------------------------------------------------


@action(*ECS, resource=INSTANCE)
def DeleteInstance(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Release an instance: a stopped one, or with Force also a running one."""
    state = here(request, cloud)
    row = find_instance(state, request.required("InstanceId"), cloud)
    _check_release(request, cloud, row)
    _release(cloud, state, row)
    return {}


@action(*ECS, resource=_INSTANCES)
def DeleteInstances(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Release several instances, all or none."""
    state = here(request, cloud)
    ids = request.repeated("InstanceId")
    if not ids:
        raise missing_parameter("InstanceId.1")
    rows = [find_instance(state, instance_id, cloud) for instance_id in ids]
    for row in rows:
        _check_release(request, cloud, row)
    for row in rows:
        _release(cloud, state, row)
    return {}


def _check_release(request: Request, cloud: Cloud, row: Row) -> None:
    if row["DeletionProtection"]:
        raise ApiError(
            "InvalidOperation.DeletionProtection",
            "The operation is not permitted due to deletion protection. "
            f"{row['InstanceId']} has DeletionProtection=true; set it to false with "
            "ModifyInstanceAttribute first.",
            403,
        )
    force = request.boolean("Force")
    allowed = ("Running", "Starting", "Stopping", "Stopped") if force else ("Stopped",)
    require_status(row, cloud, *allowed)
    if request.boolean("DryRun"):
        raise dry_run()


def _release(cloud: Cloud, state: RegionState, row: Row) -> None:
    instance_id = row["InstanceId"]
    groups = set(row["SecurityGroupIds"])
    unbind_from(state, instance_id, cloud)
    kept: list[Row] = []
    doomed: list[str] = []
    for disk in disks_of(state, instance_id, cloud):
        if disk["Type"] == "system":
            del state.table("disks")[disk["DiskId"]]
        elif disk["DeleteWithInstance"]:
            del state.table("disks")[disk["DiskId"]]
            doomed.append(disk["DiskId"])
        else:
            # Nobody may attach it elsewhere before the machine has let go of it.
            disk.pop("_steps", None)
            disk.update(
                {
                    "Status": "Detaching",
                    "InstanceId": "",
                    "Device": "",
                    "DetachingFrom": instance_id,
                    "DetachedTime": cloud.timestamp(),
                }
            )
            kept.append(disk)
    change(row, cloud, RELEASING)

    def work() -> None:
        for disk in kept:
            cloud.hypervisor.detach_disk(instance_id, disk["DiskId"])
        cloud.hypervisor.destroy(instance_id)
        for disk_id in doomed:
            cloud.hypervisor.delete_disk(disk_id)
        with cloud.lock:
            for disk in kept:
                free(disk)
            enforce(state, cloud, groups)

    _later(cloud, row, f"release {instance_id}", work)


def resume(cloud: Cloud) -> None:
    """Finish the releases that the previous process began, and free the disks that they held."""
    for region, instance_id, row in cloud.rows("instances"):
        steps = row.get("_steps", [])
        if steps and steps[-1][0] == GONE:
            cloud.hypervisor.destroy(instance_id)
            del region.table("instances")[instance_id]
    for _, _, disk in cloud.rows("disks"):
        if disk["Status"] == "Detaching" and "_steps" not in disk:
            free(disk)
