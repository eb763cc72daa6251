"""The script that `pulumi up` has run on the node, run here with the node's programs replaced."""

import subprocess
from pathlib import Path

import pytest

from infra import assistant
from infra.dynamic import readiness
from infra.node.render import BOOTSTRAP_UNIT

UNIT = f"etc/systemd/system/{BOOTSTRAP_UNIT}"
AGENT = "usr/local/bin/vace-node"


class Node:
    """A folder in the place of the node's root; programs note how they were called."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.program("bin/systemctl", 'case "$1" in is-active) echo activating;; esac')
        self.program("bin/journalctl", "echo 'bootstrap: no RAM role attached yet'")
        self.program("bin/cloud-init", "echo 'cloud-init 22.4.2'")

    def program(self, name: str, body: str = "") -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "{path.name} $*" >> {self.root}/calls\n{body}\n')
        path.chmod(0o755)

    def run(self) -> "subprocess.CompletedProcess[str]":
        text = readiness.script(77)
        for folder in ("/usr/local/bin", "/etc/systemd", "/var/log"):
            text = text.replace(folder, f"{self.root}{folder}")
        return subprocess.run(
            ["sh", "-c", text],
            env={"PATH": f"{self.root}/bin:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )

    @property
    def calls(self) -> list[str]:
        return (self.root / "calls").read_text().splitlines()


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setattr(readiness, "AGENT_SECONDS", 0)
    return Node(tmp_path)


def test_an_installed_agent_is_asked_at_once(node: Node) -> None:
    node.program(AGENT)
    assert node.run().returncode == 0
    assert node.calls[0].startswith("systemctl start --no-block vace-node.timer")
    assert node.calls[1:] == ["vace-node wait --timeout 77"]


def test_the_agents_status_is_the_scripts(node: Node) -> None:
    """It tells a restart of the machine from a failure."""
    node.program(AGENT, f"exit {readiness.RESTARTING}")
    assert node.run().returncode == readiness.RESTARTING


def test_a_lost_boot_is_told_from_a_bootstrap_that_fails(node: Node) -> None:
    """One needs another image and a new machine, the other a role or an object."""
    lost = node.run()
    assert lost.returncode == 1
    assert "The user data was not run" in lost.stdout
    assert "cloud-init 22.4.2" in lost.stdout
    assert not [call for call in node.calls if call.startswith("systemctl")]

    (node.root / UNIT).parent.mkdir(parents=True)
    (node.root / UNIT).touch()
    failing = node.run()
    assert failing.returncode == 1
    assert "The user data was run, but the agent could not be installed" in failing.stdout
    assert "is activating" in failing.stdout
    assert "no RAM role attached yet" in failing.stdout
    assert "not run within" not in failing.stdout


def test_a_bootstrap_that_user_data_did_not_start_is_started(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that lost its power in the middle of its user data must not be dead for good."""
    monkeypatch.setattr(readiness, "AGENT_SECONDS", 15)
    (node.root / UNIT).parent.mkdir(parents=True)
    (node.root / UNIT).touch()
    node.program("stand-in", "exit 0")
    agent = node.root / AGENT
    agent.parent.mkdir(parents=True)
    move = f'case "$1" in enable) mv {node.root}/stand-in {agent};; esac'
    node.program("bin/systemctl", move)
    assert node.run().returncode == 0
    assert node.calls[:2] == [
        "systemctl daemon-reload",
        f"systemctl enable --now --no-block {BOOTSTRAP_UNIT}",
    ]


def test_a_node_that_restarts_itself_is_asked_again_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pulumi up` goes on after the one restart that a driver may need."""
    statuses = [readiness.RESTARTING, 0]
    asked = []

    def run(*_arguments: object, **_options: object) -> assistant.Result:
        asked.append(1)
        return assistant.Result(statuses[len(asked) - 1], "")

    monkeypatch.setattr(assistant, "run", run)
    monkeypatch.setattr(readiness.openapi, "client", lambda *_: None)
    monkeypatch.setattr(readiness.time, "sleep", lambda _: None)
    props = {"region": "cn-hangzhou", "instance_id": "i-1", "timeout_seconds": 60, "triggers": []}
    provider = readiness._ReadinessProvider()
    assert provider.create(props).id == "i-1"
    assert len(asked) == 2

    statuses[1] = readiness.RESTARTING
    asked.clear()
    with pytest.raises(readiness.NodeNotReadyError):
        provider.create(props)
    assert len(asked) == 2
