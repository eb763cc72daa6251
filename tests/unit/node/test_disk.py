"""The data disk: what is formatted, what is mounted, and what is never touched."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from infra.node.vace_node.disk import Probe, decide, device_of, mounted_device, probe
from infra.node.vace_node.errors import DiskError


@pytest.mark.parametrize(
    ("found", "cut_off", "formats"),
    [
        (Probe("", "", blank=True), False, True),
        (Probe("", "", blank=True), True, True),
        (Probe("", "", blank=False), True, True),
        (Probe("ext4", "", blank=False), False, False),
        (Probe("ext4", "", blank=False), True, False),
    ],
)
def test_disk_is_formatted_only_when_it_is_empty(
    found: Probe, cut_off: bool, formats: bool
) -> None:
    """ext4 is mounted as it is, also when a format seemed to be under way."""
    assert decide("/dev/vdb", found, format_was_cut_off=cut_off) is formats


@pytest.mark.parametrize("cut_off", [False, True])
@pytest.mark.parametrize(
    ("found", "named"),
    [
        (Probe("xfs", "", blank=False), "type xfs"),
        (Probe("LVM2_member", "", blank=False), "type LVM2_member"),
        (Probe("", "gpt", blank=False), "partition table"),
        (Probe("", "dos", blank=True), "partition table"),
    ],
)
def test_foreign_content_is_never_overwritten(found: Probe, named: str, cut_off: bool) -> None:
    """A wrong disk id in the settings must not cost somebody's data."""
    with pytest.raises(DiskError, match=named) as caught:
        decide("/dev/vdb", found, format_was_cut_off=cut_off)
    assert caught.value.permanent
    assert "wipefs" in str(caught.value)


def test_unknown_bytes_are_never_overwritten() -> None:
    """An encrypted disk without a header looks empty to blkid."""
    with pytest.raises(DiskError, match="no file system explains"):
        decide("/dev/vdb", Probe("", "", blank=False), format_was_cut_off=False)


@pytest.mark.skipif(
    not shutil.which("blkid") or not shutil.which("mkfs.ext4"),
    reason="needs blkid and mkfs.ext4",
)
def test_probe_tells_empty_ext4_and_foreign_apart(tmp_path: Path) -> None:
    """The decision is only as good as what blkid is understood to say."""
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    assert probe(image) == Probe("", "", blank=True)
    with image.open("r+b") as file:
        file.seek(4096)
        file.write(b"something")
    assert probe(image) == Probe("", "", blank=False)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    assert probe(image).filesystem == "ext4"


def test_disk_is_found_by_its_serial_in_both_forms(tmp_path: Path) -> None:
    """Newer instance types attach disks as NVMe; partitions must not be taken for disks."""
    (tmp_path / "device").touch()
    assert device_of("d-bp1xyz", tmp_path) is None
    name = "nvme-Alibaba_Cloud_Elastic_Block_Storage_bp1xyz"
    (tmp_path / f"{name}-part1").symlink_to("nowhere")
    (tmp_path / name).symlink_to("device")
    assert device_of("d-bp1xyz", tmp_path) == tmp_path / "device"
    (tmp_path / name).unlink()
    (tmp_path / "virtio-bp1xyz").symlink_to("device")
    assert device_of("d-bp1xyz", tmp_path) == tmp_path / "device"


def test_mounted_device_is_the_one_on_top() -> None:
    """A second mount hides the first; unmounting goes on until none is left."""
    table = (
        "22 1 254:1 / / rw - ext4 /dev/vda1 rw\n"
        "90 22 254:16 / /data rw,noatime shared:1 - ext4 /dev/vdb rw\n"
        "91 22 254:32 / /data rw - ext4 /dev/vdc rw\n"
    )
    assert mounted_device(table) == (254, 32)
    assert mounted_device(table, Path("/elsewhere")) is None
    assert mounted_device(Path("/proc/self/mountinfo").read_text(), Path("/")) == (
        os.major(Path("/").stat().st_dev),
        os.minor(Path("/").stat().st_dev),
    )
