"""Scratch space: every folder that ComfyUI writes to is really written to."""

from __future__ import annotations

import os
from pathlib import Path

from vace_comfyui.problems import Exit, Problem, say
from vace_comfyui.settings import Settings

MIB = 1024 * 1024
PROBE_BYTES = 4096
TEMP_MIB = 256
"""Free space in /tmp: compiled kernels and pieces of uploads."""
SHM_MIB = 256
"""Size of /dev/shm below which a warning is given; container engines' own default is 64 MiB."""


def check(
    settings: Settings,
    *,
    temp: Path | None = None,
    shm: Path = Path("/dev/shm"),  # noqa: S108 - looked at, not written to
) -> list[Problem]:
    """Write, sync and delete a probe in every folder, and look at the space that is left."""
    problems = []
    wanted = dict.fromkeys(settings.folders.values(), settings.min_free_mib)
    wanted[settings.state.parent if temp is None else temp] = min(TEMP_MIB, settings.min_free_mib)
    for folder, least in wanted.items():
        problem = _writable(folder) or _room(folder, least)
        if problem is not None:
            problems.append(problem)
    _warn(settings.state.parent if temp is None else temp, shm)
    return problems


def _writable(folder: Path) -> Problem | None:
    probe = folder / f".vace-probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            os.write(descriptor, bytes(PROBE_BYTES))
            # Space is often only taken when the data goes to the disk.
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            probe.unlink(missing_ok=True)
    except OSError as error:
        return Problem(
            Exit.SCRATCH,
            str(folder),
            f"{error.strerror} for user {os.getuid()}",
            "a folder that this user can write to",
            "uploads, results and previews are written there",
            f"mount a writable disk there, with room, owned by {os.getuid()}:{os.getgid()}",
        )
    return None


def _room(folder: Path, least_mib: int) -> Problem | None:
    stat = os.statvfs(folder)
    free = stat.f_bavail * stat.f_frsize // MIB
    if free >= least_mib:
        return None
    return Problem(
        Exit.SCRATCH,
        str(folder),
        f"{free} MiB free",
        f"at least {least_mib} MiB",
        "a video that finds no room at its end is lost with all the time spent on it",
        "delete old files or enlarge the disk (VACE_MIN_FREE_MIB sets the least)",
    )


def _warn(temp: Path, shm: Path) -> None:
    if temp.is_dir() and os.statvfs(temp).f_flag & os.ST_NOEXEC:
        say(f"warning: {temp} is mounted noexec; kernels that are compiled at run time need exec")
    if not shm.is_dir():
        say(f"warning: {shm} is not there; PyTorch passes tensors between processes through it")
        return
    stat = os.statvfs(shm)
    size = stat.f_blocks * stat.f_frsize // MIB
    if size < SHM_MIB:
        say(f"warning: {shm} has {size} MiB; give it at least {SHM_MIB} (podman: --shm-size=2g)")
