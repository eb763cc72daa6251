"""What the emulated cloud asks of the thing that runs machines, and a stand-in without machines."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class MachineSpec:
    """What a machine needs to boot; everything else it learns from the metadata service."""

    instance_id: str
    hostname: str
    private_ip: str
    mac: str
    zone_id: str
    memory_mib: int
    image_id: str


@dataclass(frozen=True)
class FirewallRule:
    """One security group rule after flattening.

    ``protocol`` is tcp, udp, icmp or all; ports are -1/-1 when they do not apply. Among rules that
    match, the lowest ``priority`` number wins, and drop wins over accept at the same number.
    """

    direction: Literal["ingress", "egress"]
    protocol: str
    port_low: int
    port_high: int
    cidr: str
    policy: Literal["accept", "drop"]
    priority: int


@dataclass(frozen=True)
class CommandResult:
    """What a Cloud Assistant command left behind; ``output`` is stdout and stderr together."""

    exit_code: int
    output: bytes
    timed_out: bool


@dataclass(frozen=True)
class NodeNetwork:
    """Listening TCP sockets inside the machines' network.

    ``imds`` listens at 100.100.100.200:80, ``api`` at 100.100.100.200:443.
    """

    imds: socket.socket
    api: socket.socket


class Hypervisor(Protocol):
    """Runs machines, disks and their network. All methods may be called from any thread."""

    def launch(self, spec: MachineSpec) -> None:
        """Start a machine; returns when its init has been started. Idempotent."""

    def stop(self, instance_id: str, *, force: bool) -> None:
        """Stop a machine; ``force`` skips the orderly shutdown."""

    def start(self, instance_id: str) -> None:
        """Start a stopped machine with the disks that it had."""

    def reboot(self, instance_id: str, *, force: bool) -> None:
        """Stop and start."""

    def destroy(self, instance_id: str) -> None:
        """Remove everything of the instance except its data disks. Idempotent."""

    def is_running(self, instance_id: str) -> bool:
        """Whether the machine's init is alive."""

    def create_disk(self, disk_id: str, size_gib: int) -> None:
        """Make an empty data disk of ``size_gib`` GiB."""

    def resize_disk(self, disk_id: str, size_gib: int) -> None:
        """Grow a data disk to ``size_gib`` GiB."""

    def delete_disk(self, disk_id: str) -> None:
        """Remove a data disk and what is on it."""

    def attach_disk(self, instance_id: str, disk_id: str) -> str:
        """Attach a data disk, also across reboots; returns the device name (``/dev/xvdb``)."""

    def detach_disk(self, instance_id: str, disk_id: str) -> None:
        """Take a data disk off the machine."""

    def associate_address(self, instance_id: str, public_ip: str) -> None:
        """Make the machine reachable at ``public_ip``."""

    def disassociate_address(self, public_ip: str) -> None:
        """Take ``public_ip`` away from whichever machine has it."""

    def apply_rules(self, instance_id: str, rules: list[FirewallRule]) -> None:
        """Replace the machine's firewall: ingress is dropped and egress accepted by default."""

    def run_command(
        self,
        instance_id: str,
        command: bytes,
        *,
        interpreter: str,
        working_dir: str,
        timeout_s: int,
        user: str,
    ) -> CommandResult:
        """Run a script inside the machine and wait for it."""

    def console_output(self, instance_id: str) -> str:
        """What the machine wrote to its console."""

    def network_sockets(self) -> NodeNetwork | None:
        """The sockets through which machines reach the cloud; None when machines have none."""

    def close(self) -> None:
        """Release what the hypervisor itself holds; machines stay as they are."""


class MachineNotFoundError(LookupError):
    """An operation named an instance or a disk that the hypervisor does not have."""


CommandHandler = Callable[[str, bytes], CommandResult]


