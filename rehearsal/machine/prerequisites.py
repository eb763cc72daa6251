"""What this computer must have before it can run machines, and how to get it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from rehearsal.machine.errors import PrerequisitesError
from rehearsal.machine.tools import succeeds

PROGRAMS = {
    "podman": ("podman", "runs the machines"),
    "runc": ("runc", "starts them; crun cannot without CAP_SYS_RESOURCE"),
    "conmon": ("conmon", "holds their consoles"),
    "ip": ("iproute2", "makes their network"),
    "nft": ("nftables", "enforces security groups"),
    "losetup": ("mount", "makes data disks"),
    "nsenter": ("util-linux", "enters namespaces"),
    "unshare": ("util-linux", "keeps builds and tests private"),
    "docker-registry": ("docker-registry", "serves container images to machines"),
    "mmdebstrap": ("mmdebstrap", "builds root file systems"),
    "buildah": ("buildah", "builds container images"),
}
_CAPABILITIES = {12: "CAP_NET_ADMIN", 21: "CAP_SYS_ADMIN", 27: "CAP_MKNOD"}
_OVERLAY_MAGIC = "overlayfs"


@dataclass(frozen=True)
class Missing:
    """Something that is missing; ``remedy`` is a command or a sentence."""

    what: str
    remedy: str


def find_missing(state_dir: Path) -> list[Missing]:
    """Everything that this computer lacks; empty when machines can run."""
    if os.geteuid() != 0:
        # The other checks need root themselves.
        return [Missing("root rights (machines need namespaces and mounts)", "run it with sudo")]
    missing = _missing_programs()
    missing += _missing_capabilities()
    if not missing:
        missing += _missing_from_kernel()
    if not (Path("/sys/fs/cgroup/cgroup.controllers").exists() or _cgroup_v1()):
        missing.append(Missing("cgroups", "mount them: mount -t cgroup2 cgroup2 /sys/fs/cgroup"))
    if not Path("/dev/loop-control").exists():
        missing.append(Missing("/dev/loop-control (data disks)", "modprobe loop"))
    where = _existing(state_dir)
    if succeeds("sh", "-c", '[ "$(stat -f -c %T "$1")" = overlayfs ]', "sh", str(where)):
        missing.append(
            Missing(
                f"a state folder on a real file system ({where} is on an overlay)",
                "choose a folder on ext4 or xfs, or mount a volume there",
            )
        )
    return missing


def require_machines(state_dir: Path) -> None:
    """Raise PrerequisitesError with everything that is missing at once."""
    if missing := find_missing(state_dir):
        lines = [f"- {each.what}: {each.remedy}" for each in missing]
        raise PrerequisitesError(
            "this computer cannot run the rehearsal's machines; it lacks\n" + "\n".join(lines)
        )


def _missing_programs() -> list[Missing]:
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if not absent:
        return []
    packages = sorted({PROGRAMS[name][0] for name in absent})
    reasons = ", ".join(f"{name} ({PROGRAMS[name][1]})" for name in absent)
    install = f"apt-get install --no-install-recommends {' '.join(packages)}"
    return [Missing(f"programs: {reasons}", install)]


def _missing_capabilities() -> list[Missing]:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            held = int(line.split()[1], 16)
            absent = [name for bit, name in _CAPABILITIES.items() if not held >> bit & 1]
            if absent:
                remedy = "start the surrounding container with these, or use a virtual machine"
                return [Missing(", ".join(absent), remedy)]
    return []


def _missing_from_kernel() -> list[Missing]:
    # Each is tried in a network namespace that disappears with the command.
    private = ("unshare", "--net", "--")
    tries = {
        "veth interfaces": (
            "modprobe veth",
            None,
            ("ip", "link", "add", "name", "try0", "type", "veth", "peer", "name", "try1"),
        ),
        "nftables with address translation": (
            "modprobe -a nf_tables nft_nat nft_chain_nat nft_ct",
            "table ip t {\n chain c {\n type nat hook prerouting priority 0;\n"
            " ip daddr 192.0.2.1 dnat to 192.0.2.2\n }\n chain d {\n"
            " type filter hook forward priority 0; ct state established accept;\n }\n}\n",
            ("nft", "-f", "-"),
        ),
    }
    missing = [
        Missing(f"kernel support for {what}", remedy)
        for what, (remedy, stdin, command) in tries.items()
        if not succeeds(*private, *command, stdin=stdin)
    ]
    if "overlay" not in Path("/proc/filesystems").read_text():
        missing.append(Missing("kernel support for overlayfs", "modprobe overlay"))
    return missing


def _cgroup_v1() -> bool:
    return Path("/sys/fs/cgroup/devices").is_dir()


def _existing(path: Path) -> Path:
    path = path.resolve()
    while not path.exists():
        path = path.parent
    return path
