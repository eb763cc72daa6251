"""The NVIDIA driver, and the CDI document through which a container gets the GPU.

nvidia-container-toolkit is not in the mirrors that a VPC in mainland China reaches, so the
document is written here: device nodes, plus the driver's user-space libraries mounted into
/usr/local/nvidia, where LD_LIBRARY_PATH points (the layout that GKE uses for its GPU nodes).
Format: Container Device Interface specification 0.5.0. Where the toolkit is installed, it wins.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import nouveau
from .errors import NodeError, PackageError
from .packages import Packages
from .system import fingerprint, log, run, write_file

CDI_FILE = Path("/etc/cdi/nvidia.yaml")
TARGET = "/usr/local/nvidia"
CONTROL_NODES = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
# Computing (CUDA, its compiler, its debugger) and the video engines; no graphics.
LIBRARIES = (
    "libcuda.so",
    "libcudadebugger.so",
    "libnvcuvid.so",
    "libnvidia-allocator.so",
    "libnvidia-cfg.so",
    "libnvidia-encode.so",
    "libnvidia-gpucomp.so",
    "libnvidia-ml.so",
    "libnvidia-nvvm.so",
    "libnvidia-nvvm70.so",
    "libnvidia-opticalflow.so",
    "libnvidia-ptxjitcompiler.so",
)


def driver_packages(driver: str, kernel: str) -> tuple[list[str], list[str]]:
    """Ubuntu's packages for a driver branch: with prebuilt modules, and with built ones (DKMS).

    `driver` is like 570-server or 580-server-open (Blackwell needs -open); the user-space tools
    exist once for both. The modules are those of the running kernel and not of Ubuntu's newest,
    which its meta package would bring. After an update of the kernel, the run at the next boot
    installs the new one's, together with the user space of the same version.
    """
    tools = f"nvidia-utils-{driver.removesuffix('-open')}"
    prebuilt = [f"linux-modules-nvidia-{driver}-{kernel}", f"nvidia-headless-no-dkms-{driver}"]
    built = [f"nvidia-headless-{driver}", f"linux-headers-{kernel}"]
    return [*prebuilt, tools], [*built, tools]


def parse_ldconfig(listing: str) -> dict[str, str]:
    """soname -> path of the driver's 64-bit libraries in the output of `ldconfig -p`."""
    found: dict[str, str] = {}
    for line in listing.splitlines():
        match = re.match(r"\s*(\S+) \(([^)]*)\) => (\S+)$", line)
        if not match or not any(kind in match[2] for kind in ("x86-64", "AArch64")):
            continue
        # "libcuda.so.1", not "libcuda.so": programs load the soname, the other is for linkers.
        stem, dot, number = match[1].partition(".so.")
        if dot and number and f"{stem}.so" in LIBRARIES:
            found.setdefault(match[1], match[3])
    return dict(sorted(found.items()))


def cdi_document(
    cards: Sequence[int],
    controls: Sequence[str],
    libraries: Mapping[str, str],
    programs: Mapping[str, str],
) -> dict[str, Any]:
    """The CDI document: one device per card, and `all`.

    `cards` are minor numbers of /dev/nvidia<n>, `controls` paths of the shared device nodes,
    `libraries` and `programs` map a file name in the container to its path on the node.
    """

    def node(path: str) -> dict[str, str]:
        return {"path": path, "permissions": "rw"}

    def mount(source: str, target: str) -> dict[str, Any]:
        options = ["ro", "nosuid", "nodev", "bind"]
        return {"hostPath": source, "containerPath": target, "options": options}

    nodes = {card: node(f"/dev/nvidia{card}") for card in cards}
    devices = [
        {"name": str(card), "containerEdits": {"deviceNodes": [nodes[card]]}} for card in nodes
    ]
    devices.append({"name": "all", "containerEdits": {"deviceNodes": list(nodes.values())}})
    mounts = [mount(path, f"{TARGET}/lib64/{name}") for name, path in libraries.items()]
    mounts += [mount(path, f"{TARGET}/bin/{name}") for name, path in programs.items()]
    return {
        "cdiVersion": "0.5.0",
        "kind": "nvidia.com/gpu",
        "devices": devices,
        "containerEdits": {
            "env": [f"LD_LIBRARY_PATH={TARGET}/lib64"],
            "deviceNodes": [node(path) for path in controls],
            "mounts": mounts,
        },
    }