class NullHypervisor:
    """Keeps the book on machines without running any: for tests and runs of the API alone.

    A command cannot be run without a machine, so it fails with a sentence saying so, unless a
    test sets ``command_handler``.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.machines: dict[str, MachineSpec] = {}
        self.running: set[str] = set()
        self.disks: dict[str, int] = {}
        self.attachments: dict[str, list[str]] = {}
        self.addresses: dict[str, str] = {}
        self.rules: dict[str, list[FirewallRule]] = {}
        self.commands: list[tuple[str, bytes]] = []
        self.command_handler: CommandHandler | None = None

    def launch(self, spec: MachineSpec) -> None:
        """Note the machine as running."""
        with self._lock:
            self.machines[spec.instance_id] = spec
            self.running.add(spec.instance_id)

    def stop(self, instance_id: str, *, force: bool) -> None:
        """Note the machine as stopped."""
        with self._lock:
            self._known(instance_id)
            self.running.discard(instance_id)

    def start(self, instance_id: str) -> None:
        """Note the machine as running."""
        with self._lock:
            self._known(instance_id)
            self.running.add(instance_id)

    def reboot(self, instance_id: str, *, force: bool) -> None:
        """Stop and start."""
        with self._lock:
            self.stop(instance_id, force=force)
            self.start(instance_id)

    def destroy(self, instance_id: str) -> None:
        """Forget the machine."""
        with self._lock:
            self.machines.pop(instance_id, None)
            self.running.discard(instance_id)
            self.attachments.pop(instance_id, None)
            self.rules.pop(instance_id, None)
            for address in [a for a, owner in self.addresses.items() if owner == instance_id]:
                del self.addresses[address]

    def is_running(self, instance_id: str) -> bool:
        """Whether the machine was launched or started and not stopped since."""
        with self._lock:
            return instance_id in self.running

    def create_disk(self, disk_id: str, size_gib: int) -> None:
        """Note the disk and its size."""
        with self._lock:
            self.disks[disk_id] = size_gib

    def resize_disk(self, disk_id: str, size_gib: int) -> None:
        """Note the new size."""
        with self._lock:
            self._known_disk(disk_id)
            self.disks[disk_id] = size_gib

    def delete_disk(self, disk_id: str) -> None:
        """Forget the disk."""
        with self._lock:
            self.disks.pop(disk_id, None)

    def attach_disk(self, instance_id: str, disk_id: str) -> str:
        """Note the attachment; devices are /dev/xvdb, /dev/xvdc ... in order of attachment."""
        with self._lock:
            self._known(instance_id)
            self._known_disk(disk_id)
            attached = self.attachments.setdefault(instance_id, [])
            if disk_id not in attached:
                attached.append(disk_id)
            return f"/dev/xvd{chr(ord('b') + attached.index(disk_id))}"

    def detach_disk(self, instance_id: str, disk_id: str) -> None:
        """Forget the attachment."""
        with self._lock:
            attached = self.attachments.get(instance_id, [])
            if disk_id in attached:
                attached.remove(disk_id)

    def associate_address(self, instance_id: str, public_ip: str) -> None:
        """Note the address."""
        with self._lock:
            self._known(instance_id)
            self.addresses[public_ip] = instance_id

    def disassociate_address(self, public_ip: str) -> None:
        """Forget the address."""
        with self._lock:
            self.addresses.pop(public_ip, None)

    def apply_rules(self, instance_id: str, rules: list[FirewallRule]) -> None:
        """Note the rules."""
        with self._lock:
            self.rules[instance_id] = list(rules)

    def run_command(
        self,
        instance_id: str,
        command: bytes,
        *,
        interpreter: str,
        working_dir: str,
        timeout_s: int,
        user: str,
    ) -> CommandResult:
        """Record the command; answer with the test's handler, or with exit code 1."""
        with self._lock:
            self._known(instance_id)
            self.commands.append((instance_id, command))
            handler = self.command_handler
        if handler is not None:
            return handler(instance_id, command)
        sentence = (
            f"instance {instance_id} has no machine behind it: the emulator was started with "
            "--machines none; start it with --machines podman to run commands\n"
        )
        return CommandResult(exit_code=1, output=sentence.encode(), timed_out=False)

    def console_output(self, instance_id: str) -> str:
        """Always empty: nothing boots."""
        with self._lock:
            self._known(instance_id)
        return ""

    def network_sockets(self) -> NodeNetwork | None:
        """None: there is no network for machines."""
        return None

    def close(self) -> None:
        """Nothing to release."""

    def _known(self, instance_id: str) -> None:
        if instance_id not in self.machines:
            raise MachineNotFoundError(
                f"no machine {instance_id}; known: {sorted(self.machines)}. Launch it first."
            )

    def _known_disk(self, disk_id: str) -> None:
        if disk_id not in self.disks:
            raise MachineNotFoundError(
                f"no disk {disk_id}; known: {sorted(self.disks)}. Create it first."
            )
