"""Data disks: sparse files behind loop devices, plugged into machines that run."""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from rehearsal.machine.errors import MachineError
from rehearsal.machine.tools import run

_GIB = 2**30
_EXT4_IOC_SHUTDOWN = 0x8004587D
"""``_IOR('X', 125, __u32)`` of fs/ext4/ext4.h; also understood by XFS and F2FS."""
_FLUSH = 0  # EXT4_GOING_FLAGS_DEFAULT: write everything out, then refuse all further access


@dataclass(frozen=True)
class LoopDevice:
    """A loop device of this computer."""

    path: str
    backing_file: str
    leaving: bool
    """Already detached, but kept by a mount that still exists somewhere."""

    @property
    def numbers(self) -> tuple[int, int]:
        """Major and minor device number."""
        number = Path(self.path).stat().st_rdev
        return os.major(number), os.minor(number)


def loop_devices() -> list[LoopDevice]:
    """All loop devices in use on this computer."""
    columns = "NAME,AUTOCLEAR,BACK-FILE"
    text = run("losetup", "--list", "--json", "--output", columns)
    rows = json.loads(text)["loopdevices"] if text.strip() else []
    return [
        LoopDevice(row["name"], row["back-file"], row["autoclear"] in (True, 1, "1"))
        for row in rows
        if row["back-file"]
    ]


def virtio_link(disk_id: str) -> str:
    """Name below /dev/disk/by-id, as on ECS: the disk's id without ``d-`` is its serial number."""
    return f"virtio-{disk_id.removeprefix('d-')}"


class DiskStore:
    """The disk images of one slot."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, disk_id: str, size_gib: int) -> None:
        """Make an empty image; space is taken as it is written."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._image(disk_id).open("xb") as image:
            image.truncate(size_gib * _GIB)

    def resize(self, disk_id: str, size_gib: int) -> None:
        """Grow an image; a machine that has it sees the new size at once."""
        with self._image(disk_id).open("r+b") as image:
            image.truncate(size_gib * _GIB)
        if device := self.device(disk_id):
            run("losetup", "--set-capacity", device.path)

    def delete(self, disk_id: str) -> None:
        """Remove an image."""
        self.release(disk_id)
        self._image(disk_id).unlink(missing_ok=True)

    def device(self, disk_id: str) -> LoopDevice | None:
        """The loop device of a disk, if it has one."""
        path = str(self._image(disk_id))
        for device in loop_devices():
            if device.backing_file == path and not device.leaving:
                return device
        return None

    def acquire(self, disk_id: str) -> LoopDevice:
        """The loop device of a disk, made now if it has none."""
        if found := self.device(disk_id):
            return found
        run("losetup", "--find", str(self._image(disk_id)))
        found = self.device(disk_id)
        if found is None:
            raise MachineError(
                f"disk {disk_id} got no loop device; free one with `losetup --detach`, or load the "
                "module with more of them: `modprobe loop max_loop=64`"
            )
        return found

    def release(self, disk_id: str) -> None:
        """Pull the disk out: what is mounted from it is written out and then fails every access.

        This is what a machine sees when a disk of ECS is detached while it is mounted.
        """
        device = self.device(disk_id)
        if device is None:
            return
        shut_down_file_systems(device.numbers)
        # A mount that is left keeps the device until its machine ends; the kernel frees it then.
        run("losetup", "--detach", device.path)

    def _image(self, disk_id: str) -> Path:
        return self._folder / f"{disk_id}.img"


def shut_down_file_systems(numbers: tuple[int, int]) -> None:
    """Flush and close every file system that any process has mounted from a block device."""
    wanted = f"{numbers[0]}:{numbers[1]}"
    for table in Path("/proc").glob("[0-9]*/mountinfo"):
        # Processes come and go while this loop runs.
        with contextlib.suppress(OSError):
            for line in table.read_text().splitlines():
                fields = line.split()
                if fields[2] == wanted:
                    point = fields[4].encode().decode("unicode_escape")
                    _shut_down(table.parent / "root" / point.lstrip("/"))
                    return


def _shut_down(mount_point: Path) -> None:
    descriptor = os.open(mount_point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _EXT4_IOC_SHUTDOWN, array.array("I", [_FLUSH]))
    finally:
        os.close(descriptor)


def plug(init_pid: int, letter: str, numbers: tuple[int, int], disk_id: str) -> None:
    """Make the device appear in a machine that runs, or that is booting (see ecs-init)."""
    device_folder = Path(f"/proc/{init_pid}/root/dev")
    node = device_folder / f".plug-vd{letter}"
    node.unlink(missing_ok=True)
    os.mknod(node, stat.S_IFBLK | 0o660, os.makedev(*numbers))
    node.replace(device_folder / f"vd{letter}")
    by_id = device_folder / "disk/by-id"
    by_id.mkdir(parents=True, exist_ok=True)
    link = by_id / f".plug-{virtio_link(disk_id)}"
    link.unlink(missing_ok=True)
    link.symlink_to(f"../../vd{letter}")
    link.replace(by_id / virtio_link(disk_id))


def unplug(init_pid: int, letter: str, disk_id: str) -> None:
    """Make the device disappear from a machine that runs."""
    device_folder = Path(f"/proc/{init_pid}/root/dev")
    (device_folder / "disk/by-id" / virtio_link(disk_id)).unlink(missing_ok=True)
    (device_folder / f"vd{letter}").unlink(missing_ok=True)
