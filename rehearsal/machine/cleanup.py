"""Removes everything that a slot has put on this computer, also after its process was killed.

Only things with the slot's names are touched: namespaces ``vr<n>-*``, the interface ``vr<n>h``,
loop devices on files in a folder ``vr<n>/disks``, and the folder that the slot's record names.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import subprocess
from pathlib import Path

from rehearsal.machine import namespaces
from rehearsal.machine.disks import loop_devices
from rehearsal.machine.errors import SlotBusyError
from rehearsal.machine.network import CloudNetwork
from rehearsal.machine.podman import Podman
from rehearsal.machine.slots import RUN_FOLDER, SLOTS, Slot
from rehearsal.machine.tools import run, succeeds


def clean_slot(slot: Slot) -> list[str]:
    """Remove a slot's machines, disks, network and files; returns what was found, in words.

    Raises SlotBusyError while a process holds the slot.
    """
    RUN_FOLDER.mkdir(parents=True, exist_ok=True)
    with slot.lock_file.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SlotBusyError(
                f"slot {slot.number} belongs to a rehearsal that is alive; end its process first, "
                "so that nothing is removed under its feet"
            ) from None
        found = clean_held_slot(slot)
        slot.lock_file.unlink()
    with contextlib.suppress(OSError):
        RUN_FOLDER.rmdir()
    return found


def used_slots() -> list[Slot]:
    """Slots of which anything is left on this computer."""
    return [slot for slot in map(Slot, range(SLOTS)) if _has_traces(slot)]


def _has_traces(slot: Slot) -> bool:
    return (
        slot.record_file.exists()
        or slot.lock_file.exists()
        or slot.run_folder.exists()
        or bool(namespaces.names(f"{slot.prefix}-"))
        or Path("/sys/class/net", slot.host_link).exists()
        or bool(_disks_of(slot))
    )


def clean_held_slot(slot: Slot) -> list[str]:
    """As ``clean_slot``, for the process that holds the slot's lock."""
    found = []
    state = recorded_state(slot)
    if state is not None and _remove_containers(slot, state):
        found.append("containers")
    for name in namespaces.names(f"{slot.prefix}-"):
        # Ends machines, too, that podman's book no longer knows.
        namespaces.remove(name)
        found.append(f"namespace {name}")
    CloudNetwork(slot).remove()
    for device in _disks_of(slot):
        run("losetup", "--detach", device)
        found.append(f"loop device {device}")
    for folder in (slot.run_folder, *([slot.folder(state)] if state else [])):
        if folder.exists():
            _unmount_below(folder)
            # Stays on one file system, in case a mount could not be removed.
            subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=True)
            found.append(f"folder {folder}")
    slot.record_file.unlink(missing_ok=True)
    return found


def _remove_containers(slot: Slot, state: Path) -> bool:
    podman = Podman(slot, state)
    if not (podman.folder / "containers.conf").exists() or shutil.which("podman") is None:
        return False
    if not podman.run("ps", "--all", "--quiet").strip():
        return False
    podman.run("rm", "--all", "--force", "--time", "0")
    return True


def recorded_state(slot: Slot) -> Path | None:
    """State folder of the rehearsal that used the slot last and has not been cleaned up."""
    try:
        return Path(json.loads(slot.record_file.read_text())["state_dir"])
    except (OSError, ValueError, KeyError):
        return None


def _disks_of(slot: Slot) -> list[str]:
    marker = f"/{slot.prefix}/disks/"
    return [device.path for device in loop_devices() if marker in device.backing_file]


def _unmount_below(folder: Path) -> None:
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = Path(line.split()[4].encode().decode("unicode_escape"))
        if point.is_relative_to(folder):
            points.append(point)
    for point in sorted(points, key=lambda each: -len(each.parts)):
        if not succeeds("umount", str(point)):
            run("umount", "--lazy", str(point))
