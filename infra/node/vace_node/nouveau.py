"""nouveau, the kernel's own driver for NVIDIA GPUs: while it holds one, NVIDIA's cannot have it.

It is forbidden and unloaded. Where it does not let go (a console on the GPU, for example), the
machine is restarted; once in its life, so that it can never go round in circles.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NoReturn

from .errors import NodeError, RebootError
from .system import boot_id, log, run, write_file

RULES = Path("/etc/modprobe.d/vace-nouveau.conf")
MARKER = Path("/var/lib/vace/restarted-for-gpu")
"""Holds the id of the boot in which the restart was ordered."""
MODULES = Path("/proc/modules")
DELAY = 10
"""Seconds until the restart, in which `vace-node wait` tells its caller."""


def remove() -> bool:
    """Forbid the module and unload it; whether it is away."""
    write_file(RULES, "blacklist nouveau\noptions nouveau modeset=0\n")
    if loaded():
        run(["modprobe", "-r", "nouveau"], check=False)
    return not loaded()


def loaded() -> bool:
    """Whether the running kernel has the module."""
    return any(line.split(" ", 1)[0] == "nouveau" for line in MODULES.read_text().splitlines())


def restart_once() -> NoReturn:
    """Order a restart and raise RebootError; a NodeError when it was restarted for this before."""
    boot = boot_id()
    if restarted() and MARKER.read_text() != boot:
        raise NodeError(
            "the kernel module nouveau holds the GPU, also after a restart of the machine. Deploy "
            "with an image without it, or unload it by hand (modprobe -r nouveau) and run: "
            f"vace-node converge. {MARKER} keeps the machine from being restarted again.",
            permanent=True,
        )
    # Before the deed: whatever happens now, the next boot knows of it.
    write_file(MARKER, boot)
    if shutil.which("update-initramfs"):
        run(["update-initramfs", "-u"], timeout=600, check=False)
    log(f"the machine restarts in {DELAY} s, because nouveau does not let go of the GPU")
    # Has no effect when an earlier run of this boot has ordered it.
    timer = [f"--on-active={DELAY}", "--unit=vace-restart", "--timer-property=AccuracySec=1s"]
    run(["systemd-run", *timer, "systemctl", "reboot"], check=False)
    raise RebootError(
        "the kernel module nouveau holds the GPU and cannot be unloaded; the machine is restarted "
        "once without it, and goes on then"
    )


def restarted() -> bool:
    """Whether this machine was restarted once because of nouveau."""
    return MARKER.exists()
