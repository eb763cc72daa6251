"""An ordinary pulumi_kubernetes program, run by the real engine through the stand-in."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rehearsal.kubernetes_plugin import VERSION, install
from rehearsal.paths import REPOSITORY
from tests.kubernetes_plugin.conftest import program
from tests.kubernetes_plugin.test_release import TEMPLATE

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]
PROGRAM = """
import pulumi
import pulumi_kubernetes as k8s

config = pulumi.Config()
provider = k8s.Provider("cluster", kubeconfig=config.require_secret("kubeconfig"))
options = pulumi.ResourceOptions(provider=provider)
space = k8s.core.v1.Namespace("space", metadata={"name": "engine"}, opts=options)
token = k8s.core.v1.Secret(
    "token",
    metadata={"name": "token", "namespace": space.metadata.name},
    string_data={"token": config.require_secret("token")},
    opts=options,
)
release = k8s.helm.v3.Release(
    "release",
    k8s.helm.v3.ReleaseArgs(
        chart="chart",
        name="tiny",
        namespace=space.metadata.name,
        skip_await=True,
        values={"size": config.require_int("size"), "hidden": config.require_secret("token")},
    ),
    opts=options,
)
pulumi.export("revision", release.status.revision)
"""
TOKEN = "a-token-nobody-may-read"
SUMMARY_SECONDS = 90


class Stack:
    """A private workspace with the stand-in installed."""

    def __init__(self, folder: Path, kubeconfig: Path) -> None:
        command = [sys.executable, str(REPOSITORY / "rehearsal" / "toolchain" / "provision.py")]
        command += ["--variant", "fast", "--print-env"]
        answer = subprocess.run(command, check=True, text=True, capture_output=True)
        facts = json.loads(answer.stdout)
        self.pulumi = facts["pulumi"]
        self.folder = folder
        (folder / "backend").mkdir()
        (folder / "chart" / "templates").mkdir(parents=True)
        (folder / "chart" / "Chart.yaml").write_text("apiVersion: v2\nname: tiny\nversion: 1.0.0\n")
        self.template = folder / "chart" / "templates" / "map.yaml"
        self.template.write_text(TEMPLATE)
        (folder / "__main__.py").write_text(PROGRAM)
        (folder / ".venv").symlink_to(REPOSITORY / ".venv")
        (folder / "Pulumi.yaml").write_text(
            "name: stand-in\nruntime: {name: python, options: {virtualenv: .venv}}\n"
        )
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PULUMI_", "KUBECONFIG"))}
        self.environment = {
            **kept,
            "PATH": os.pathsep.join([*facts["path_prepend"], kept["PATH"]]),
            "HOME": str(folder),
            "PULUMI_HOME": str(folder / "home"),
            "PULUMI_BACKEND_URL": f"file://{folder / 'backend'}",
            "PULUMI_CONFIG_PASSPHRASE": "only-for-this-test",
            "PULUMI_SKIP_UPDATE_CHECK": "1",
            "VACE_HELM": program("helm"),
            "VACE_KUBECTL": program("kubectl"),
        }
        made = install(folder / "plugin", REPOSITORY / ".venv" / "bin" / "python")
        self.run("plugin", "install", "resource", "kubernetes", VERSION, "--file", str(made))
        self.run("stack", "init", "test")
        self.run("config", "set", "size", "1")
        self.run("config", "set", "--secret", "token", text=TOKEN)
        self.run("config", "set", "--secret", "kubeconfig", text=kubeconfig.read_text())

    def run(self, *arguments: str, text: str = "", fails: bool = False) -> str:
        """Run Pulumi; its output, after checking how it ended and that it prints no secret."""
        ended = subprocess.run(
            [self.pulumi, *arguments, "--non-interactive"],
            cwd=self.folder,
            env=self.environment,
            input=text,
            text=True,
            capture_output=True,
            check=False,
            timeout=SUMMARY_SECONDS,
        )
        output = ended.stdout + ended.stderr
        assert (ended.returncode != 0) == fails, output
        assert TOKEN not in output
        return output

    def up(self, *, fails: bool = False) -> str:
        return self.run("up", "--yes", "--skip-preview", fails=fails)

    def unchanged(self) -> None:
        """Check that a preview finds nothing to do."""
        self.run("preview", "--expect-no-changes")

    def state(self) -> str:
        return self.run("stack", "export")


def test_a_program_lives_through_the_stand_in(tmp_path: Path, kube_api: Path) -> None:
    """The whole way: make, nothing to do, change, drift, failure and retry, remove."""
    stack = Stack(tmp_path, kube_api)
    stack.run("preview")
    stack.up()
    stack.unchanged()
    assert TOKEN not in stack.state()
    assert "client-key" not in stack.state()

    stack.run("config", "set", "size", "2")
    assert "size" in stack.run("preview", "--diff")
    stack.up()
    assert stack.run("stack", "output", "revision").strip() == "2"
    stack.template.write_text(TEMPLATE + "immutable: false\n")
    assert "checksum" in stack.run("preview", "--diff")
    stack.up()
    stack.unchanged()

    helm = [program("helm"), "uninstall", "tiny", "-n", "engine"]
    outside = {**os.environ, "KUBECONFIG": str(kube_api)}
    subprocess.run(helm, env=outside, check=True, capture_output=True)
    stack.run("refresh", "--yes", "--skip-preview")
    assert "helm.sh/v3:Release" not in stack.state()
    stack.up()
    stack.unchanged()

    # The API refuses the manifest: the release is there, in the state, and failed.
    stack.template.write_text(TEMPLATE + "immutable: 12\n")
    stack.up(fails=True)
    stack.template.write_text(TEMPLATE)
    stack.up()
    stack.unchanged()
    stack.run("destroy", "--yes", "--skip-preview")
    spaces = [program("kubectl"), "get", "namespace", "engine", "--ignore-not-found"]
    assert subprocess.run(spaces, env=outside, check=True, capture_output=True).stdout == b""


def test_the_plugin_ends_with_a_killed_engine(tmp_path: Path) -> None:
    """A plugin that outlives its engine holds the kubeconfig and memory for ever."""
    script = install(tmp_path, REPOSITORY / ".venv" / "bin" / "python")
    engine = subprocess.Popen(
        ["/bin/sh", "-c", f'"{script}" & echo $!; wait'], stdout=subprocess.PIPE, text=True
    )
    assert engine.stdout is not None
    identity = int(engine.stdout.readline())
    assert int(engine.stdout.readline()) > 0, "no port"
    engine.kill()
    engine.wait()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{identity}").exists() and "Z" not in state_of(identity):
        assert time.monotonic() < deadline, "the plugin still runs"


def state_of(identity: int) -> str:
    """Return the state letter of a process, Z when nobody has collected it."""
    try:
        return Path(f"/proc/{identity}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return "Z"
