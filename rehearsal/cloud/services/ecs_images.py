"""ECS 2014-05-26: public images."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

import fnmatch
from typing import Any

from rehearsal.cloud import catalogue
from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.images import IMAGES, Image, newest_of_family
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services.ecs_common import known_type
from rehearsal.cloud.services.lookups import ECS, here, page
from rehearsal.cloud.state import Cloud

OWNER = "system"


def supports(image: Image, item: catalogue.InstanceType) -> bool:
    """Whether an instance type can boot an image."""
    return image.architecture == "x86_64" and item.architecture == "X86"


@action(*ECS, read_only=True)
def DescribeImages(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Images with filters and pages, newest first; only available ones unless Status says more."""
    region = here(request, cloud).name
    found = [image for image in IMAGES.values() if _wanted(image, request)]
    found.sort(key=lambda image: image.created, reverse=True)
    chosen, paging = page(request, found)
    paging.pop("NextToken")
    return {
        "RegionId": region,
        "Images": {"Image": [_view(image) for image in chosen]},
        **paging,
    }


def _wanted(image: Image, request: Request) -> bool:
    owner = request.get("ImageOwnerAlias")
    if owner not in ("", OWNER) or request.tags() or request.get("SnapshotId"):
        return False  # there are no images of other owners, and public images have no tags
    statuses = (request.get("Status") or "Available").split(",")
    ids = [item for item in request.get("ImageId").split(",") if item]
    name = request.get("ImageName")
    type_id = request.get("InstanceType")
    architecture = request.get("Architecture")
    return (
        image.status in statuses
        and (not ids or image.image_id in ids)
        and (not name or fnmatch.fnmatchcase(image.image_id, name))
        and request.get("ImageFamily") in ("", image.family)
        and architecture in ("", image.architecture)
        and request.get("OSType") in ("", "linux")
        and (not type_id or supports(image, known_type(type_id)))
        and not (request.boolean("IsSupportCloudinit") and not image.cloud_init)
    )


@action(*ECS, read_only=True)
def DescribeImageFromFamily(request: Request, cloud: Cloud) -> dict[str, Any]:
    """The newest available image of a family; an answer without Image when there is none."""
    here(request, cloud)
    image = newest_of_family(request.required("ImageFamily"))
    return {"Image": _view(image)} if image else {}


@action(*ECS, read_only=True)
def DescribeImageSupportInstanceTypes(request: Request, cloud: Cloud) -> dict[str, Any]:
    """The instance types that can boot an image."""
    region = here(request, cloud).name
    image = IMAGES.get(request.required("ImageId"))
    if image is None:
        raise ApiError(
            "InvalidImageId.NotFound",
            f"The specified ImageId does not exist. Given: {request.get('ImageId')!r}.",
            404,
        )
    return {
        "RegionId": region,
        "ImageId": image.image_id,
        "InstanceTypes": {
            "InstanceType": [
                {
                    "InstanceTypeId": item.type_id,
                    "InstanceTypeFamily": item.family,
                    "CpuCoreCount": item.vcpu,
                    "MemorySize": float(item.memory_gib),
                }
                for item in catalogue.INSTANCE_TYPES.values()
                if supports(image, item)
            ]
        },
    }


def _view(image: Image) -> dict[str, Any]:
    english = image.os_name.replace("64位", "64 bit").replace("ARM版", "ARM Edition")
    return {
        "ImageId": image.image_id,
        "ImageName": image.image_id,
        "ImageFamily": image.family,
        "ImageVersion": image.version,
        "ImageOwnerAlias": OWNER,
        "Description": "",
        "Architecture": image.architecture,
        "OSType": "linux",
        "OSName": image.os_name,
        "OSNameEn": english,
        "Platform": image.platform,
        "CreationTime": image.created,
        "Size": image.size_gib,
        "Status": image.status,
        "Progress": "100%",
        "Usage": "none",
        "BootMode": "UEFI-Preferred",
        "ProductCode": "",
        "ResourceGroupId": "",
        "IsPublic": True,
        "IsCopied": False,
        "IsSubscribed": False,
        "IsSelfShared": "",
        "IsSupportIoOptimized": True,
        "IsSupportCloudinit": image.cloud_init,
        "LoginAsNonRootSupported": True,
        "Features": {"NvmeSupport": "supported", "ImdsSupport": "v2"},
        "DiskDeviceMappings": {"DiskDeviceMapping": []},
        "Tags": {"Tag": []},
    }
