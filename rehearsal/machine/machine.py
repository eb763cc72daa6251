"""One machine: a systemd container that boots like an ECS instance."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rehearsal.cloud.hypervisor import CommandResult, MachineSpec
from rehearsal.machine import assistant, disks
from rehearsal.machine.errors import MachineError
from rehearsal.machine.podman import Podman
from rehearsal.machine.slots import DNS_ADDRESSES

_STOP_S = 20
"""Time for an orderly shutdown; the provider kills a machine that takes longer."""
_CONSOLE_BYTES = 64 * 1024
"""As much as GetInstanceConsoleOutput returns."""
_REBOOT_CODE = 128 + signal.SIGHUP
"""How a PID namespace's init ends after reboot(2) asked for a restart (see pid_namespaces(7))."""
_CAPABILITIES = (
    "SYS_ADMIN",  # systemd mounts; containers inside
    "SYS_BOOT",  # `reboot` inside restarts the machine, not this computer
    "SYS_PTRACE",  # /proc of the containers inside
    "NET_ADMIN",  # nftables in the machine's own namespace
    "NET_RAW",  # ping
    "MKNOD",  # devices of disks, containers' devices
    "AUDIT_WRITE",  # su
)
_CAP_SYS_RESOURCE = 24  # linux/capability.h


