"""Machines for the emulated cloud: systemd containers that boot as ECS instances do."""

from rehearsal.machine.errors import (
    MachineError,
    PrerequisitesError,
    SlotBusyError,
    ToolFailedError,
)
from rehearsal.machine.hypervisor import PodmanHypervisor

__all__ = [
    "MachineError",
    "PodmanHypervisor",
    "PrerequisitesError",
    "SlotBusyError",
    "ToolFailedError",
]
