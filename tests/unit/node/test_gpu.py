"""Driver packages and the CDI document."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from infra.node.vace_node import gpu, nouveau
from infra.node.vace_node.errors import NodeError, PackageError, RebootError
from infra.node.vace_node.gpu import cdi_document, driver_packages, parse_ldconfig
from infra.node.vace_node.packages import Packages

LDCONFIG = """\
1035 libs found in cache `/etc/ld.so.cache'
\tlibnvidia-ptxjitcompiler.so.1 (libc6,x86-64) => /lib64/libnvidia-ptxjitcompiler.so.1
\tlibnvidia-ml.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libnvidia-ml.so.1
\tlibnvidia-ml.so.1 (libc6) => /lib/i386-linux-gnu/libnvidia-ml.so.1
\tlibnvidia-glcore.so.570.133.20 (libc6,x86-64) => /lib64/libnvidia-glcore.so.570.133.20
\tlibcuda.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libcuda.so.1
\tlibcuda.so (libc6,x86-64) => /lib/x86_64-linux-gnu/libcuda.so
\tlibcudart.so.12 (libc6,x86-64) => /usr/local/cuda/lib64/libcudart.so.12
"""


def test_only_the_drivers_computing_libraries_are_taken() -> None:
    """CUDA's own libraries are the image's; 32-bit ones would be loaded and fail."""
    assert parse_ldconfig(LDCONFIG) == {
        "libcuda.so.1": "/lib/x86_64-linux-gnu/libcuda.so.1",
        "libnvidia-ml.so.1": "/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
        "libnvidia-ptxjitcompiler.so.1": "/lib64/libnvidia-ptxjitcompiler.so.1",
    }


def test_cdi_document_has_cards_controls_and_read_only_libraries() -> None:
    """Container engines skip a malformed document silently; the device is then unknown."""
    document = cdi_document(
        [0, 1],
        ["/dev/nvidiactl", "/dev/nvidia-uvm"],
        {"libcuda.so.1": "/lib/x86_64-linux-gnu/libcuda.so.1"},
        {"nvidia-smi": "/usr/bin/nvidia-smi"},
    )
    assert json.loads(json.dumps(document)) == document
    assert document["kind"] == "nvidia.com/gpu"
    assert [device["name"] for device in document["devices"]] == ["0", "1", "all"]
    every = document["devices"][2]["containerEdits"]["deviceNodes"]
    assert [node["path"] for node in every] == ["/dev/nvidia0", "/dev/nvidia1"]
    edits = document["containerEdits"]
    assert [node["path"] for node in edits["deviceNodes"]] == ["/dev/nvidiactl", "/dev/nvidia-uvm"]
    assert edits["env"] == ["LD_LIBRARY_PATH=/usr/local/nvidia/lib64"]
    targets = {mount["containerPath"]: mount["options"] for mount in edits["mounts"]}
    assert set(targets) == {
        "/usr/local/nvidia/lib64/libcuda.so.1",
        "/usr/local/nvidia/bin/nvidia-smi",
    }
    assert all("ro" in options for options in targets.values())


KERNEL = "6.8.0-60-generic"


@pytest.mark.parametrize(
    ("driver", "tools"),
    [
        ("535", "nvidia-utils-535"),
        ("570-open", "nvidia-utils-570"),
        ("570-server", "nvidia-utils-570-server"),
        ("570-server-open", "nvidia-utils-570-server"),
        ("580-server-open", "nvidia-utils-580-server"),
    ],
)
def test_every_form_of_a_driver_has_its_packages(driver: str, tools: str) -> None:
    """There is no nvidia-utils-580-server-open; asking for it would fail the installation."""
    assert driver_packages(driver, KERNEL) == (
        [f"linux-modules-nvidia-{driver}-{KERNEL}", f"nvidia-headless-no-dkms-{driver}", tools],
        [f"nvidia-headless-{driver}", f"linux-headers-{KERNEL}", tools],
    )


class Machine:
    """A machine whose driver works once `needs` is installed, and mirrors without `lacking`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.installed: list[str] = []
        self.needs = "linux-modules-nvidia"
        self.error: dict[str, PackageError] = {}
        self.packages = Packages()
        self.packages.apt = True
        self.nouveau = tmp_path / "modules"
        self.nouveau.write_text("virtio_net 61440 0 - Live 0x0\n")
        self.commands: list[list[str]] = []
        monkeypatch.setattr(self.packages, "install", self.install)
        monkeypatch.setattr(gpu, "run", self.run)
        monkeypatch.setattr(gpu, "_write_cdi", lambda: None)
        monkeypatch.setattr(gpu, "_make_uvm_nodes", lambda: None)
        monkeypatch.setattr(gpu.shutil, "which", lambda name: f"/usr/bin/{name}")
        monkeypatch.setattr(nouveau, "run", self.run)
        monkeypatch.setattr(nouveau, "log", lambda _: None)
        monkeypatch.setattr(nouveau, "RULES", tmp_path / "vace-nouveau.conf")
        monkeypatch.setattr(nouveau, "MARKER", tmp_path / "restarted")
        monkeypatch.setattr(nouveau, "MODULES", self.nouveau)
        self.boot = "first"
        monkeypatch.setattr(nouveau, "boot_id", lambda: self.boot)
        self.unloads = True

    def install(self, names: Sequence[str], *, timeout: float = 0) -> None:
        for name in names:
            if name in self.error:
                raise self.error[name]
        self.installed += names

    def run(self, argv: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        self.commands.append(argv)
        if argv[:2] == ["modprobe", "-r"] and self.unloads:
            self.nouveau.write_text("")
        there = any(name.startswith(self.needs) for name in self.installed)
        works = there and "nouveau" not in self.nouveau.read_text()
        text = "NVIDIA A10, 570.133.20, 23028 MiB\n" if works else "No devices were found\n"
        return subprocess.CompletedProcess(argv, 0 if works else 9, text, "")

    def ensure(self) -> str:
        return gpu.ensure("570-server", self.packages, lambda _: None)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(monkeypatch, tmp_path)


def lacking(lacks: bool) -> PackageError:
    return PackageError("unmet dependencies" if lacks else "lock", output="", lacking=lacks)


def prebuilt() -> str:
    return driver_packages("570-server", os.uname().release)[0][0]


def test_prebuilt_modules_are_taken_where_the_mirror_has_them(machine: Machine) -> None:
    """Building takes minutes of every first boot."""
    assert machine.ensure() == "NVIDIA A10, 570.133.20, 23028 MiB"
    assert prebuilt() in machine.installed
    assert not [name for name in machine.installed if name == "nvidia-headless-570-server"]


def test_modules_are_built_where_the_mirror_has_none_that_fit(machine: Machine) -> None:
    """An image is older than the mirror: its kernel's modules want an older user space."""
    machine.error[prebuilt()] = lacking(True)
    machine.needs = "nvidia-headless-570-server"
    machine.ensure()
    assert f"linux-headers-{os.uname().release}" in machine.installed


def test_a_lock_or_a_network_is_no_reason_to_build(machine: Machine) -> None:
    """The next run succeeds in a minute; a build would need the same lock and network."""
    machine.error[prebuilt()] = lacking(False)
    with pytest.raises(PackageError):
        machine.ensure()
    assert not machine.installed


def test_a_branch_that_the_mirror_lacks_is_a_permanent_error(machine: Machine) -> None:
    """`pulumi up` must say so now, not when its time is over."""
    machine.error[prebuilt()] = machine.error["nvidia-headless-570-server"] = lacking(True)
    with pytest.raises(NodeError, match="Set gpuDriver to a branch") as caught:
        machine.ensure()
    assert caught.value.permanent


def test_nouveau_is_forbidden_and_unloaded(machine: Machine) -> None:
    """It takes the GPU at boot, long before the driver is there."""
    machine.nouveau.write_text("nouveau 2768896 0 - Live 0x0\n")
    machine.ensure()
    assert "blacklist nouveau" in nouveau.RULES.read_text()
    assert not any("reboot" in argv for argv in machine.commands)


def test_nouveau_that_stays_restarts_the_machine_once_and_never_again(machine: Machine) -> None:
    """A restart at every boot would be a machine that nobody can look into."""
    machine.nouveau.write_text("nouveau 2768896 1 - Live 0x0\n")
    machine.unloads = False
    for _ in range(2):  # two runs of the same boot
        with pytest.raises(RebootError, match="restarted once"):
            machine.ensure()
        assert machine.commands[-1][-2:] == ["systemctl", "reboot"]
    machine.boot = "second"
    machine.commands.clear()
    with pytest.raises(NodeError, match="also after a restart") as caught:
        machine.ensure()
    assert caught.value.permanent
    assert not any("reboot" in argv for argv in machine.commands)
    machine.nouveau.write_text("")
    assert "restarted once because of nouveau" in machine.ensure()
