"""The public images of the emulated cloud.

Family names: a dry run over 287 system images, cn-beijing, 2026-06-25 (prefix ``acs:``, lower
case, underscores, full minor version). Image ids follow the real pattern
``<os>_<version>_x64_<size>G_alibase_<date>.vhd``; the dates are estimates. Each family has more
than one image, so that "most recent" has something to choose from.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Image:
    """A public image; ``size_gib`` is the smallest system disk that holds it."""

    image_id: str
    family: str
    os_name: str
    platform: str
    created: str
    size_gib: int = 20
    architecture: str = "x86_64"
    status: str = "Available"
    cloud_init: bool = True

    @property
    def version(self) -> str:
        """The image's version: its release date."""
        return f"v{self.created[:10].replace('-', '.')}"


UBUNTU_24 = ("acs:ubuntu_24_04_x64", "Ubuntu  24.04 64位", "Ubuntu")
UBUNTU_22 = ("acs:ubuntu_22_04_x64", "Ubuntu  22.04 64位", "Ubuntu")
ALINUX_3 = (
    "acs:alibaba_cloud_linux_3_2104_lts_x64",
    "Alibaba Cloud Linux  3.2104 LTS 64位",
    "Aliyun",
)
DEBIAN_12 = ("acs:debian_12_x64", "Debian  12.11 64位", "Debian")
UBUNTU_24_ARM = ("acs:ubuntu_24_04_arm64", "Ubuntu  24.04 64位 ARM版", "Ubuntu")
COREOS = ("acs:fedora_coreos_x64", "Fedora CoreOS  43 64位", "Fedora CoreOS")

IMAGES: dict[str, Image] = {
    image.image_id: image
    for image in (
        Image("ubuntu_24_04_x64_20G_alibase_20260615.vhd", *UBUNTU_24, "2026-06-15T06:21:54Z"),
        Image("ubuntu_24_04_x64_20G_alibase_20260213.vhd", *UBUNTU_24, "2026-02-13T03:40:11Z"),
        Image(
            "ubuntu_24_04_x64_20G_alibase_20250916.vhd",
            *UBUNTU_24,
            "2025-09-16T07:12:30Z",
            status="Deprecated",
        ),
        Image("ubuntu_22_04_x64_20G_alibase_20260612.vhd", *UBUNTU_22, "2026-06-12T02:18:09Z"),
        Image("ubuntu_22_04_x64_20G_alibase_20260119.vhd", *UBUNTU_22, "2026-01-19T02:55:43Z"),
        Image("aliyun_3_x64_20G_alibase_20260618.vhd", *ALINUX_3, "2026-06-18T09:02:27Z"),
        Image("aliyun_3_x64_20G_alibase_20260304.vhd", *ALINUX_3, "2026-03-04T08:47:15Z"),
        Image("debian_12_11_x64_20G_alibase_20260522.vhd", *DEBIAN_12, "2026-05-22T05:33:01Z"),
        Image("debian_12_11_x64_20G_alibase_20260110.vhd", *DEBIAN_12, "2026-01-10T05:09:48Z"),
        # Wrong choices that a filter must keep out: another architecture, and no cloud-init.
        Image(
            "ubuntu_24_04_arm64_20G_alibase_20260620.vhd",
            *UBUNTU_24_ARM,
            "2026-06-20T06:00:00Z",
            architecture="arm64",
        ),
        Image(
            "fedora_coreos_43_x64_20G_alibase_20260601.vhd",
            *COREOS,
            "2026-06-01T04:00:00Z",
            cloud_init=False,
        ),
    )
}


def newest_of_family(family: str) -> Image | None:
    """The newest available image of a family, or None when there is none."""
    members = [i for i in IMAGES.values() if i.family == family and i.status == "Available"]
    return max(members, key=lambda image: image.created, default=None)
