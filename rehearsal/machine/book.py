"""What must outlive the process: which machines, disks, addresses and rules there are."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rehearsal.cloud.hypervisor import FirewallRule, MachineNotFoundError, MachineSpec


@dataclass
class MachineRow:
    """One machine; ``disks`` maps disk ids to the letter of their device."""

    index: int
    spec: MachineSpec
    wanted: bool = True
    """Whether the machine should run; False after a stop, also one from inside."""
    disks: dict[str, str] = field(default_factory=dict)


class Book:
    """Rows in memory, written as one JSON file after each change. Callers hold the lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.machines: dict[str, MachineRow] = {}
        self.disks: dict[str, int] = {}
        """Size in GiB by disk id."""
        self.addresses: dict[str, str] = {}
        """Instance id by public address."""
        self.rules: dict[str, list[FirewallRule]] = {}
        if path.exists():
            self._load(json.loads(path.read_text()))

    def machine(self, instance_id: str) -> MachineRow:
        """The row of a machine. Raises MachineNotFoundError."""
        if instance_id not in self.machines:
            raise MachineNotFoundError(
                f"no machine {instance_id}; known: {_listed(self.machines)}. Launch it first."
            )
        return self.machines[instance_id]

    def disk(self, disk_id: str) -> int:
        """Size of a disk in GiB. Raises MachineNotFoundError."""
        if disk_id not in self.disks:
            raise MachineNotFoundError(
                f"no disk {disk_id}; known: {_listed(self.disks)}. Create it first."
            )
        return self.disks[disk_id]

    def holder(self, disk_id: str) -> str | None:
        """Instance that a disk is attached to."""
        for instance_id, row in self.machines.items():
            if disk_id in row.disks:
                return instance_id
        return None

    def save(self) -> None:
        """Write everything; a reader sees the old or the new file, never a part."""
        document = {
            "machines": {key: asdict(row) for key, row in self.machines.items()},
            "disks": self.disks,
            "addresses": self.addresses,
            "rules": {key: [asdict(rule) for rule in rows] for key, rows in self.rules.items()},
        }
        temporary = self._path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(document, indent=1))
        temporary.replace(self._path)

    def _load(self, document: dict[str, Any]) -> None:
        for key, row in document["machines"].items():
            self.machines[key] = MachineRow(**{**row, "spec": MachineSpec(**row["spec"])})
        self.disks = document["disks"]
        self.addresses = document["addresses"]
        self.rules = {
            key: [FirewallRule(**row) for row in rows] for key, rows in document["rules"].items()
        }


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
