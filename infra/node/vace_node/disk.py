"""The data disk: found by its id, formatted only when it is certainly empty, mounted at /data.

The agent mounts it itself at every boot, before it starts a container. An /etc/fstab line
would mount whatever disk had that UUID, or hold up the boot for one that is no longer attached.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import CommandError, DiskError
from .system import log, run

MOUNT_POINT = Path("/data")
COMFYUI = MOUNT_POINT / "comfyui"
FOLDERS = ("input", "output", "temp", "user")
COMFYUI_UID = 10001
BY_ID = Path("/dev/disk/by-id")
# Present while a format is under way, so that one cut off by a power failure is begun again.
FORMATTING = Path("/var/lib/vace/formatting")
_EDGE = 1 << 20


@dataclass(frozen=True)
class Probe:
    """What is on a disk. `blank`: the first and the last MiB hold only zeros."""

    filesystem: str
    partition_table: str
    blank: bool


def decide(device: str, probe: Probe, *, format_was_cut_off: bool) -> bool:
    """Whether to format the disk (True) or to mount it as it is (False).

    Raises DiskError for everything else: data of unknown kind is never overwritten.
    """
    if probe.filesystem == "ext4":
        return False
    if not probe.filesystem and not probe.partition_table and (probe.blank or format_was_cut_off):
        return True
    if probe.filesystem:
        held = f"a file system of type {probe.filesystem}"
    elif probe.partition_table:
        held = f"a partition table ({probe.partition_table})"
    else:
        held = "data that no file system explains"
    raise DiskError(
        f"the data disk {device} holds {held}; an empty disk or one with ext4 is needed, and "
        "nothing is ever overwritten. Copy away what is on it and clear it with "
        f"`wipefs --all {device}`, or configure another disk.",
        permanent=True,
    )


def device_of(disk_id: str, by_id: Path = BY_ID) -> Path | None:
    """The device of an ECS disk, by its serial (the id without "d-"); None when not attached."""
    serial = disk_id.removeprefix("d-")
    links = [by_id / f"virtio-{serial}", *sorted(by_id.glob(f"nvme-*_{serial}"))]
    return next((link.resolve() for link in links if link.exists()), None)


def probe(device: Path) -> Probe:
    """Look at a disk. Raises DiskError when its content is ambiguous."""
    found = run(["blkid", "--probe", "--output", "export", str(device)], check=False)
    if found.returncode not in (0, 2):  # 2: nothing found
        raise DiskError(
            f"blkid cannot say what is on {device} (status {found.returncode}): "
            f"{found.stdout.strip() or 'ambiguous'}. Look at it with `wipefs {device}`.",
            permanent=found.returncode == 8,
        )
    values = dict(line.split("=", 1) for line in found.stdout.splitlines() if "=" in line)
    with device.open("rb") as file:
        edges = file.read(_EDGE)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _EDGE))
        edges += file.read(_EDGE)
    return Probe(values.get("TYPE", ""), values.get("PTTYPE", ""), not any(edges))


def mounted_device(mountinfo: str, mount_point: Path = MOUNT_POINT) -> tuple[int, int] | None:
    """(major, minor) of what is mounted at `mount_point`, from /proc/self/mountinfo."""
    found = None
    for line in mountinfo.splitlines():
        fields = line.split()
        if len(fields) > 4 and fields[4] == str(mount_point):
            major, minor = fields[2].split(":")
            found = (int(major), int(minor))  # the last line is the mount on top
    return found


def ensure(
    disk_id: str,
    *,
    stop_users: Callable[[], None],
    progress: Callable[[str], None],
    patience: float = 300,
) -> str:
    """Have the disk mounted at /data with ComfyUI's folders; returns the device.

    When another disk is mounted there, `stop_users` is called and the disks are exchanged.
    Raises DiskError when the disk does not appear within `patience` seconds.
    """
    device = _wait_for(disk_id, patience, progress)
    found = device.stat().st_rdev
    wanted = (os.major(found), os.minor(found))
    if _mounted() not in (None, wanted):
        progress(f"changing the data disk to {disk_id}")
        stop_users()
        _unmount()
    if _mounted() is None:
        _prepare(device, disk_id, progress)
        MOUNT_POINT.mkdir(exist_ok=True)
        options = "noatime,nodev,nosuid,noexec"
        run(["mount", "-t", "ext4", "-o", options, str(device), str(MOUNT_POINT)])
    # A disk that was made larger in the cloud; nothing happens when the sizes agree.
    grown = run(["resize2fs", str(device)], timeout=900, check=False)
    if grown.returncode:
        log(f"the file system on {device} could not be grown: {grown.stdout.strip()}")
    _make_folders()
    return f"{disk_id} is {device}, {_free_gib():.0f} GiB free"


def _wait_for(disk_id: str, patience: float, progress: Callable[[str], None]) -> Path:
    deadline = time.monotonic() + patience
    while True:
        device = device_of(disk_id)
        if device:
            return device
        if time.monotonic() >= deadline:
            names = sorted(path.name for path in BY_ID.glob("*")) if BY_ID.exists() else []
            raise DiskError(
                f"the data disk {disk_id} did not appear within {patience:.0f} s; attached are: "
                f"{', '.join(names) or 'none'}. Attach it to this instance (the deployment tool "
                "does that)."
            )
        progress(f"waiting for data disk {disk_id} to be attached")
        time.sleep(2)


def _mounted() -> tuple[int, int] | None:
    return mounted_device(Path("/proc/self/mountinfo").read_text())


def _unmount() -> None:
    for _ in range(8):
        if _mounted() is None:
            return
        # Lazy only when a process still sits on it: a detached disk can no longer be flushed.
        if run(["umount", str(MOUNT_POINT)], check=False).returncode:
            run(["umount", "--lazy", str(MOUNT_POINT)])


def _prepare(device: Path, disk_id: str, progress: Callable[[str], None]) -> None:
    cut_off = FORMATTING.exists() and FORMATTING.read_text() == disk_id
    if decide(str(device), probe(device), format_was_cut_off=cut_off):
        progress(f"formatting the empty disk {disk_id}")
        FORMATTING.parent.mkdir(parents=True, exist_ok=True)
        FORMATTING.write_text(disk_id)
        os.sync()
        run(["mkfs.ext4", "-q", "-m", "1", "-L", "vace-data", str(device)], timeout=900)
    else:
        # Repairs what needs no decision; status 1 means that it did.
        checked = run(["fsck.ext4", "-p", str(device)], timeout=1800, check=False)
        if checked.returncode not in (0, 1):
            told = " ".join(checked.stdout.split())[-400:]
            raise CommandError(
                f"the file system on {device} needs a decision by a person: {told} "
                f"Run: fsck.ext4 {device}",
                status=checked.returncode,
                output=checked.stdout,
            )
    FORMATTING.unlink(missing_ok=True)


def _make_folders() -> None:
    # ComfyUI owns its folders but not the one above: with that, it could put a link in a
    # folder's place and have root follow it.
    COMFYUI.mkdir(mode=0o755, exist_ok=True)
    os.chown(COMFYUI, 0, 0)
    for name in FOLDERS:
        folder = COMFYUI / name
        folder.mkdir(mode=0o750, exist_ok=True)
        os.chown(folder, COMFYUI_UID, COMFYUI_UID, follow_symlinks=False)


def _free_gib() -> float:
    found = os.statvfs(MOUNT_POINT)
    return found.f_bavail * found.f_frsize / (1 << 30)
