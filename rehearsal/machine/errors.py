"""Errors of the machines.

MachineError
├── PrerequisitesError  this computer cannot run machines; lists everything that is missing
├── SlotBusyError       another rehearsal that is alive owns the slot
└── ToolFailedError     a program (podman, ip, nft, losetup) failed
An unknown instance or disk raises ``rehearsal.cloud.hypervisor.MachineNotFoundError``.
"""

from __future__ import annotations

from collections.abc import Sequence


class MachineError(Exception):
    """A machine, disk or network could not be brought into the state that was asked for."""


class PrerequisitesError(MachineError):
    """This computer lacks something that machines need."""


class SlotBusyError(MachineError):
    """A slot is in use by a rehearsal that is alive."""


class ToolFailedError(MachineError):
    """A program failed; the message has its last words."""

    def __init__(self, command: Sequence[str], exit_code: int, output: str) -> None:
        words = output.strip() or "it wrote nothing"
        super().__init__(f"`{' '.join(command)}` ended with status {exit_code}: {words}")
        self.exit_code = exit_code
        self.output = output