def ensure(driver: str, packages: Packages, progress: Callable[[str], None]) -> str:
    """Have a working driver and a CDI document; returns what nvidia-smi says of the GPUs.

    A driver that works is kept, whatever its version. Raises RebootError when the machine must
    be restarted first, NodeError when there is no driver and none can be installed.
    """
    if not _load_modules():
        if not packages.apt:
            raise NodeError(
                f"nvidia-smi does not work, and driver {driver} can only be installed on Ubuntu. "
                "Deploy with an image that has the driver (Alibaba Cloud Linux with pre-installed "
                "NVIDIA GPU driver), or with image family acs:ubuntu_24_04_x64.",
                permanent=True,
            )
        _install(driver, packages, progress)
        if not _load_modules():
            if nouveau.loaded():
                nouveau.restart_once()
            raise NodeError(
                f"driver {driver} is installed but does not work. {_smi_error()} Does this "
                "instance type have an NVIDIA GPU that the branch supports (Blackwell needs one "
                "with -open)? After an update of the driver, reboot the node."
            )
    _make_uvm_nodes()
    _write_cdi()
    query = "--query-gpu=name,driver_version,memory.total"
    found = run(["nvidia-smi", query, "--format=csv,noheader"]).stdout.strip().replace("\n", "; ")
    return found + ("; restarted once because of nouveau" if nouveau.restarted() else "")


def fingerprint_of_cdi() -> str:
    """Changes when the container would get other devices or libraries."""
    return fingerprint(CDI_FILE.read_bytes()) if CDI_FILE.exists() else ""


def _install(driver: str, packages: Packages, progress: Callable[[str], None]) -> None:
    kernel = os.uname().release
    prebuilt, built = driver_packages(driver, kernel)
    progress(f"installing driver {driver} for kernel {kernel}")
    try:
        packages.install(prebuilt)
    except PackageError as error:
        if not error.lacking:
            raise
        # Also when the kernel is older than the mirror's driver: each build fits one version.
        log(f"no prebuilt modules for this kernel ({error}); building them, which takes minutes")
    else:
        return
    progress(f"building driver {driver} for kernel {kernel}")
    try:
        packages.install(built, timeout=3600)
    except PackageError as error:
        if not error.lacking:
            raise
        raise NodeError(
            f"driver {driver} cannot be had for kernel {kernel}: {error}. Set gpuDriver to a "
            "branch that the image's mirrors have, or deploy with an image that has the driver.",
            permanent=True,
        ) from error


def _load_modules() -> bool:
    nouveau.remove()
    for module in ("nvidia", "nvidia-uvm"):
        run(["modprobe", module], check=False)
    return (
        shutil.which("nvidia-smi") is not None and not run(["nvidia-smi"], check=False).returncode
    )


def _smi_error() -> str:
    if not shutil.which("nvidia-smi"):
        return "nvidia-smi is missing."
    text = run(["nvidia-smi"], check=False).stdout.strip()
    return f"nvidia-smi says: {' '.join(text.split())[-300:]}"


def _make_uvm_nodes() -> None:
    """Make the unified-memory nodes, as nvidia-modprobe would (it is a package of its own)."""
    found = re.search(r"^\s*(\d+) nvidia-uvm$", Path("/proc/devices").read_text(), re.MULTILINE)
    for minor, name in enumerate(("nvidia-uvm", "nvidia-uvm-tools")):
        path = Path("/dev", name)
        if found and not path.exists():
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(int(found[1]), minor))
            path.chmod(0o666)


def _write_cdi() -> None:
    if shutil.which("nvidia-ctk"):
        CDI_FILE.parent.mkdir(parents=True, exist_ok=True)
        run(["nvidia-ctk", "cdi", "generate", f"--output={CDI_FILE}"])
        return
    cards = sorted(
        int(path.name.removeprefix("nvidia"))
        for path in Path("/dev").glob("nvidia[0-9]*")
        if path.name.removeprefix("nvidia").isdigit()
    )
    controls = [f"/dev/{name}" for name in CONTROL_NODES if Path("/dev", name).exists()]
    libraries = parse_ldconfig(run(["ldconfig", "-p"]).stdout)
    missing = {"libcuda.so.1", "libnvidia-ml.so.1"} - set(libraries)
    if missing or not cards:
        raise NodeError(
            f"the driver is incomplete: no {', '.join(sorted(missing)) or 'device node'}. Install "
            "the branch's nvidia-headless and nvidia-utils packages, then run: vace-node converge"
        )
    program = shutil.which("nvidia-smi")
    document = cdi_document(cards, controls, libraries, {"nvidia-smi": program} if program else {})
    # JSON is YAML: container engines read both under this name.
    write_file(CDI_FILE, json.dumps(document, indent=1) + "\n")
