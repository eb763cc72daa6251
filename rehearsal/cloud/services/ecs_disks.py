"""ECS 2014-05-26: disks as such: create, list, change, resize, delete."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

from typing import Any

from rehearsal.cloud import catalogue
from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services import disk_rules, machine_work
from rehearsal.cloud.services.ecs_common import find_disk, require_status
from rehearsal.cloud.services.lookups import (
    ECS,
    Row,
    among,
    arn,
    check_description,
    check_name,
    here,
    live_rows,
    matching,
    new_tags,
    page,
    refuse_unsupported,
    status_of,
    tag_list,
    with_tags,
)
from rehearsal.cloud.services.vpc import DEFAULT_RESOURCE_GROUP
from rehearsal.cloud.state import Cloud, RegionState

DISK = arn("ecs", "disk", "DiskId")


def check_encryption(encrypted: bool, key_id: str) -> None:
    """Refuse a KMS key for a disk that is not to be encrypted."""
    if key_id and not encrypted:
        raise ApiError(
            "InvalidParameter.EncryptedIllegal",
            "The specified parameter Encrypted must be true when kmsKeyId is not empty.",
        )


def disk_name(name: str, parameter: str = "DiskName") -> str:
    """A disk's name, checked."""
    return check_name(name, code="InvalidDiskName.Malformed", parameter=parameter)


def disk_description(text: str) -> str:
    """A disk's description, checked."""
    return check_description(text, code="InvalidDiskDescription.Malformed")


def new_disk(
    cloud: Cloud,
    state: RegionState,
    shape: disk_rules.DiskShape,
    *,
    kind: str,
    zone: str,
    **fields: Any,
) -> Row:
    """Put a disk into the table, Available and attached to nothing unless ``fields`` say more."""
    disk_id = cloud.new_id("d", state.name)
    row: Row = {
        "DiskId": disk_id,
        "Type": kind,
        "Category": shape.category,
        "PerformanceLevel": shape.performance_level,
        "Size": shape.size_gib,
        "ZoneId": zone,
        "DiskName": "",
        "Description": "",
        "Encrypted": False,
        "KMSKeyId": "",
        "ImageId": "",
        "InstanceId": "",
        "Device": "",
        "DetachingFrom": "",
        "DeleteWithInstance": False,
        "DeleteAutoSnapshot": False,
        "EnableAutoSnapshot": True,
        "BurstingEnabled": False,
        "ProvisionedIops": 0,
        "ResourceGroupId": DEFAULT_RESOURCE_GROUP,
        "CreationTime": cloud.timestamp(),
        "AttachedTime": "",
        "DetachedTime": "",
        "Status": "Available",
        "Tags": {},
        **fields,
    }
    state.table("disks")[disk_id] = row
    return row


