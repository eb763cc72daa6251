"""The main job, rehearsed: from `pulumi up` to a checked video, and back to an empty cloud.

Every step runs the real thing (engine, provider, cloud-init, podman, gateway, smoke tests); only
the cloud's API, the GPU and ComfyUI itself are ours. ``README.md`` beside this file says what
that proves and what it does not.
"""

import json
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rich.table import Table

from rehearsal import emulator as cloud
from rehearsal.display import Display
from rehearsal.paths import REPOSITORY
from rehearsal.workspace import PulumiError, Tools, Workspace

OWNER = "rehearsal"
CHANGED_UPLOAD_MIB = 256
CHANGED_BANDWIDTH = 30
SIMULATED = (
    "Alibaba Cloud's API (our emulator)",
    "ComfyUI and the weights (a simulator of its API that draws its own pictures)",
)
"""What is not real in any rehearsal; each target adds its own."""


class RehearsalError(Exception):
    """The rehearsal found that something does not do what it should."""


@dataclass(frozen=True)
class Images:
    """Container images by digest, as the emulated registry serves them."""

    comfyui: str
    gateway: str


class Journey(ABC):
    """One rehearsal of a target in one state folder."""

    target: ClassVar[str]
    """Value of the config key ``target``."""
    simulated: ClassVar[tuple[str, ...]]
    """What is not real in a rehearsal of this target."""

    def __init__(self, folder: Path, display: Display) -> None:
        self.folder = folder
        self.display = display
        self.report = folder / "report"

    @property
    def cloud_state(self) -> Path:
        """Folder of the emulated cloud."""
        return self.folder / "cloud"

    @property
    def workspace_folder(self) -> Path:
        """Folder of the Pulumi workspace."""
        return self.folder / "workspace"

    def workspace(self, emulator: cloud.Emulator, tools: Tools) -> Workspace:
        """Return the Pulumi workspace that works on this emulator."""
        return Workspace(self.workspace_folder, tools, emulator.environment())

    def configure(self, workspace: Workspace, images: Images, operator_cidr: str) -> None:
        """Set the config that a rehearsal differs in; everything else keeps its default."""
        workspace.configure(
            {
                "target": self.target,
                "owner": OWNER,
                "expires": "never",
                "allowedCidrs": [operator_cidr],
                "comfyuiImage": images.comfyui,
                "gatewayImage": images.gateway,
                "imageVariant": "cpu",
                "deleteResultsOnDestroy": True,
                "readyTimeoutSeconds": 180,
                **self.differences(),
            }
        )

    @abstractmethod
    def differences(self) -> dict[str, Any]:
        """Return the config of this target that a rehearsal differs in."""

    @abstractmethod
    def changes(self) -> dict[str, Any]:
        """Return config that is to be applied to what runs, without replacing it."""

    @abstractmethod
    def lasting(self) -> tuple[str, ...]:
        """Return the outputs that :meth:`changes` must leave as they are."""

    @abstractmethod
    def facts(self, outputs: dict[str, Any]) -> dict[str, str]:
        """Return what the summary says of where the service runs, by title."""

    def up(self, workspace: Workspace) -> dict[str, Any]:
        """Create the stack with its live output on the terminal; return its outputs."""
        workspace.run("up", "--yes")
        return workspace.outputs()

    def nothing_to_do(self, workspace: Workspace) -> None:
        """Check that neither a preview nor a refresh finds a difference."""
        workspace.run("preview", "--expect-no-changes")
        workspace.run("refresh", "--yes", "--skip-preview", "--expect-no-changes")

    def smoke_test(self, outputs: dict[str, Any], name: str = "smoke") -> dict[str, Any]:
        """Run the smoke tests as a user would, with files for what is secret.

        Raises:
            RehearsalError: a test failed; its message is on the terminal and in the report.
        """
        files = self.credentials(outputs)
        artifacts = self.report / name
        command = [sys.executable, "-m", "smoke_tests", "--url", outputs["url"]]
        command += ["--token-file", str(files["token"]), "--ca-file", str(files["ca"])]
        command += ["--artifacts", str(artifacts), "--allow-simulated"]
        ended = subprocess.run(command, cwd=REPOSITORY, check=False)
        if ended.returncode != 0:
            raise RehearsalError(
                f"the smoke tests ended with status {ended.returncode}; see above and {artifacts}"
            )
        facts: dict[str, Any] = json.loads((artifacts / "report.json").read_text())
        return facts

    def credentials(self, outputs: dict[str, Any]) -> dict[str, Path]:
        """Write token and CA of the deployment to files that only the user may read."""
        files = {"token": self.folder / "token", "ca": self.folder / "ca.pem"}
        for name, key in (("token", "apiToken"), ("ca", "caCertificate")):
            descriptor = os.open(files[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(outputs[key])
        return files

    def change_in_place(self, workspace: Workspace, before: dict[str, Any]) -> None:
        """Apply :meth:`changes` to what runs.

        Raises:
            RehearsalError: something was replaced.
        """
        workspace.configure(self.changes())
        workspace.run("up", "--yes", "--skip-preview")
        after = workspace.outputs()
        for key in self.lasting():
            if before[key] != after[key]:
                raise RehearsalError(
                    f"a change of {', '.join(self.changes())} changed the output {key} too; it "
                    "should have been applied in place"
                )

    def destroy(self, workspace: Workspace, emulator: cloud.Emulator) -> None:
        """Destroy the stack and check that the cloud is empty and was asked nothing unknown.

        Raises:
            RehearsalError: something is left, or the provider called what is not emulated.
        """
        workspace.run("destroy", "--yes", "--skip-preview")
        status = emulator.call("GET", "/status")
        if not status["empty"]:
            raise RehearsalError(f"`pulumi destroy` left in the cloud: {status['resources']}")
        if status["unknown_actions"]:
            raise RehearsalError(
                f"calls that the emulator does not know: {status['unknown_actions']}"
            )

    def created(self, workspace: Workspace) -> Table:
        """Return a table of what the stack consists of."""
        table = Table(title="Created", title_justify="left")
        table.add_column("Type")
        table.add_column("Name")
        table.add_column("Id", overflow="fold")
        for row in workspace.resources():
            if row.get("custom") and not row["type"].startswith("pulumi:"):
                table.add_row(row["type"], row["urn"].rsplit("::", 1)[1], str(row.get("id", "")))
        return table

    def how_to_use(self, workspace: Workspace, outputs: dict[str, Any]) -> str:
        """Return what to type next while the rehearsal is kept running."""
        files = self.credentials(outputs)
        script = workspace.write_environment(self.folder / "environment.sh")
        python = Path(sys.executable)
        return (
            f"Open {outputs['url']} in a browser on this machine.\n"
            f"  The certificate's authority is in {files['ca']}, the token in {files['token']}.\n"
            f"Smoke test: {python} -m smoke_tests --url {outputs['url']} --token-file "
            f"{files['token']} --ca-file {files['ca']} --allow-simulated\n"
            f"Pulumi: cd {workspace.folder} && source {script}\n"
            "  then pulumi preview, pulumi up, pulumi destroy as usual.\n"
            "Remove everything: make rehearsal-clean"
        )


class EcsJourney(Journey):
    """One GPU machine."""

    target = "ecs"
    simulated = (
        *SIMULATED,
        "the GPU and its driver (gpuDriver: none)",
        "the machine's system image (Debian 13 instead of Ubuntu 24.04)",
    )

    def differences(self) -> dict[str, Any]:
        """No driver, and a small disk."""
        return {"gpuDriver": "none", "dataDiskGiB": 20}

    def changes(self) -> dict[str, Any]:
        """One setting of the cloud's and one of the node's."""
        return {"eipBandwidthMbps": CHANGED_BANDWIDTH, "maxUploadMiB": CHANGED_UPLOAD_MIB}

    def lasting(self) -> tuple[str, ...]:
        """Machine, address and secrets."""
        return ("instanceId", "publicIp", "apiToken", "url")

    def facts(self, outputs: dict[str, Any]) -> dict[str, str]:
        """The machine and its price."""
        machine = f"{outputs['instanceType']} in {outputs['zone']}"
        return {"Machine": machine, "Price": str(outputs["costPerHour"])}


JOURNEYS: dict[str, type[Journey]] = {each.target: each for each in (EcsJourney,)}

__all__ = ["JOURNEYS", "Images", "Journey", "PulumiError", "RehearsalError"]
