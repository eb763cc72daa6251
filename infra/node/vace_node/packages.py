"""Packages of the distribution: what the node needs beyond its base image.

The image's own mirrors are used as they are; on Alibaba Cloud they are inside the VPC.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .errors import CommandError, NodeError
from .system import log, run

# binary -> packages that bring it, by package manager
APT = {
    "podman": ["podman", "crun", "netavark", "ca-certificates"],
    "nft": ["nftables"],
    "mkfs.ext4": ["e2fsprogs"],
}
DNF = {
    "podman": ["podman", "ca-certificates"],
    "nft": ["nftables"],
    "mkfs.ext4": ["e2fsprogs"],
}
OLDEST_PODMAN = (4, 7)
QUADLET = (
    Path("/usr/lib/systemd/system-generators/podman-system-generator"),
    Path("/lib/systemd/system-generators/podman-system-generator"),
)


class Packages:
    """apt-get or dnf, whichever this image has."""

    def __init__(self) -> None:
        self.apt = shutil.which("apt-get") is not None
        self._refreshed = False

    def install(self, names: Sequence[str]) -> None:
        """Install packages; raises CommandError when that fails."""
        if not self.apt:
            run(["dnf", "install", "-y", *names], timeout=1800)
            return
        # Another apt (unattended upgrades at boot) is waited for instead of failed on.
        options = [
            "-o", "DPkg::Lock::Timeout=600",
            "-o", "Acquire::Retries=3",
            "-o", "Dpkg::Options::=--force-confold",
        ]  # fmt: skip
        quiet = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "a"}
        if not self._refreshed:
            # An installation that was cut off by a power failure blocks every later one.
            run(["dpkg", "--configure", "-a"], timeout=900, environment=quiet)
            run(["apt-get", *options, "update"], timeout=600, environment=quiet)
            self._refreshed = True
        run(
            ["apt-get", *options, "install", "-y", "--no-install-recommends", *names],
            timeout=1800,
            environment=quiet,
        )

    def hold(self, names: Sequence[str]) -> None:
        """Keep unattended upgrades away from these packages."""
        if self.apt:
            run(["apt-mark", "hold", *names])


def ensure(packages: Packages, progress: Callable[[str], None]) -> str:
    """Install what is missing. Raises NodeError when it cannot be had or is too old."""
    table = APT if packages.apt else DNF
    wanted = [name for binary, names in table.items() if not shutil.which(binary) for name in names]
    if wanted:
        progress(f"installing {', '.join(wanted)}")
        started = time.monotonic()
        try:
            packages.install(wanted)
        except CommandError as error:
            raise NodeError(
                f"the packages {', '.join(wanted)} could not be installed from the image's "
                f"mirrors: {error}. Are mirrors.cloud.aliyuncs.com and DNS (100.100.2.136) "
                "reachable from this VPC?"
            ) from error
        log(f"packages installed in {time.monotonic() - started:.0f} s")
    return f"podman {check_podman(run(['podman', '--version']).stdout)}"


def check_podman(version_line: str) -> str:
    """The version out of `podman --version`; raises NodeError when it is too old for our units."""
    found = re.search(r"(\d+)\.(\d+)[.\d]*", version_line)
    if not found or (int(found[1]), int(found[2])) < OLDEST_PODMAN:
        raise NodeError(
            f"this image has {version_line.strip() or 'no podman'}, and the units need podman "
            f"{OLDEST_PODMAN[0]}.{OLDEST_PODMAN[1]} or later (quadlet with shared memory size). "
            "Deploy with a newer image family, for example acs:ubuntu_24_04_x64.",
            permanent=True,
        )
    return found[0]
