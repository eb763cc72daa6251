"""The ECS target through its whole life: up, nothing to do, change in place, destroy."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.deploy.conftest import Deployment

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


def test_a_stack_lives_and_leaves_nothing(deployment: Deployment) -> None:
    """The emulator's acceptance test and the program's: nothing drifts, nothing stays."""
    deployment.pulumi("up", "--yes")
    first = deployment.workspace.outputs()
    deployment.pulumi("preview", "--expect-no-changes")
    deployment.pulumi("refresh", "--yes", "--expect-no-changes")
    deployment.pulumi("preview", "--expect-no-changes")
    deployment.pulumi("up", "--yes", "--expect-no-changes")

    deployment.workspace.configure(
        {
            "eipBandwidthMbps": 30,
            "maxUploadMiB": 64,
            "allowedCidrs": ["198.18.0.0/30", "10.9.0.0/16"],
        }
    )
    deployment.pulumi("up", "--yes")
    second = deployment.workspace.outputs()
    assert first["instanceId"] == second["instanceId"]
    assert first["apiToken"] == second["apiToken"]
    deployment.pulumi("preview", "--expect-no-changes")

    deployment.pulumi("destroy", "--yes")
    assert deployment.left() == {}
    assert deployment.unknown_actions() == []


@contextmanager
def seen_arguments() -> Iterator[set[bytes]]:
    """Collect the command lines of all processes of this machine while the block runs."""
    seen: set[bytes] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    seen.add(path.read_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def test_secrets_stand_in_no_plain_file(deployment: Deployment, tmp_path: Path) -> None:
    """Greps everything that a deployment leaves behind: state, logs, call journal, user data."""
    password = "a-registry-password-to-look-for"
    deployment.workspace.configure(
        {"registryHost": "registry.vace.internal", "registryUsername": "puller"}
    )
    deployment.workspace.set_secret("registryPassword", password)
    with seen_arguments() as arguments:
        deployment.pulumi("up", "--yes")
    outputs = deployment.workspace.outputs()
    plain = json.dumps(json.loads(deployment.pulumi("stack", "export", "--show-secrets")))
    keys = re.findall(r"BEGIN PRIVATE KEY-----\\+n([A-Za-z0-9+/=]{40,})", plain)
    secrets = {outputs["apiToken"], password, *keys}
    assert len(secrets) >= 4, "the authority's and the server's key were not found"
    shown = deployment.pulumi("stack", "output", "--json")
    for secret in secrets:
        assert secret not in shown
        assert not any(secret.encode() in line for line in arguments)
    for path in tmp_path.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            for secret in secrets:
                assert secret.encode() not in content, path


def test_rotating_the_token_changes_it_in_place(deployment: Deployment) -> None:
    deployment.pulumi("up", "--yes")
    before = deployment.workspace.outputs()
    asked = len(deployment.hypervisor.commands)
    deployment.workspace.configure({"tokenGeneration": 2})
    deployment.pulumi("up", "--yes")
    after = deployment.workspace.outputs()
    assert before["apiToken"] != after["apiToken"]
    assert before["instanceId"] == after["instanceId"]
    assert before["caCertificate"] == after["caCertificate"]
    assert len(deployment.hypervisor.commands) == asked + 1, "the node was not asked to apply it"


def test_stock_that_changes_later_does_not_move_a_node(deployment: Deployment) -> None:
    """Prevents a second `up` from replacing a running machine because its zone sold out."""
    deployment.pulumi("up", "--yes")
    outputs = deployment.workspace.outputs()
    for zone in "bghijk":
        deployment.control(
            "POST",
            "/stock",
            {
                "zone": f"cn-hangzhou-{zone}",
                "instance_type": outputs["instanceType"],
                "in_stock": False,
            },
        )
    deployment.pulumi("up", "--yes", "--expect-no-changes")
