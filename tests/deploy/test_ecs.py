"""The ECS target through its whole life: up, nothing to do, change in place, destroy."""

import json
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


def test_secrets_stand_in_no_plain_file(deployment: Deployment, tmp_path: Path) -> None:
    """Greps everything that a deployment leaves behind: state, logs, call journal, user data."""
    deployment.pulumi("up", "--yes")
    outputs = deployment.workspace.outputs()
    token = outputs["apiToken"]
    state = json.loads(deployment.pulumi("stack", "export"))
    assert token not in json.dumps(state)
    assert "BEGIN PRIVATE KEY" not in json.dumps(state)
    shown = deployment.pulumi("stack", "output", "--json")
    assert token not in shown
    for path in tmp_path.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            assert token.encode() not in content, path
            assert b"BEGIN PRIVATE KEY" not in content or path.stat().st_mode & 0o077 == 0, path


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
