"""Which disks exist: categories, performance levels, sizes, and which types take which.

Sizes in GiB: RunInstances and CreateDisk help, 2026.
"""

from __future__ import annotations

from dataclasses import dataclass

from rehearsal.cloud.catalogue import InstanceType
from rehearsal.cloud.errors import ApiError

LEVELS = ("PL0", "PL1", "PL2", "PL3")
# Smallest size by ESSD performance level and by other category.
_SMALLEST = {
    "PL0": 1,
    "PL1": 20,
    "PL2": 461,
    "PL3": 1261,
    "cloud_auto": 1,
    "cloud_ssd": 20,
    "cloud_efficiency": 20,
    "cloud_essd_entry": 10,
}
_LARGEST_SYSTEM = 2048
_LARGEST_DATA = {
    "cloud_essd": 65536,
    "cloud_auto": 65536,
    "cloud_ssd": 32768,
    "cloud_efficiency": 32768,
    "cloud_essd_entry": 32768,
}
CATEGORIES = tuple(_LARGEST_DATA)
# What the API takes when the request names no category; the newer GPU families refuse it.
DEFAULT_CATEGORY = "cloud_efficiency"


@dataclass(frozen=True)
class DiskShape:
    """A disk's category, performance level (empty unless ESSD) and size in GiB."""

    category: str
    performance_level: str
    size_gib: int


def limits(category: str, level: str, *, system: bool) -> tuple[int, int]:
    """Smallest and largest size in GiB."""
    smallest = _SMALLEST[level if category == "cloud_essd" else category]
    return smallest, _LARGEST_SYSTEM if system else _LARGEST_DATA[category]


def check_category(category: str, parameter: str, *, code: str) -> str:
    """The category, or the default for an empty one; raises ``code`` for an unknown one."""
    category = category or DEFAULT_CATEGORY
    if category not in CATEGORIES:
        raise ApiError(
            code,
            f'The specified parameter "{parameter}" is not valid. Given: {category!r}. Allowed: '
            f"{', '.join(CATEGORIES)}.",
        )
    return category


def check_level(category: str, level: str, parameter: str) -> str:
    """The performance level, PL1 for an ESSD without one; empty for other categories."""
    if category != "cloud_essd":
        return ""
    level = level or "PL1"
    if level not in LEVELS:
        raise ApiError(
            "InvalidPerformanceLevel.Malformed",
            f"The specified parameter {parameter} is not valid. Given: {level!r}. Allowed: "
            f"{', '.join(LEVELS)}.",
        )
    return level


def check_type_takes(item: InstanceType, category: str) -> None:
    """Refuse a category that the instance type does not take: InvalidDiskCategory.NotSupported."""
    if category not in item.disk_categories:
        raise ApiError(
            "InvalidDiskCategory.NotSupported",
            "The specified disk category is not support the specified instance type. Given: "
            f"{category} for {item.type_id}. It takes: {', '.join(item.disk_categories)}. (A "
            f"request without a category asks for {DEFAULT_CATEGORY}.)",
            403,
        )


def check_system_size(size: int, category: str, level: str, image_gib: int) -> int:
    """A system disk's size; raises InvalidSystemDiskSize.LessThanImageSize and siblings (404)."""
    smallest, largest = limits(category, level, system=True)
    given = f"Given: {size} GiB of {category} {level}".rstrip()
    if size < image_gib:
        raise ApiError(
            "InvalidSystemDiskSize.LessThanImageSize",
            "The specified parameter SystemDisk.Size is less than the image size. "
            f"{given}. The image needs {image_gib} GiB.",
            404,
        )
    if size < smallest:
        raise ApiError(
            "InvalidSystemDiskSize.LessThanMinSize",
            "The specified parameter SystemDisk.Size is less than the min size. "
            f"{given}. Allowed: {smallest} to {largest} GiB.",
            404,
        )
    if size > largest:
        raise ApiError(
            "InvalidSystemDiskSize.MoreThanMaxSize",
            "The specified SystemDisk.Size parameter exceeds the maximum size. "
            f"{given}. Allowed: {smallest} to {largest} GiB.",
            404,
        )
    return size


def check_data_size(size: int, category: str, level: str, *, code: str, words: str) -> int:
    """A data disk's size; raises ``code`` with the real API's ``words``."""
    smallest, largest = limits(category, level, system=False)
    if not smallest <= size <= largest:
        raise ApiError(
            code,
            f"{words} Given: {size} GiB of {f'{category} {level}'.rstrip()}. Allowed: {smallest} "
            f"to {largest} GiB.",
            403 if code == "InvalidDiskSize.NotSupported" else 400,
        )
    return size
