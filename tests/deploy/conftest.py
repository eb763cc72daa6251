"""The real engine and provider against the emulated cloud, without machines behind it.

The provider is the variant with scaled waits: the same code, only its fixed delays are shorter.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rehearsal.cloud.emulator import Emulator, Endpoints
from rehearsal.cloud.hypervisor import CommandResult, NullHypervisor
from rehearsal.cloud.state import Cloud, Settings
from rehearsal.emulator import ENDPOINT_PRODUCTS
from rehearsal.paths import REPOSITORY
from rehearsal.workspace import PulumiError, Tools, Workspace, end_leftovers

DIGEST = "sha256:" + "ab" * 32
CONFIG: dict[str, Any] = {
    "owner": "tests",
    "comfyuiImage": f"registry.vace.internal/vace/comfyui@{DIGEST}",
    "gatewayImage": f"registry.vace.internal/vace/gateway@{DIGEST}",
    "allowedCidrs": ["198.18.0.0/30"],
    "imageVariant": "cpu",
    "gpuDriver": "none",
    "deleteResultsOnDestroy": True,
    "readyTimeoutSeconds": 60,
}


@pytest.fixture(scope="session")
def tools() -> Tools:
    """The engine and the provider with scaled waits."""
    command = [sys.executable, str(REPOSITORY / "rehearsal" / "toolchain" / "provision.py")]
    command += ["--variant", "fast"]
    subprocess.run(command, check=True)
    answer = subprocess.run([*command, "--print-env"], check=True, text=True, capture_output=True)
    facts = json.loads(answer.stdout)
    return Tools(Path(facts["pulumi"]), tuple(facts["path_prepend"]), Path(facts["pulumi_home"]))


class Deployment:
    """One stack on one emulated cloud."""

    def __init__(self, folder: Path, tools: Tools) -> None:
        self.hypervisor = NullHypervisor()
        self.hypervisor.command_handler = lambda _instance, _command: CommandResult(
            exit_code=0, output=b"ready", timed_out=False
        )
        cloud = Cloud(folder / "cloud", Settings(time_scale=0.01), self.hypervisor)
        self.emulator = Emulator(cloud)
        self.endpoints: Endpoints = self.emulator.start()
        self.workspace = Workspace(folder / "workspace", tools, self.environment())
        self.workspace.prepare()
        self.workspace.configure(CONFIG)

    def environment(self) -> dict[str, str]:
        key = self.emulator.root_key
        return {
            **{
                f"ALIBABA_CLOUD_ENDPOINT_{name}": self.endpoints.endpoint
                for name in ENDPOINT_PRODUCTS
            },
            "ALIBABA_CLOUD_ACCESS_KEY_ID": key.access_key_id,
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET": key.secret,
            "ALICLOUD_REGION": "cn-hangzhou",
            "ALIBABA_CLOUD_ACCOUNT_TYPE": "Domestic",
            "SSL_CERT_FILE": str(self.endpoints.ca),
            "WAN_VACE_TIME_SCALE": "0.01",
        }

    def pulumi(self, *arguments: str) -> str:
        """Run a Pulumi command that must succeed; return what it printed."""
        return self.workspace.run(*arguments, capture=True)

    def fails(self, *arguments: str) -> str:
        """Run a Pulumi command that must fail; return what it printed."""
        process = self.workspace.start(*arguments, capture=True)
        output, _ = process.communicate(timeout=110)
        assert process.returncode != 0, output
        return output

    def recover(self) -> str:
        """Run ``python -m infra.recover`` as a user would; return what it printed."""
        ended = subprocess.run(
            [sys.executable, "-m", "infra.recover"],
            cwd=self.workspace.folder,
            env=self.workspace.environment(),
            check=False,
            text=True,
            capture_output=True,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def left(self) -> dict[str, Any]:
        """Return what exists in the emulated cloud."""
        return dict(self.control("GET", "/status")["resources"])

    def unknown_actions(self) -> list[Any]:
        return list(self.control("GET", "/status")["unknown_actions"])

    def control(self, method: str, path: str, body: Any = None) -> Any:
        from rehearsal.emulator import Emulator as Client  # noqa: PLC0415

        client = Client(
            state=Path(),
            endpoint=self.endpoints.endpoint,
            control=self.endpoints.control,
            ca=self.endpoints.ca,
            access_key_id="",
            access_key_secret="",
            region="",
        )
        return client.call(method, path, body)

    def calls(self) -> list[dict[str, Any]]:
        return list(self.control("GET", "/calls?since=0"))

    def close(self) -> None:
        # A test may have killed the engine, which then cannot end its plugins.
        end_leftovers(self.workspace.folder)
        self.emulator.stop()


@pytest.fixture
def deployment(tmp_path: Path, tools: Tools) -> Iterator[Deployment]:
    """A configured, empty stack."""
    made = Deployment(tmp_path, tools)
    yield made
    made.close()


__all__ = ["Deployment", "PulumiError"]
