"""Packages of the distribution: what the node needs beyond its base image.

The image's own mirrors are used as they are; on Alibaba Cloud they are inside the VPC.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .errors import CommandError, NodeError, PackageError
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

    def install(self, names: Sequence[str], *, timeout: float = 1800) -> None:
        """Install packages; raises PackageError with the cause in words."""
        if not self.apt:
            try:
                run(["dnf", "install", "-y", *names], timeout=timeout)
            except CommandError as error:
                raise failure(names, error.output or str(error)) from error
            return
        problem = ""
        if not self._refreshed:
            # An installation that was cut off by a power failure blocks every later one.
            self._run(["dpkg", "--configure", "-a"], timeout=900)
            try:
                # Without this mode, apt-get calls a list that it could not get a success.
                mode = ["-o", "APT::Update::Error-Mode=any"]
                self._run(["apt-get", *_OPTIONS, *mode, "update"], timeout=600)
                self._refreshed = True
            except CommandError as error:
                # The lists that are there may do.
                problem = error.output or str(error)
                log(f"the package lists are not all fresh: {error}")
        command = ["install", "-y", "--no-install-recommends", "--allow-change-held-packages"]
        try:
            self._run(["apt-get", *_OPTIONS, *command, *names], timeout=timeout)
        except CommandError as error:
            raise failure(names, error.output or str(error), refresh=problem) from error

    def _run(self, argv: Sequence[str], *, timeout: float) -> None:
        """Run apt or dpkg; waits while another one is at work, as at the first boot."""
        quiet = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "a"}
        deadline = time.monotonic() + _LOCK_PATIENCE
        while True:
            try:
                run(argv, timeout=timeout, environment=quiet)
            except CommandError as error:
                if cause(error.output) != LOCKED or time.monotonic() >= deadline:
                    raise
            else:
                return
            time.sleep(3)


_OPTIONS = (
    *("-o", "DPkg::Lock::Timeout=600"),
    *("-o", "Acquire::Retries=3"),
    *("-o", "Dpkg::Options::=--force-confold"),
)
# The lock of the package lists has no timeout of its own.
_LOCK_PATIENCE = 600.0
LOCKED, UNREACHABLE, LACKING, OTHER = "locked", "unreachable", "lacking", "other"
# In this order: without lists, apt says of every package that there is none.
_SIGNS = (
    (LOCKED, ("could not get lock", "unable to acquire the dpkg", "lock was locked by another")),
    (
        UNREACHABLE,
        (
            "failed to fetch",
            "could not resolve",
            "temporary failure resolving",
            "could not connect",
            "unable to connect",
            "connection timed out",
            "failed to download metadata",
            "curl error",
        ),
    ),
    (
        LACKING,
        (
            "unable to locate package",
            "couldn't find any package by",
            "has no installation candidate",
            "unmet dependencies",
            "held broken packages",
            "unable to find a match",
        ),
    ),
)


def cause(output: str) -> str:
    """Why a package manager failed, out of its own words (in English, as `run` has them said)."""
    lower = output.lower()
    return next((kind for kind, signs in _SIGNS if any(s in lower for s in signs)), OTHER)


def failure(names: Sequence[str], output: str, *, refresh: str = "") -> PackageError:
    """The error for an installation that printed `output`; `refresh` is a failed list update's."""
    kind = cause(output)
    if kind == LACKING and refresh:
        # Old lists prove nothing.
        kind, output = cause(refresh), refresh
        kind = OTHER if kind == LACKING else kind
    reason = {
        LOCKED: "another package manager was at work for 10 minutes (unattended upgrades?)",
        UNREACHABLE: "the image's mirrors cannot be reached. Are mirrors.cloud.aliyuncs.com and "
        "DNS (100.100.2.136) reachable from this VPC?",
        LACKING: "the image's mirrors do not have them, or not in versions that fit together",
        OTHER: "the package manager failed",
    }[kind]
    said = [line for line in output.splitlines() if line.startswith(("E:", "Error", "dpkg: error"))]
    text = " ".join(said or output.strip().split("\n")[-4:])[-600:]
    return PackageError(
        f"the packages {', '.join(names)} could not be installed: {reason}. It said: {text}",
        output=output,
        lacking=kind == LACKING,
    )


def ensure(packages: Packages, progress: Callable[[str], None]) -> str:
    """Install what is missing. Raises PackageError, or NodeError for a podman that is too old."""
    table = APT if packages.apt else DNF
    wanted = [name for binary, names in table.items() if not shutil.which(binary) for name in names]
    if wanted:
        progress(f"installing {', '.join(wanted)}")
        started = time.monotonic()
        packages.install(wanted)
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
