"""One stack with a machine behind it, and short ways to use it as its users would."""

import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
from alibabacloud_credentials.utils import auth_util

from infra import assistant, openapi
from rehearsal import emulator as cloud
from rehearsal.cli import provide_images, provide_tools, slots_of
from rehearsal.display import Display
from rehearsal.journey import EcsJourney
from rehearsal.machine.slots import Slot
from smoke_tests.comfy_client import ComfyClient, Target
from tests.rehearsal.polling import eventually

TIME_SCALE = 0.001
"""The emulated cloud changes its statuses at once, as in a rehearsal."""
PROVIDER_TIME_SCALE = "0.01"
"""The fast variant of the provider shortens its fixed waits by this."""
PARTNER = "198.51.100.8"
"""An address on the internet (TEST-NET-2, RFC 5737) that may use the service."""
PULUMI_S = 240
SILENCE_S = 1.5
"""A packet that a security group drops is answered by silence; this much is enough on one host."""


class Stack:
    """A stack, its emulated cloud, and its machine, below one folder.

    The folder is laid out as ``python -m rehearsal`` does it, so that its ``clean`` applies.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.journey = EcsJourney(root / "ecs", Display())
        self.tools = provide_tools(self.journey.folder / "pulumi-home", "fast")
        self.images = provide_images(self.journey.display)
        self.outputs: dict[str, Any] = {}
        self.start_cloud()
        self.workspace.prepare()
        self.journey.configure(self.workspace, self.images, self.allowed_cidrs[0])
        self.workspace.configure({"allowedCidrs": self.allowed_cidrs})

    # The cloud

    def start_cloud(self) -> None:
        """Start the emulator, anew or where an earlier one was killed, and point Pulumi at it."""
        self.emulator = cloud.start(
            self.journey.cloud_state, machines="podman", time_scale=TIME_SCALE
        )
        self.workspace = self.journey.workspace(self.emulator, self.tools)
        self.workspace.cloud["WAN_VACE_TIME_SCALE"] = PROVIDER_TIME_SCALE

    def kill_cloud(self) -> None:
        """Kill the emulator's process as a crash or a full memory would."""
        pid = int((self.journey.cloud_state / "pid").read_text())
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    @property
    def slot(self) -> Slot:
        """The network slot that the emulator has taken."""
        (found,) = slots_of(self.journey)
        return found

    @property
    def allowed_cidrs(self) -> list[str]:
        """Who may open the service: this computer, as the cloud sees it, and a partner."""
        return [f"{self.slot.operator_address}/32", f"{PARTNER}/32"]

    def api(self, product: str, action: str, **parameters: str) -> dict[str, Any]:
        """Call the cloud's API with Alibaba Cloud's SDK."""
        with self._as_operator():
            return openapi.client(product, self.emulator.region)(action, parameters)

    @contextmanager
    def _as_operator(self) -> Iterator[None]:
        """This process with the environment of the stack's commands, for the cloud's SDK.

        The SDK reads its keys when it is imported, which another test may have caused long ago.
        """
        environment = self.workspace.environment()
        keys = {
            "environment_access_key_id": environment["ALIBABA_CLOUD_ACCESS_KEY_ID"],
            "environment_access_key_secret": environment["ALIBABA_CLOUD_ACCESS_KEY_SECRET"],
        }
        with mock.patch.dict(os.environ, environment), mock.patch.multiple(auth_util, **keys):
            yield

    def instance(self) -> dict[str, Any]:
        """Return what the cloud says of the machine."""
        (row,) = self.api("ecs", "DescribeInstances")["Instances"]["Instance"]
        return dict(row)

    @property
    def private_ip(self) -> str:
        """Address of the machine in its VPC."""
        attributes = self.instance()["VpcAttributes"]
        return str(attributes["PrivateIpAddress"]["IpAddress"][0])

    # Pulumi

    def up(self) -> None:
        """Run ``pulumi up``, which must succeed, and take the stack's outputs."""
        self.pulumi("up", "--yes", "--skip-preview")
        self.outputs = self.workspace.outputs()

    def pulumi(self, *arguments: str) -> str:
        """Run a Pulumi command that must succeed; return what it printed."""
        output, status = self._pulumi(*arguments)
        assert status == 0, output
        return output

    def fails(self, *arguments: str) -> str:
        """Run a Pulumi command that must fail; return what it printed."""
        output, status = self._pulumi(*arguments)
        assert status != 0, output
        return output

    def _pulumi(self, *arguments: str) -> tuple[str, int]:
        process = self.workspace.start(*arguments, capture=True)
        output, _ = process.communicate(timeout=PULUMI_S)
        return output, process.returncode

    def command(self, module: str, *arguments: str) -> "subprocess.Popen[str]":
        """Start a Python module of ours in the workspace, as a user does there."""
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=self.workspace.folder,
            env=self.workspace.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    # The node

    def on_node(self, script: str, timeout_s: int = 60) -> str:
        """Run a shell script as root on the node by Cloud Assistant; it must succeed."""
        with ExitStack() as stack:
            stack.enter_context(self._as_operator())
            stack.enter_context(mock.patch.object(assistant, "POLL_SECONDS", 0.1))
            result = assistant.run(
                openapi.client("ecs", self.emulator.region),
                self.outputs["instanceId"],
                script,
                timeout_seconds=timeout_s,
            )
        assert result.exit_code == 0, result.output
        return result.output.replace("\r", "")

    # The service

    @property
    def ca(self) -> str:
        """Authority of the service's certificate, PEM."""
        return str(self.outputs["caCertificate"])

    def client(self) -> ComfyClient:
        """Return a client of the service, as an application has it."""
        return ComfyClient(
            Target.of(self.outputs["url"], token=self.outputs["apiToken"], ca_pem=self.ca)
        )

    def status(self, path: str = "/system_stats", *, token: str | None = None) -> int | None:
        """Return the status of a GET with the token; None when nobody answers."""
        token = self.outputs["apiToken"] if token is None else token
        return get(self.outputs["url"].rstrip("/") + path, token=token, ca=self.ca)

    def await_service(self, within_s: float = 120) -> None:
        """Wait until the service is ready at its public address."""
        eventually("the service answers", lambda: self.status("/readyz") == 200, within_s)


def get(url: str, *, token: str = "", ca: str = "") -> int | None:
    """Return the status of one GET, over a connection of its own; None without an answer.

    Raises:
        httpx.ConnectError: there is a server, and its certificate is not trusted.
    """
    try:
        answer = httpx.get(
            url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            verify=ssl.create_default_context(cadata=ca or None),
            timeout=httpx.Timeout(15, connect=SILENCE_S),
            trust_env=False,
        )
    except httpx.TransportError as error:
        if "CERTIFICATE" in str(error):
            raise
        return None
    return answer.status_code
