"""ECS: finding instances, disks and images, and what status an instance really has."""

from __future__ import annotations

import json

from rehearsal.cloud import catalogue, images
from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.policy import trusts
from rehearsal.cloud.registry import Request
from rehearsal.cloud.services import machine_work
from rehearsal.cloud.services.lookups import Row, find, status_of
from rehearsal.cloud.state import Cloud, RegionState
from rehearsal.cloud.transitions import GONE

PASSING = ("Pending", "Starting", "Stopping")
WRONG_STATUS = "The current status of the resource does not support this operation."


def instance_status(row: Row, cloud: Cloud) -> str:
    """The status of an instance; empty when it is gone.

    It takes both the time that the cloud takes and the machine's own work to leave Pending,
    Starting or Stopping, and Running is only said of a machine that runs: one that powered itself
    off is Stopped, as on the real cloud.
    """
    if machine_work.busy(row["InstanceId"]) and row["Status"] in PASSING:
        return str(row["Status"])
    status = status_of(row, cloud)
    if status == "Running" and not cloud.hypervisor.is_running(row["InstanceId"]):
        return "Stopped"
    return status


def live_instances(state: RegionState, cloud: Cloud) -> list[Row]:
    """The instances that are not gone, oldest first; gone ones are forgotten on the way."""
    table = state.table("instances")
    for key in [key for key, row in table.items() if instance_status(row, cloud) == GONE]:
        del table[key]
    return list(table.values())


def no_instance(instance_id: str) -> ApiError:
    """InvalidInstanceId.NotFound (404)."""
    return ApiError(
        "InvalidInstanceId.NotFound",
        f"The specified InstanceId does not exist. Given: {instance_id!r}.",
        404,
    )


def find_instance(state: RegionState, instance_id: str, cloud: Cloud) -> Row:
    """The instance's row; raises InvalidInstanceId.NotFound (404)."""
    row = state.table("instances").get(instance_id)
    if row is None or instance_status(row, cloud) == GONE:
        raise no_instance(instance_id)
    return row


def find_disk(state: RegionState, disk_id: str, cloud: Cloud) -> Row:
    """The disk's row; raises InvalidDiskId.NotFound (404)."""
    return find(
        state,
        "disks",
        disk_id,
        cloud,
        lambda: ApiError(
            "InvalidDiskId.NotFound",
            f"The specified disk does not exist. Given: {disk_id!r} in {state.name}.",
            404,
        ),
    )


def require_status(row: Row, cloud: Cloud, *allowed: str) -> str:
    """The instance's status when it is one of ``allowed``.

    Raises IncorrectInstanceStatus (403), or IncorrectInstanceStatus.Initializing (403) while the
    instance is still being made; the provider waits on both.
    """
    status = instance_status(row, cloud)
    if status in allowed:
        return status
    code, words = "IncorrectInstanceStatus", WRONG_STATUS
    if status == "Pending":
        code += ".Initializing"
        words = "The specified instance status does not support this operation."
    raise ApiError(
        code,
        f"{words} {row['InstanceId']} is {status}; allowed: {', '.join(allowed)}. Wait, or "
        "change its status first.",
        403,
    )


def disks_of(state: RegionState, instance_id: str, cloud: Cloud) -> list[Row]:
    """The disks attached to an instance, the system disk first."""
    rows = [
        row
        for row in state.table("disks").values()
        if row["InstanceId"] == instance_id and status_of(row, cloud) != GONE
    ]
    return sorted(rows, key=lambda row: row["Type"] != "system")


def eip_of(state: RegionState, instance_id: str) -> Row | None:
    """The elastic address associated with an instance, or None."""
    return next(
        (row for row in state.table("eips").values() if row["InstanceId"] == instance_id), None
    )


def known_type(type_id: str) -> catalogue.InstanceType:
    """The instance type; raises InvalidInstanceType.ValueNotSupported (400)."""
    item = catalogue.INSTANCE_TYPES.get(type_id)
    if item is None:
        raise ApiError(
            "InvalidInstanceType.ValueNotSupported",
            "The specified InstanceType does not exist or beyond the permitted range. "
            f"Given: {type_id!r}. Call DescribeInstanceTypes for the list.",
        )
    return item


def known_image(image_id: str, family: str = "") -> images.Image:
    """The image of this id, or the newest of this family; raises the codes of RunInstances."""
    if image_id and family:
        raise ApiError(
            "UnexpectedImageFamily.ImageIdSupplied",
            "The input parameter ImageFamily must be null when image id is set.",
        )
    if family:
        newest = images.newest_of_family(family)
        if newest is None:
            raise ApiError(
                "InvalidImageFamily.MissingAvailableImage",
                "There is no available image related to the specified image family. "
                f"Given: {family!r}.",
                403,
            )
        return newest
    image = images.IMAGES.get(image_id)
    if image is None:
        raise ApiError(
            "InvalidImageId.NotFound",
            f"The specified ImageId does not exist. Given: {image_id!r}. Call DescribeImages for "
            "the list.",
            404,
        )
    return image


def check_ecs_role(request: Request, cloud: Cloud, role_name: str, *, http_status: int) -> None:
    """Refuse a RAM role that does not exist or does not let ECS assume it.

    Raises InvalidRamRole.NotFound (404), InvalidRamRole.NotEcsRole (``http_status``: 401 from
    RunInstances, 404 from AttachInstanceRamRole, as documented) and InvalidUser.PassRoleForbidden
    (403) when the caller may not hand out this role.
    """
    role = cloud.account(request.caller.account).table("ram_roles").get(role_name)
    if role is None:
        raise ApiError(
            "InvalidRamRole.NotFound",
            f"The specified RAMRoleName does not exist. Given: {role_name!r}.",
            404,
        )
    if not trusts(json.loads(role["AssumeRolePolicyDocument"]), "Service", "ecs.aliyuncs.com"):
        raise ApiError(
            "InvalidRamRole.NotEcsRole",
            "The specified ram role is not authorized for ecs, please check your role policy. "
            f'The trust policy of {role_name} must allow sts:AssumeRole to "Service": '
            '["ecs.aliyuncs.com"].',
            http_status,
        )
    try:
        request.authorize("ram:PassRole", f"acs:ram::{request.caller.account}:role/{role_name}")
    except ApiError as error:
        raise ApiError(
            "InvalidUser.PassRoleForbidden",
            f"The RAM user does not have the privilege to pass a RAM role. {error.message}",
            403,
        ) from error