class Machine:
    """Starts and stops one container. Methods that change it are serialised by its lock."""

    def __init__(
        self,
        name: str,
        spec: MachineSpec,
        *,
        folder: Path,
        podman: Podman,
        root: Path,
        ended: Callable[[bool], None],
    ) -> None:
        """``ended`` is told, from another thread, that the machine ended by itself.

        Its argument says whether the machine asked for a restart.
        """
        self.name = name
        self.spec = spec
        self.lock = threading.RLock()
        self._folder = folder
        self._podman = podman
        self._root = root
        self._ended = ended
        self._init_pid = 0
        self._init: int | None = None  # pidfd
        self._expected_end = False

    @property
    def init_pid(self) -> int:
        """Process id of the machine's init on this computer; 0 when it does not run."""
        return self._init_pid if self.is_running() else 0

    def is_running(self) -> bool:
        """Whether the machine's init is alive."""
        with self.lock:
            return self._init is not None and not _has_ended(self._init)

    def prepare(self, ca_certificate: Path) -> None:
        """Write what the machine's firmware tells it, and make its container storage."""
        firmware = self._firmware
        firmware.mkdir(parents=True, exist_ok=True)
        (self._folder / "containers").mkdir(exist_ok=True)
        spec = self.spec
        contents = {
            "product_name": "Alibaba Cloud ECS",
            "sys_vendor": "Alibaba Cloud",
            "product_serial": spec.instance_id,
            "host_entry": f"{spec.private_ip} {spec.hostname} {spec.hostname}",
        }
        for name, text in contents.items():
            (firmware / name).write_text(f"{text}\n")
        (firmware / "ca.pem").write_bytes(ca_certificate.read_bytes())
        (firmware / "disks").touch()

    def list_disks(self, lines: list[str]) -> None:
        """Tell the next boot which disks are attached (see machine_root/ecs-init)."""
        # Renamed into place, because a machine that is booting may be reading it.
        draft = self._firmware / ".disks"
        draft.write_text("".join(f"{line}\n" for line in lines))
        draft.replace(self._firmware / "disks")

    def exists(self) -> bool:
        """Whether the container has been made."""
        return self._podman.state(self.name) is not None

    def create(self) -> None:
        """Make the container, without starting it."""
        self._podman.run("create", "--name", self.name, *self._options(), *self._rootfs())

    def start(self) -> None:
        """Start the container and return when its init runs."""
        with self.lock:
            if self.is_running():
                return
            self._podman.run("start", self.name)
            self.adopt()
            if not self.is_running():
                raise MachineError(
                    f"machine {self.spec.instance_id} ended right after its start; its console "
                    f"says: {self.console_output()[-2000:]}"
                )

    def adopt(self) -> None:
        """Find the init of a container that an earlier process started, and watch it."""
        with self.lock:
            state = self._podman.state(self.name)
            if state is None or state.pid == 0:
                return
            with contextlib.suppress(ProcessLookupError):
                self._init = os.pidfd_open(state.pid)
                self._init_pid = state.pid
                self._expected_end = False
                threading.Thread(
                    target=self._watch, args=(self._init,), name=f"watch {self.name}", daemon=True
                ).start()

    def stop(self, *, force: bool) -> None:
        """Shut down; with ``force``, or when that takes too long, switch off."""
        with self.lock:
            self._expected_end = True
            seconds = 0 if force else _STOP_S
            self._podman.run("stop", "--ignore", "--time", str(seconds), self.name)
            self._init = None

    def delete(self) -> None:
        """Remove the container and everything that the machine has written."""
        with self.lock:
            self._expected_end = True
            self._podman.remove(self.name)
            self._init = None
            if self._folder.exists():
                # Only the machine's own files: what is mounted below belongs to somebody else.
                subprocess.run(["rm", "-rf", "--one-file-system", str(self._folder)], check=True)

    def attach(self, letter: str, device: disks.LoopDevice, disk_id: str) -> None:
        """Make a disk appear now, if the machine runs."""
        if pid := self.init_pid:
            disks.plug(pid, letter, device.numbers, disk_id)

    def detach(self, letter: str, disk_id: str) -> None:
        """Make a disk disappear now, if the machine runs."""
        if pid := self.init_pid:
            disks.unplug(pid, letter, disk_id)

    def run_command(
        self, script: bytes, *, interpreter: str, working_dir: str, timeout_s: int, user: str
    ) -> CommandResult:
        """Run a script inside; the agent of a real machine starts with its systemd."""
        if not self._await_systemd(deadline_s=min(30, timeout_s)):
            sentence = f"instance {self.spec.instance_id} is not running, or has not booted yet\n"
            return CommandResult(exit_code=1, output=sentence.encode(), timed_out=False)
        command = self._podman.command(
            *("exec", "--interactive", "--user", user or "root"),
            *("--env", f"HOME={'/root' if user in ('', 'root') else '/home/' + user}"),
            *(self.name, "/bin/sh", "-c", assistant.runner(interpreter, working_dir, timeout_s)),
        )
        return assistant.execute(command, self._podman.environment, script, timeout_s)

    def console_output(self) -> str:
        """The last 64 KiB of the console, of all boots."""
        log = self._folder / "console.log"
        if not log.exists():
            return ""
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 2 * _CONSOLE_BYTES))
            raw = stream.read().decode(errors="replace")
        return console_text(raw)[-_CONSOLE_BYTES:]

    @property
    def _firmware(self) -> Path:
        return self._folder / "firmware"

    def _rootfs(self) -> list[str]:
        # ":O" puts a writable layer over it, which stop and start keep and rm deletes.
        return ["--rootfs", f"{self._root}:O", "/usr/sbin/ecs-init"]

    def _options(self) -> list[str]:
        capabilities = [*_CAPABILITIES]
        limits = []
        if _has_capability(_CAP_SYS_RESOURCE):
            capabilities.append("SYS_RESOURCE")
        else:
            # podman's defaults raise the hard limits, which only SYS_RESOURCE allows.
            limits = [
                *("--ulimit", _own_limit("nofile", 65536)),
                *("--ulimit", _own_limit("nproc", 16384)),
            ]
        options = [
            *("--systemd=always", "--tty", "--cgroupns=private", "--pids-limit=0"),
            *("--network", f"ns:/run/netns/{self.name}"),
            *("--hostname", self.spec.hostname, "--no-hosts", "--dns", DNS_ADDRESSES[0]),
            *("--cap-add", ",".join(capabilities), *limits),
            # Containers inside need their own /proc and /sys mounts.
            *("--security-opt", "unmask=ALL", "--security-opt", "apparmor=unconfined"),
            # Disks are loop devices that appear after the start.
            *("--device-cgroup-rule", "b 7:* rwm"),
            *("--log-driver", "k8s-file", "--log-opt", f"path={self._folder / 'console.log'}"),
            *("--log-opt", "max-size=16mb"),
            *("--volume", f"{self._firmware}:/opt/ecs-firmware:ro"),
            # overlayfs of the containers inside cannot lie on the overlayfs of the root.
            *("--volume", f"{self._folder / 'containers'}:/var/lib/containers"),
        ]
        if self.spec.memory_mib * 2**20 < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
            options += ["--memory", f"{self.spec.memory_mib}m"]
        return options

    def _await_systemd(self, deadline_s: float) -> bool:
        deadline = time.monotonic() + deadline_s
        while pid := self.init_pid:
            if Path(f"/proc/{pid}/root/run/systemd/private").exists():
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return False

    def _watch(self, init: int) -> None:
        _wait_for_end(init)
        try:
            with self.lock:
                if self._expected_end or self._init != init:
                    return
                restart = self._exit_code() == _REBOOT_CODE
                self._init = None
            self._ended(restart)
        finally:
            os.close(init)

    def _exit_code(self, deadline_s: float = 10) -> int | None:
        # podman learns of the end a moment after the kernel does.
        deadline = time.monotonic() + deadline_s
        while time.monotonic() < deadline:
            state = self._podman.state(self.name)
            if state is None:
                return None
            if state.status in ("exited", "stopped"):
                return state.exit_code
            time.sleep(0.05)
        return None


def console_text(log: str) -> str:
    """Text of a k8s-file log: ``<time> <stream> <F or P> <text>``, P for a line that goes on."""
    text = []
    for line in log.splitlines():
        fields = line.split(" ", 3)
        if len(fields) == 4 and fields[2] in ("F", "P"):
            text.append(fields[3].rstrip("\r") + ("\n" if fields[2] == "F" else ""))
    # Colours and cursor movements are for terminals.
    return re.sub(r"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[>=])", "", "".join(text))


def _has_ended(pidfd: int) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(0))


def _wait_for_end(pidfd: int) -> None:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    poller.poll()


def _own_limit(name: str, enough: int) -> str:
    _, hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))
    value = enough if hard == resource.RLIM_INFINITY else min(hard, enough)
    return f"{name}={value}:{value}"


def _has_capability(number: int) -> bool:
    status = Path("/proc/self/status").read_text()
    effective = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return effective is not None and bool(int(effective[1], 16) >> number & 1)
