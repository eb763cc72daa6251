"""The provided engine, language host and provider work together."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rehearsal.toolchain import pins
from rehearsal.toolchain.result import Toolchain
from rehearsal.toolchain.tools import PLUGIN

from .test_language_host import eventually, with_environment

pytestmark = pytest.mark.engine

PROGRAM = """
import sys
import pulumi
from tests.toolchain.dynamic_sample import UpperCase

config = pulumi.Config()
print("printed by the program", flush=True)
pulumi.export("greeting", "hello")
pulumi.export("upper", UpperCase("sample", config.require("text")).upper)
pulumi.export("secret", config.require_secret("password"))
"""


class Project:
    """A Pulumi project in a temporary folder, with everything private."""

    def __init__(self, folder: Path, toolchain: Toolchain, program: str) -> None:
        self.folder = folder
        self.toolchain = toolchain
        self.home = toolchain.make_home(folder / "home")
        (folder / "program").mkdir()
        (folder / "program" / "__main__.py").write_text(program)
        # Twice: the host looks below the project's folder, but Pulumi's own script for dynamic
        # providers looks below the program's.
        (folder / ".venv").symlink_to(Path(sys.prefix))
        (folder / "program" / ".venv").symlink_to("../.venv")
        (folder / "Pulumi.yaml").write_text(
            "name: sample\nmain: program/\nruntime: {name: python, options: {virtualenv: .venv}}\n"
        )
        (folder / "backend").mkdir()
        (folder / "passphrase").write_text("only for this test")
        self.run("stack", "init", "test")
        self.run("config", "set", "text", "quiet")
        self.run("config", "set", "--secret", "password", "correct horse")

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PULUMI_")}
        return self.toolchain.environment(self.home, kept) | {
            "HOME": str(self.folder),
            "PULUMI_BACKEND_URL": f"file://{self.folder}/backend",
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(self.folder / "passphrase"),
            "PYTHONPATH": str(pins.REPOSITORY),
            "MARK": str(self.folder),
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.toolchain.pulumi, *arguments, "--non-interactive"],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, status: int = 0) -> str:
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == status, output
        return output


def test_the_engine_has_the_pinned_version(toolchain: Toolchain, tmp_path: Path) -> None:
    """Prevents a build whose version was not set: state files record it."""
    answer = subprocess.run(
        [toolchain.pulumi, "version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env=toolchain.environment(tmp_path),
    )
    assert answer.stdout.strip().removeprefix("v") == pins.PULUMI_VERSION


def test_a_program_goes_up_stays_unchanged_changes_and_goes_down(
    toolchain: Toolchain, tmp_path: Path
) -> None:
    """Prevents a toolchain that builds but cannot run a program with a dynamic resource."""
    project = Project(tmp_path, toolchain, PROGRAM)
    output = project.run("up", "--yes")
    assert "printed by the program" in output
    assert "warning" not in output.lower()
    outputs = json.loads(project.run("stack", "output", "--json"))
    assert outputs == {"greeting": "hello", "secret": "[secret]", "upper": "QUIET"}
    assert "correct horse" not in output
    project.run("preview", "--expect-no-changes")
    project.run("config", "set", "text", "loud")
    assert "~ 1 updated" in project.run("up", "--yes")
    assert project.run("stack", "output", "upper").strip() == "LOUD"
    project.run("destroy", "--yes")
    assert with_environment("MARK", str(tmp_path)) == []


def test_the_installed_provider_is_the_one_that_was_provided(
    toolchain: Toolchain, tmp_path: Path
) -> None:
    """Prevents the engine from downloading a provider in the middle of a rehearsal."""
    project = Project(tmp_path, toolchain, PROGRAM)
    listed = json.loads(project.run("plugin", "ls", "--json"))
    assert [(p["name"], p["version"]) for p in listed] == [("alicloud", pins.ALICLOUD_VERSION)]
    version = subprocess.run(
        [toolchain.alicloud_plugin, "-version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert version.stdout.strip().removeprefix("v") == pins.ALICLOUD_VERSION
    installed = project.home / "plugins" / f"resource-alicloud-v{pins.ALICLOUD_VERSION}" / PLUGIN
    assert installed.samefile(toolchain.alicloud_plugin)


def test_an_error_in_a_program_is_shown_with_its_line(toolchain: Toolchain, tmp_path: Path) -> None:
    """Prevents "program exited with status 1" as the only explanation."""
    project = Project(tmp_path, toolchain, "import pulumi\nraise ValueError('the reason')\n")
    output = project.run("preview", status=1)
    assert "ValueError: the reason" in output
    assert "__main__.py" in output


def test_a_killed_engine_leaves_no_process(toolchain: Toolchain, tmp_path: Path) -> None:
    """Prevents hosts, programs and providers that pile up after kills."""
    waiting = tmp_path / "waiting"
    program = (
        "import time, pathlib, pulumi, pulumi_alicloud\n"
        "provider = pulumi_alicloud.Provider('provider', region='cn-hangzhou',\n"
        "    access_key='x', secret_key='x', skip_region_validation=True)\n"
        f"pathlib.Path({str(waiting)!r}).touch()\n"
        "time.sleep(300)\n"
    )
    project = Project(tmp_path, toolchain, program)
    engine = project.start("up", "--yes", "--skip-preview")
    mark = str(tmp_path)
    eventually(waiting.exists, "the program did not start", 60)
    eventually(lambda: len(with_environment("MARK", mark)) >= 3, "engine, host and program", 30)
    engine.send_signal(signal.SIGKILL)
    engine.communicate(timeout=10)
    eventually(lambda: not with_environment("MARK", mark), "a process outlived the engine", 30)
