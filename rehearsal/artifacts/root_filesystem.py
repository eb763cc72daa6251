"""Recipes of the two Debian root file systems: the machine's and the containers'.

Both are made by mmdebstrap from Debian packages, because no image registry is needed for that.
"""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path

from rehearsal.artifacts.cache import content_key
from rehearsal.artifacts.process import require, run_logged

SHIMS = Path(__file__).parent / "machine_root"
MACHINE_SUITE = "trixie"

MACHINE_PACKAGES = {
    "systemd": "runs the units that user data brings",
    "systemd-sysv": "provides /sbin/init",
    "dbus": "systemctl and hostnamectl talk over it",
    "cloud-init": "25.1: fetches user data with metadata tokens",
    "podman": "5.4: container runtime with quadlet units",
    "runc": "crun cannot start containers without CAP_SYS_RESOURCE",
    "netavark": "podman refuses to start without a network backend",
    "catatonit": "init process for containers that ask for one",
    "nftables": "the node limits who reaches the metadata service",
    "iproute2": "addresses and routes, for people who look around",
    "iputils-ping": "same",
    "ca-certificates": "trust store",
    "openssl": "names the authority's certificate in the trust store",
    "curl": "readiness checks",
    "python3": "runs the node agent",
    "e2fsprogs": "formats and grows the data disk",
    "util-linux": "blkid, findmnt, flock",
    "mount": "mounts the data disk",
    "procps": "sysctl and ps",
    "passwd": "cloud-init creates users",
}

# They wait for the network or for hardware that a rehearsal does not have, or wake up for nothing.
MASKED_UNITS = (
    "systemd-sysctl.service",
    "systemd-resolved.service",
    "console-getty.service",
    "podman.socket",
    "podman.service",
    "podman-auto-update.timer",
    "podman-restart.service",
    "podman-clean-transient.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "fstrim.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
)
_RECIPE_VERSION = 3
_SLIM = [
    "--aptopt=Acquire::Languages none",
    "--aptopt=APT::Install-Recommends false",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/info/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
]
# Where each shim goes, and with which mode.
_SHIM_TARGETS = {
    "ecs-init": ("usr/sbin/ecs-init", 0o755),
    "dmidecode": ("usr/sbin/dmidecode", 0o755),
    "systemd-detect-virt": ("usr/bin/systemd-detect-virt", 0o755),
    "dhcpcd": ("usr/sbin/dhcpcd", 0o755),
    "runc": ("usr/sbin/runc", 0o755),
    "cloud.cfg": ("etc/cloud/cloud.cfg.d/90_ecs.cfg", 0o644),
    "journald.conf": ("etc/systemd/journald.conf.d/console.conf", 0o644),
    "containers.conf": ("etc/containers/containers.conf.d/rehearsal.conf", 0o644),
}


def machine_root_key() -> str:
    """Cache key of the machine's root file system."""
    return content_key(
        {
            "version": _RECIPE_VERSION,
            "suite": MACHINE_SUITE,
            "architecture": platform.machine(),
            "packages": sorted(MACHINE_PACKAGES),
            "masked": MASKED_UNITS,
            "options": _SLIM,
            "targets": _SHIM_TARGETS,
        },
        {name: SHIMS / name for name in _SHIM_TARGETS},
    )


def build_machine_root(folder: Path, log: Path) -> None:
    """Make ``folder/rootfs``: Debian with systemd, cloud-init and podman, dressed as ECS."""
    root = folder / "rootfs"
    bootstrap(MACHINE_SUITE, MACHINE_PACKAGES, root, ["--variant=minbase"], log)
    # The wrapper takes the place of the real program, which moves where packages do not look.
    (root / "usr/sbin/runc").rename(root / "usr/libexec/runc")
    for name, (target, mode) in _SHIM_TARGETS.items():
        path = root / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes((SHIMS / name).read_bytes())
        path.chmod(mode)
    for unit in MASKED_UNITS:
        link = root / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    # An empty machine-id is filled at boot; with one in the image all machines would share it.
    for name in ("etc/machine-id", "var/lib/dbus/machine-id", "etc/hostname"):
        (root / name).unlink(missing_ok=True)
    (root / "etc/machine-id").touch()
    # Mount point of what the hypervisor tells the machine; containers' storage is a mount, too.
    (root / "opt/ecs-firmware").mkdir()
    (root / "var/lib/containers").mkdir(exist_ok=True)
    _prepare_lease(root)
    _list_packages(root, folder / "packages.txt")


def bootstrap(
    suite: str, packages: Iterable[str], target: Path, options: list[str], log: Path
) -> None:
    """Make a Debian root file system with these packages and without documentation.

    ``target`` is a folder, or a tar archive (then the same packages give the same bytes).
    ``options`` are mmdebstrap's. Raises ToolMissingError or BuildFailedError.
    """
    require("mmdebstrap", "mmdebstrap", "make Debian root file systems")
    require("unshare", "util-linux", "keep the builder's mounts private")
    run_logged(
        f"making a Debian {suite} root file system",
        [
            # Mounts of an interrupted build disappear with the namespace.
            *("unshare", "--mount", "--propagation", "private", "--"),
            *("mmdebstrap", "--mode=root", *_SLIM, *options),
            f"--include={','.join(sorted(packages))}",
            suite,
            str(target),
        ],
        log,
        # Archives (by their suffix) get the time 0 for every file; folders keep real times.
        env={"SOURCE_DATE_EPOCH": "0"} if target.suffix else {},
    )


def _prepare_lease(root: Path) -> None:
    # cloud-init reads this file besides the answers of the script in dhcpcd's place.
    lease = root / "var/lib/dhcpcd/eth0.lease"
    lease.parent.mkdir(parents=True, exist_ok=True)
    lease.touch()


def _list_packages(root: Path, target: Path) -> None:
    require("dpkg-query", "dpkg", "record which package versions went in")
    query = ["dpkg-query", f"--admindir={root / 'var/lib/dpkg'}", "--show"]
    target.write_bytes(subprocess.run(query, check=True, stdout=subprocess.PIPE).stdout)
