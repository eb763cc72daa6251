"""The disks that RunInstances makes together with an instance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rehearsal.cloud.catalogue import InstanceType
from rehearsal.cloud.errors import ApiError, invalid_parameter
from rehearsal.cloud.images import Image
from rehearsal.cloud.registry import Request
from rehearsal.cloud.services import disk_rules
from rehearsal.cloud.services.disk_rules import DiskShape
from rehearsal.cloud.services.ecs_disks import check_encryption, disk_description, disk_name


@dataclass(frozen=True)
class DiskPlan:
    """A disk to be made with an instance."""

    shape: DiskShape
    fields: dict[str, Any]


def system_disk(request: Request, item: InstanceType, image: Image) -> DiskPlan:
    """The checked system disk; raises InvalidSystemDiskSize.* and InvalidDiskCategory.*."""
    category = disk_rules.check_category(
        request.get("SystemDisk.Category"),
        "SystemDisk.Category",
        code="InvalidSystemDiskCategory.ValueNotSupported",
    )
    disk_rules.check_type_takes(item, category)
    level = disk_rules.check_level(
        category, request.get("SystemDisk.PerformanceLevel"), "SystemDisk.PerformanceLevel"
    )
    size = request.integer("SystemDisk.Size") or max(40, image.size_gib)
    encrypted = request.boolean("SystemDisk.Encrypted")
    check_encryption(encrypted, request.get("SystemDisk.KMSKeyId"))
    return DiskPlan(
        DiskShape(
            category, level, disk_rules.check_system_size(size, category, level, image.size_gib)
        ),
        {
            "DiskName": disk_name(request.get("SystemDisk.DiskName"), "SystemDisk.DiskName"),
            "Description": disk_description(request.get("SystemDisk.Description")),
            "Encrypted": encrypted,
            "KMSKeyId": request.get("SystemDisk.KMSKeyId"),
            "BurstingEnabled": request.boolean("SystemDisk.BurstingEnabled"),
            "ProvisionedIops": request.integer("SystemDisk.ProvisionedIops", 0) or 0,
            "DeleteWithInstance": True,
            "ImageId": image.image_id,
        },
    )


def data_disks(request: Request, item: InstanceType) -> list[DiskPlan]:
    """The checked data disks; raises InstanceDiskNumLimitExceed for more than the type takes."""
    plans = [_data_disk(given, item) for given in request.structs("DataDisk")]
    if len(plans) > item.data_disks:
        raise ApiError(
            "InstanceDiskNumLimitExceed",
            "The number of specified disk in an instance exceeds. "
            f"Given: {len(plans)}. {item.type_id} takes {item.data_disks} data disks.",
            403,
        )
    return plans


def _data_disk(given: dict[str, str], item: InstanceType) -> DiskPlan:
    if given.get("SnapshotId"):
        raise ApiError(
            "InvalidDataDiskSnapshotId.NotFound",
            f"The specified parameter DataDisk.n.SnapshotId is not valid. "
            f"Given: {given['SnapshotId']!r}. The emulator has no snapshots.",
            404,
        )
    category = disk_rules.check_category(
        given.get("Category", ""),
        "DataDisk.n.Category",
        code="InvalidDataDiskCategory.ValueNotSupported",
    )
    disk_rules.check_type_takes(item, category)
    level = disk_rules.check_level(
        category, given.get("PerformanceLevel", ""), "DataDisk.n.PerformanceLevel"
    )
    text = given.get("Size", "")
    if not text.isdigit():
        raise invalid_parameter("DataDisk.n.Size", text, "a size in GiB")
    size = disk_rules.check_data_size(
        int(text),
        category,
        level,
        code="InvalidDataDiskSize.ValueNotSupported",
        words="The specified DataDisk.n.Size beyond the permitted range, or the capacity of "
        "snapshot exceeds the size limit of the specified disk category.",
    )
    encrypted = given.get("Encrypted", "").lower() == "true"
    check_encryption(encrypted, given.get("KMSKeyId", ""))
    return DiskPlan(
        DiskShape(category, level, size),
        {
            "DiskName": disk_name(given.get("DiskName", ""), "DataDisk.n.DiskName"),
            "Description": disk_description(given.get("Description", "")),
            "Encrypted": encrypted,
            "KMSKeyId": given.get("KMSKeyId", ""),
            # Disks that come with an instance go with it unless the request says otherwise.
            "DeleteWithInstance": given.get("DeleteWithInstance", "").lower() != "false",
        },
    )
