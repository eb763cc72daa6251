"""Runs the machines of one rehearsal: ties containers, network, disks, DNS and registry together.

What exists is written down below the state folder, so a process that starts again with the same
folder finds its machines as they are.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from pathlib import Path

from rehearsal.artifacts import Artifacts
from rehearsal.cloud.hypervisor import CommandResult, FirewallRule, MachineSpec, NodeNetwork
from rehearsal.machine import namespaces
from rehearsal.machine.book import Book, MachineRow
from rehearsal.machine.disks import DiskStore, virtio_link
from rehearsal.machine.dns import DnsServer
from rehearsal.machine.errors import MachineError
from rehearsal.machine.machine import Machine
from rehearsal.machine.network import CloudNetwork
from rehearsal.machine.ownership import take_slot
from rehearsal.machine.podman import Podman
from rehearsal.machine.prerequisites import require_machines
from rehearsal.machine.registry import Registry
from rehearsal.machine.ruleset import Endpoint, match
from rehearsal.machine.slots import DNS_ADDRESSES, METADATA_ADDRESS

_LOG = logging.getLogger(__name__)
_LETTERS = "bcdefghijklmnopq"  # sixteen data disks, as ECS allows
_MACHINES = 64


class PodmanHypervisor:
    """Implements ``rehearsal.cloud.hypervisor.Hypervisor`` with podman.

    Args:
        state_dir: folder of the rehearsal; the hypervisor keeps its files in ``vr<slot>/`` there.
            It must lie on a real file system (ext4, xfs), not on an overlay.
        slot: 0 to 15; None takes the slot that this folder had before, or else the first free one.
        ca_certificate: PEM file of the emulated cloud's authority; machines trust it.
        ca_key: PEM file of its key; signs the registry's certificate.
        artifacts: where machines and images come from; builds the machine's root if needed.

    Raises PrerequisitesError, SlotBusyError, or ArtifactError.
    """

    def __init__(
        self,
        state_dir: Path,
        slot: int | None,
        ca_certificate: Path,
        ca_key: Path,
        artifacts: Artifacts | None = None,
    ) -> None:
        state_dir = state_dir.resolve()
        require_machines(state_dir)
        artifacts = artifacts or Artifacts()
        self._root = artifacts.machine_root()
        self._ca_certificate = ca_certificate
        self._lock = threading.RLock()
        self._closed = threading.Event()
        with contextlib.ExitStack() as undo:
            self.slot, lock_file = take_slot(state_dir, slot)
            undo.callback(lock_file.close)
            self._folder = self.slot.folder(state_dir)
            self._folder.mkdir(parents=True, exist_ok=True)
            self._podman = Podman(self.slot, state_dir)
            self._podman.prepare()
            self._book = Book(self._folder / "book.json")
            self._disks = DiskStore(self._folder / "disks")
            self._network = CloudNetwork(self.slot)
            self._network.ensure()
            # A registry that outlived its rehearsal's process.
            namespaces.kill_processes(self.slot.cloud_namespace)
            registry = Registry(
                self.slot.cloud_namespace,
                artifacts.registry_storage,
                self._folder / "registry",
                ca_certificate,
                ca_key,
            )
            undo.callback(registry.close)
            dns = self._serve_names()
            undo.callback(dns.close)
            self._sockets = NodeNetwork(
                imds=self._network.listen(METADATA_ADDRESS, 80),
                api=self._network.listen(METADATA_ADDRESS, 443),
            )
            undo.callback(self._sockets.imds.close)
            undo.callback(self._sockets.api.close)
            self._machines = {
                instance_id: self._machine(row) for instance_id, row in self._book.machines.items()
            }
            self._update_firewall()
            for machine in self._machines.values():
                machine.adopt()
            self._held = undo.pop_all()

    @property
    def public_addresses(self) -> list[str]:
        """Addresses that this slot can give to machines."""
        return self.slot.public_addresses

    # Machines

    def launch(self, spec: MachineSpec) -> None:
        """Boot a machine; returns when its init has been started. Idempotent."""
        with self._lock:
            machine = self._machines.get(spec.instance_id)
            if machine is None:
                row = MachineRow(self._free_index(spec), spec)
                self._network.add_machine(row.index, spec.private_ip, spec.mac)
                self._book.machines[spec.instance_id] = row
                self._book.save()
                self._update_firewall()
                machine = self._machines[spec.instance_id] = self._machine(row)
        with machine.lock:
            if not machine.exists():
                machine.prepare(self._ca_certificate)
                machine.create()
            machine.start()

    def stop(self, instance_id: str, *, force: bool) -> None:
        """Shut a machine down, or switch it off with ``force``."""
        machine = self._known(instance_id)
        self._want(instance_id, running=False)
        machine.stop(force=force)

    def start(self, instance_id: str) -> None:
        """Start a stopped machine with the disks and addresses that it has."""
        machine = self._known(instance_id)
        self._want(instance_id, running=True)
        with self._lock:
            row = self._book.machine(instance_id)
            if not self._network.has_machine(row.index):
                # This computer was rebooted since.
                self._network.add_machine(row.index, row.spec.private_ip, row.spec.mac)
                self._update_firewall()
            self._list_disks(instance_id)
        machine.start()

    def reboot(self, instance_id: str, *, force: bool) -> None:
        """Stop and start."""
        self.stop(instance_id, force=force)
        self.start(instance_id)

    def destroy(self, instance_id: str) -> None:
        """Remove a machine with all that it has written, except its data disks. Idempotent."""
        with self._lock:
            machine = self._machines.get(instance_id)
            if machine is None:
                return
            self._want(instance_id, running=False)
        machine.delete()
        with self._lock:
            row = self._book.machines.pop(instance_id, None)
            self._machines.pop(instance_id, None)
            if row is None:
                return
            for disk_id in row.disks:
                self._disks.release(disk_id)
            self._book.rules.pop(instance_id, None)
            for address in [a for a, i in self._book.addresses.items() if i == instance_id]:
                del self._book.addresses[address]
            self._book.save()
            self._network.remove_machine(row.index)
            self._update_firewall()

    def is_running(self, instance_id: str) -> bool:
        """Whether the machine's init is alive; False for an unknown machine."""
        machine = self._machines.get(instance_id)
        return machine is not None and machine.is_running()

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
        """Run a script inside the machine and wait for it; waits for systemd while it boots."""
        return self._known(instance_id).run_command(
            command,
            interpreter=interpreter,
            working_dir=working_dir,
            timeout_s=timeout_s,
            user=user,
        )

    def console_output(self, instance_id: str) -> str:
        """What the machine wrote to its console, journal included: the last 64 KiB."""
        return self._known(instance_id).console_output()

    # Disks

    def create_disk(self, disk_id: str, size_gib: int) -> None:
        """Make an empty data disk; it takes space on this computer as it is written."""
        with self._lock:
            if disk_id in self._book.disks:
                raise MachineError(
                    f"disk {disk_id} exists already, with {self._book.disks[disk_id]} GiB; "
                    "ids are unique. Delete it first, or resize it."
                )
            self._disks.create(disk_id, size_gib)
            self._book.disks[disk_id] = size_gib
            self._book.save()

    def resize_disk(self, disk_id: str, size_gib: int) -> None:
        """Grow a data disk. Raises MachineError when it would shrink."""
        with self._lock:
            old = self._book.disk(disk_id)
            if size_gib < old:
                raise MachineError(
                    f"disk {disk_id} has {old} GiB and {size_gib} GiB were asked for; a disk can "
                    "only grow, because what is on it would be cut off"
                )
            self._disks.resize(disk_id, size_gib)
            self._book.disks[disk_id] = size_gib
            self._book.save()

    def delete_disk(self, disk_id: str) -> None:
        """Remove a data disk and what is on it; nothing if there is none."""
        with self._lock:
            if holder := self._book.holder(disk_id):
                self.detach_disk(holder, disk_id)
            self._disks.delete(disk_id)
            if self._book.disks.pop(disk_id, None) is not None:
                self._book.save()

    def attach_disk(self, instance_id: str, disk_id: str) -> str:
        """Plug a disk in; it stays across stop, start and reboot. Returns ``/dev/xvdb`` ...

        Inside, the device is ``/dev/vdb``, and ``/dev/disk/by-id/virtio-<id without d->`` links to
        it, as on ECS.
        """
        with self._lock:
            row = self._book.machine(instance_id)
            self._book.disk(disk_id)
            holder = self._book.holder(disk_id)
            if holder not in (None, instance_id):
                raise MachineError(
                    f"disk {disk_id} is attached to {holder}; a disk belongs to one machine at a "
                    f"time. Detach it there before it is attached to {instance_id}."
                )
            if disk_id not in row.disks:
                row.disks[disk_id] = next(c for c in _LETTERS if c not in row.disks.values())
                self._book.save()
            letter = row.disks[disk_id]
            self._list_disks(instance_id)
            self._machines[instance_id].attach(letter, self._disks.acquire(disk_id), disk_id)
            return f"/dev/xvd{letter}"

    def detach_disk(self, instance_id: str, disk_id: str) -> None:
        """Pull a disk out; what is mounted from it is written out and fails from then on."""
        with self._lock:
            row = self._book.machine(instance_id)
            letter = row.disks.pop(disk_id, None)
            if letter is None:
                return
            self._disks.release(disk_id)
            self._machines[instance_id].detach(letter, disk_id)
            self._list_disks(instance_id)
            self._book.save()

    # Network

    def associate_address(self, instance_id: str, public_ip: str) -> None:
        """Make the machine reachable from this computer at ``public_ip``."""
        if public_ip not in self.public_addresses:
            raise MachineError(
                f"public address {public_ip} is not of slot {self.slot.number}; allowed are "
                f"{self.public_addresses[0]} to {self.public_addresses[-1]}, because only those "
                "are routed to it. Allocate one of `public_addresses`."
            )
        with self._lock:
            self._book.machine(instance_id)
            self._book.addresses[public_ip] = instance_id
            self._book.save()
            self._update_firewall()

    def disassociate_address(self, public_ip: str) -> None:
        """Take the address away; connections through it end."""
        with self._lock:
            if self._book.addresses.pop(public_ip, None) is not None:
                self._book.save()
                self._update_firewall()

    def apply_rules(self, instance_id: str, rules: list[FirewallRule]) -> None:
        """Replace a machine's security group rules; also before its launch."""
        for rule in rules:
            match(rule)
        with self._lock:
            self._book.rules[instance_id] = list(rules)
            self._book.save()
            self._update_firewall()

    def network_sockets(self) -> NodeNetwork:
        """The listening sockets of metadata service and API; they close with the hypervisor."""
        return self._sockets

    def close(self) -> None:
        """Stop DNS, registry and sockets, and leave the slot; machines stay as they are.

        ``rehearsal.machine.cleanup.clean_slot`` removes them.
        """
        self._closed.set()
        self._held.close()

    # Inside

    def _known(self, instance_id: str) -> Machine:
        with self._lock:
            self._book.machine(instance_id)
            return self._machines[instance_id]

    def _want(self, instance_id: str, *, running: bool) -> None:
        with self._lock:
            self._book.machine(instance_id).wanted = running
            self._book.save()

    def _machine(self, row: MachineRow) -> Machine:
        instance_id = row.spec.instance_id

        def ended(restart: bool) -> None:
            self._machine_ended(instance_id, restart=restart)

        return Machine(
            self.slot.machine_name(row.index),
            row.spec,
            folder=self._folder / "machines" / instance_id,
            podman=self._podman,
            root=self._root,
            ended=ended,
        )

    def _machine_ended(self, instance_id: str, *, restart: bool) -> None:
        with self._lock:
            row = self._book.machines.get(instance_id)
            if row is None or not row.wanted or self._closed.is_set():
                return
        if restart:
            _LOG.info("machine %s reboots", instance_id)
            self.start(instance_id)
        else:
            _LOG.info("machine %s has shut itself down", instance_id)
            self._want(instance_id, running=False)

    def _free_index(self, spec: MachineSpec) -> int:
        for row in self._book.machines.values():
            if row.spec.private_ip == spec.private_ip:
                raise MachineError(
                    f"machine {spec.instance_id} was given the private address {spec.private_ip}, "
                    f"which {row.spec.instance_id} has; the machines of a slot share one network. "
                    "Give another address, or destroy the other machine."
                )
        taken = {row.index for row in self._book.machines.values()}
        return next(index for index in range(1, _MACHINES) if index not in taken)

    def _list_disks(self, instance_id: str) -> None:
        lines = []
        for disk_id, letter in self._book.machine(instance_id).disks.items():
            major, minor = self._disks.acquire(disk_id).numbers
            lines.append(f"vd{letter} {major} {minor} {virtio_link(disk_id)}")
        self._machines[instance_id].list_disks(lines)

    def _update_firewall(self) -> None:
        endpoints = {
            instance_id: Endpoint(
                row.index, row.spec.private_ip, tuple(self._book.rules.get(instance_id, ()))
            )
            for instance_id, row in self._book.machines.items()
            if self._network.has_machine(row.index)
        }
        addresses = {
            address: endpoints[instance_id]
            for address, instance_id in self._book.addresses.items()
            if instance_id in endpoints
        }
        self._network.apply(list(endpoints.values()), addresses)

    def _serve_names(self) -> DnsServer:
        datagrams = [self._network.datagrams(address, 53) for address in DNS_ADDRESSES]
        streams = [self._network.listen(address, 53) for address in DNS_ADDRESSES]
        return DnsServer(datagrams, streams)
