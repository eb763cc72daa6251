"""podman with storage, run root and configuration of its own: never the user's containers."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from rehearsal.machine.errors import ToolFailedError
from rehearsal.machine.slots import Slot
from rehearsal.machine.tools import run

_CONFIGURATION = """\
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
[network]
network_config_dir = "{networks}"
"""
_STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{root}"
runroot = "{run_root}"
"""


@dataclass(frozen=True)
class ContainerState:
    """What podman knows about a container."""

    status: str
    pid: int
    """Process id of the machine's init on this computer; 0 when it does not run."""
    exit_code: int


class Podman:
    """Runs podman commands for one slot."""

    def __init__(self, slot: Slot, state: Path) -> None:
        self._folder = slot.folder(state) / "podman"
        self._run_folder = slot.run_folder

    def prepare(self) -> None:
        """Write the configuration."""
        for name in ("storage", "networks"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        self._run_folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "containers.conf").write_text(
            _CONFIGURATION.format(networks=self._folder / "networks")
        )
        (self._folder / "storage.conf").write_text(
            _STORAGE.format(root=self._folder / "storage", run_root=self._run_folder)
        )

    @property
    def folder(self) -> Path:
        """Everything of podman's that is on disk."""
        return self._folder

    @property
    def environment(self) -> dict[str, str]:
        """Environment for podman: nothing of the caller's but PATH."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._folder),
            "CONTAINERS_CONF": str(self._folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self._folder / "storage.conf"),
        }

    def command(self, *arguments: str) -> list[str]:
        """The whole command line of a podman command."""
        return [
            "podman",
            *("--root", str(self._folder / "storage"), "--runroot", str(self._run_folder)),
            *("--tmpdir", str(self._run_folder / "tmp"), "--storage-driver", "overlay"),
            *arguments,
        ]

    def run(self, *arguments: str, timeout_s: float = 90) -> str:
        """Standard output of a podman command."""
        return run(*self.command(*arguments), env=self.environment, timeout_s=timeout_s)

    def state(self, name: str) -> ContainerState | None:
        """State of a container, or None when there is no such container."""
        try:
            text = self.run("container", "inspect", "--format", "{{json .State}}", name)
        except ToolFailedError as error:
            if "no such container" in error.output.lower():
                return None
            raise
        row = json.loads(text)
        return ContainerState(row["Status"], row["Pid"], row["ExitCode"])

    def remove(self, name: str) -> None:
        """Kill and delete a container with its writable layer; nothing if there is none."""
        self.run("rm", "--force", "--ignore", "--time", "0", name)