@action(*ECS, serialised=False, resource=arn("ecs", "disk"))
def CreateDisk(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Create an empty pay-as-you-go data disk."""
    with cloud.lock:
        state = here(request, cloud)
        refuse_unsupported(request, "InstanceId", "StorageSetId", "StorageClusterId", "Arn")
        if request.get("MultiAttach") not in ("", "Disabled"):
            refuse_unsupported(request, "MultiAttach")
        zone = request.required("ZoneId")
        if zone not in catalogue.REGIONS[state.name].zones:
            raise ApiError(
                "InvalidZoneId.NotFound",
                f"The ZoneId provided does not exist in our records. Given: {zone!r}.",
                404,
            )
        if request.get("SnapshotId"):
            raise ApiError(
                "InvalidSnapshotId.NotFound",
                f"The specified SnapshotId does not exist. Given: {request.get('SnapshotId')!r}. "
                "The emulator has no snapshots.",
                404,
            )
        if not request.get("Size"):
            raise ApiError(
                "MissingParameter",
                'The input parameter either "SnapshotId" or "Size" should be specified.',
            )
        category = disk_rules.check_category(
            request.get("DiskCategory"),
            "DiskCategory",
            code="InvalidDiskCategory.ValueNotSupported",
        )
        level = disk_rules.check_level(
            category, request.get("PerformanceLevel"), "PerformanceLevel"
        )
        size = disk_rules.check_data_size(
            request.integer("Size") or 0,
            category,
            level,
            code="InvalidDiskSize.NotSupported",
            words="disk size is not supported.",
        )
        encrypted = request.boolean("Encrypted")
        check_encryption(encrypted, request.get("KMSKeyId"))
        row = new_disk(
            cloud,
            state,
            disk_rules.DiskShape(category, level, size),
            kind="data",
            zone=zone,
            DiskName=disk_name(request.get("DiskName")),
            Description=disk_description(request.get("Description")),
            Encrypted=encrypted,
            KMSKeyId=request.get("KMSKeyId"),
            BurstingEnabled=request.boolean("BurstingEnabled"),
            ProvisionedIops=request.integer("ProvisionedIops", 0) or 0,
            Tags=new_tags(request),
        )
        disk_id = str(row["DiskId"])
    try:
        machine_work.ask(
            f"create disk {disk_id}", lambda: cloud.hypervisor.create_disk(disk_id, size)
        )
    except ApiError:
        with cloud.lock:
            del state.table("disks")[disk_id]
        raise
    return {"DiskId": disk_id}


@action(*ECS, read_only=True, resource=arn("ecs", "disk"))
def DescribeDisks(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Disks of a region, with filters and pages."""
    state = here(request, cloud)
    rows = among(live_rows(state, "disks", cloud), request.repeated("DiskIds"), "DiskId")
    rows = matching(
        rows,
        request,
        InstanceId="InstanceId",
        ZoneId="ZoneId",
        DiskName="DiskName",
        Category="Category",
        PerformanceLevel="PerformanceLevel",
        KMSKeyId="KMSKeyId",
    )
    for parameter, field in (
        ("DeleteWithInstance", "DeleteWithInstance"),
        ("Encrypted", "Encrypted"),
        ("Portable", "Portable"),
    ):
        if request.get(parameter):
            wanted = request.boolean(parameter)
            rows = [row for row in rows if _flag(row, field) == wanted]
    kind, status = request.get("DiskType"), request.get("Status")
    rows = [
        row
        for row in rows
        if kind in ("", "all", row["Type"]) and status in ("", "All", status_of(row, cloud))
    ]
    chosen, paging = page(request, with_tags(rows, request))
    return {
        "RegionId": state.name,
        "Disks": {"Disk": [_view(row, state, cloud) for row in chosen]},
        **paging,
    }


def _flag(row: Row, field: str) -> bool:
    return row["Type"] == "data" if field == "Portable" else bool(row[field])


@action(*ECS, resource=DISK)
def ModifyDiskAttribute(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Change a disk's name, description and what happens to it with its instance."""
    state = here(request, cloud)
    ids = request.repeated("DiskIds") or [request.required("DiskId")]
    for row in [find_disk(state, disk_id, cloud) for disk_id in ids]:
        if "DiskName" in request.params:
            row["DiskName"] = disk_name(request.get("DiskName"))
        if "Description" in request.params:
            row["Description"] = disk_description(request.get("Description"))
        for flag in (
            *("DeleteWithInstance", "DeleteAutoSnapshot"),
            *("EnableAutoSnapshot", "BurstingEnabled"),
        ):
            if request.get(flag):
                row[flag] = request.boolean(flag)
    return {}


@action(*ECS, serialised=False, resource=DISK)
def ResizeDisk(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Grow a disk: ``online`` while its instance runs, ``offline`` before the next start."""
    with cloud.lock:
        state = here(request, cloud)
        row = find_disk(state, request.required("DiskId"), cloud)
        request.required("NewSize")
        size = request.integer("NewSize") or 0
        how = request.get("Type") or "offline"
        if how not in ("online", "offline"):
            raise ApiError(
                "InvalidParameter.Type",
                f"The specified parameter Type is not valid. Given: {how!r}. Allowed: online, "
                "offline.",
            )
        _settled(row, cloud)
        if row["InstanceId"]:
            instance = state.table("instances")[row["InstanceId"]]
            require_status(instance, cloud, "Running", "Stopped")
        if size <= row["Size"]:
            raise ApiError(
                "InvalidDiskSize.TooSmall",
                "Specified new disk size is less than the original disk size. "
                f"Given: {size} GiB. {row['DiskId']} has {row['Size']} GiB; disks only grow.",
                403,
            )
        largest = disk_rules.limits(
            row["Category"], row["PerformanceLevel"], system=row["Type"] == "system"
        )[1]
        if size > largest:
            raise ApiError(
                "InvalidDiskSize.TooLarge",
                "Specified new disk size is beyond the permitted range. "
                f"Given: {size} GiB. Allowed: up to {largest} GiB for {row['Category']}.",
                403,
            )
    if row["Type"] == "data":
        machine_work.ask(
            f"resize disk {row['DiskId']}",
            lambda: cloud.hypervisor.resize_disk(row["DiskId"], size),
        )
    with cloud.lock:
        row["Size"] = size
    return {"OrderId": ""}


@action(*ECS, resource=DISK)
def ModifyDiskSpec(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Change a disk's performance level, or its category among ESSD and AutoPL."""
    state = here(request, cloud)
    row = find_disk(state, request.required("DiskId"), cloud)
    _settled(row, cloud)
    category = request.get("DiskCategory") or row["Category"]
    if category != row["Category"]:
        if {category, row["Category"]} != {"cloud_essd", "cloud_auto"}:
            raise ApiError(
                "InvalidDiskCategory.NotSupported",
                "The specified disk category is not supported. "
                f"Given: {category} for {row['DiskId']}, which is {row['Category']}. Allowed: "
                "between cloud_essd and cloud_auto.",
            )
    elif category != "cloud_essd" and request.get("PerformanceLevel"):
        raise ApiError(
            "InvalidPerformanceLevel.ValueNotSupported",
            f"The specified parameter PerformanceLevel is not valid. {category} disks have no "
            "performance level.",
        )
    level = disk_rules.check_level(
        category, request.get("PerformanceLevel") or row["PerformanceLevel"], "PerformanceLevel"
    )
    smallest = disk_rules.limits(category, level, system=row["Type"] == "system")[0]
    if row["Size"] < smallest:
        raise ApiError(
            "OperationDenied.PerformanceLevelNotMatch",
            "The specified PerformanceLevel and disk size do not match. "
            f"{row['DiskId']} has {row['Size']} GiB; {level or category} needs {smallest} GiB. "
            "Resize the disk first.",
            403,
        )
    if request.boolean("DryRun"):
        raise ApiError(
            "DryRunOperation", "Request validation has been passed with DryRun flag set.", 400
        )
    row.update({"Category": category, "PerformanceLevel": level})
    if request.get("ProvisionedIops"):
        row["ProvisionedIops"] = request.integer("ProvisionedIops")
    return {"OrderId": "", "TaskId": cloud.new_id("t", state.name)}


@action(*ECS, serialised=False, resource=DISK)
def DeleteDisk(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Delete a data disk that is attached to nothing."""
    with cloud.lock:
        state = here(request, cloud)
        row = find_disk(state, request.required("DiskId"), cloud)
        if status_of(row, cloud) != "Available":
            raise wrong_disk_status(row, cloud)
        del state.table("disks")[row["DiskId"]]
    try:
        machine_work.ask(
            f"delete disk {row['DiskId']}", lambda: cloud.hypervisor.delete_disk(row["DiskId"])
        )
    except ApiError:
        with cloud.lock:
            state.table("disks")[row["DiskId"]] = row
        raise
    return {}


def wrong_disk_status(row: Row, cloud: Cloud) -> ApiError:
    """IncorrectDiskStatus (403), which the provider waits on."""
    where = f" (attached to {row['InstanceId']})" if row["InstanceId"] else ""
    return ApiError(
        "IncorrectDiskStatus",
        "The operation is not supported in this status. "
        f"{row['DiskId']} is {status_of(row, cloud)}{where}.",
        403,
    )


def _settled(row: Row, cloud: Cloud) -> None:
    if status_of(row, cloud) not in ("Available", "In_use"):
        raise wrong_disk_status(row, cloud)


def _view(row: Row, state: RegionState, cloud: Cloud) -> dict[str, Any]:
    status = status_of(row, cloud)
    # A disk names its instance until the end of Detaching.
    instance_id = row["InstanceId"] or (row["DetachingFrom"] if status == "Detaching" else "")
    attachment = {
        "InstanceId": instance_id,
        "Device": row["Device"],
        "AttachedTime": row["AttachedTime"],
    }
    return {
        **{
            key: row[key]
            for key in (
                *("DiskId", "DiskName", "Description", "Type", "Category", "PerformanceLevel"),
                *("Size", "ZoneId", "Encrypted", "KMSKeyId", "ImageId", "DeleteWithInstance"),
                *("DeleteAutoSnapshot", "EnableAutoSnapshot", "ResourceGroupId"),
                *("CreationTime", "AttachedTime", "DetachedTime", "BurstingEnabled"),
            )
        },
        "Status": status,
        "InstanceId": instance_id,
        "Device": row["Device"],
        "Attachments": {"Attachment": [attachment] if instance_id else []},
        "MountInstances": {"MountInstance": []},
        "MultiAttach": "Disabled",
        "Portable": row["Type"] == "data",
        "DiskChargeType": "PostPaid",
        "RegionId": state.name,
        "SerialNumber": row["DiskId"].removeprefix("d-"),
        "ProvisionedIops": row["ProvisionedIops"],
        "SourceSnapshotId": "",
        "AutoSnapshotPolicyId": "",
        "EnableAutomatedSnapshotPolicy": False,
        # Left empty: a value would make the provider replace the instance.
        "StorageClusterId": "",
        "ProductCode": "",
        "ExpiredTime": "2999-09-08T16:00Z",
        "IOPS": 0,
        "OperationLocks": {"OperationLock": []},
        "Tags": tag_list(row["Tags"]),
    }
