"""A private Pulumi workspace over the very same program: own home, backend, passphrase, stack.

The folder holds links to ``Pulumi.yaml``, ``infra`` and ``.venv`` of the checkout, so that
what runs is a literal ``pulumi up``, while the stack's config and state stay out of the checkout
and out of the user's ``~/.pulumi``.
"""

import contextlib
import json
import os
import secrets
import shlex
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rehearsal.paths import REPOSITORY

STACK = "rehearsal"
DROPPED_PREFIXES = ("PULUMI_", "ALIBABA_CLOUD_", "ALICLOUD_", "ALIYUN_", "AWS_", "KUBECONFIG")
"""The user's own settings and credentials never reach a rehearsal."""
_ENGINE = (b"pulumi", b"pulumi.dynamic")


class PulumiError(Exception):
    """A Pulumi command failed; the message holds the command and, if captured, its last lines."""


@dataclass(frozen=True)
class Tools:
    """The programs that the toolchain provides."""

    pulumi: Path
    path: tuple[str, ...]
    home: Path


class Workspace:
    """One stack in one folder."""

    def __init__(self, folder: Path, tools: Tools, cloud: Mapping[str, str]) -> None:
        self.folder = folder
        self.tools = tools
        self.cloud = dict(cloud)
        self.passphrase = folder / "passphrase"

    def prepare(self) -> None:
        """Create the folder, its links, backend, passphrase and stack; idempotent."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("Pulumi.yaml", "infra", "charts", ".venv"):
            link = self.folder / name
            if not link.is_symlink():
                link.symlink_to(REPOSITORY / name)
        (self.folder / "backend").mkdir(exist_ok=True)
        if not self.passphrase.exists():
            self.passphrase.touch(mode=0o600)
            self.passphrase.write_text(secrets.token_urlsafe(24))
        if not (self.folder / f"Pulumi.{STACK}.yaml").exists():
            self.run("stack", "init", STACK, capture=True)
        else:
            self.run("stack", "select", "--create", STACK, capture=True)

    def environment(self) -> dict[str, str]:
        """Return the environment of every Pulumi command."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(DROPPED_PREFIXES)}
        return {
            **kept,
            **self.cloud,
            "PATH": os.pathsep.join([*self.tools.path, kept.get("PATH", "")]),
            "HOME": str(self.folder),
            "PULUMI_HOME": str(self.tools.home),
            "PULUMI_BACKEND_URL": f"file://{self.folder / 'backend'}",
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(self.passphrase),
            "PULUMI_SKIP_UPDATE_CHECK": "1",
            "PULUMI_SKIP_CONFIRMATIONS": "true",
            # The SDK of Kubernetes is installed: the engine would fetch its plugin for any target.
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        }

    def write_environment(self, path: Path) -> Path:
        """Write a script that gives a shell the environment of this workspace; holds its key."""
        lines = [
            f"export {name}={shlex.quote(value)}"
            for name, value in self.environment().items()
            if os.environ.get(name) != value and name != "HOME"
        ]
        path.touch(mode=0o600)
        path.write_text("\n".join(lines) + "\n")
        return path

    def start(
        self, *arguments: str, capture: bool = False, extra: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[str]":
        """Start ``pulumi ARGUMENTS``; its output goes to the terminal unless captured."""
        output = subprocess.PIPE if capture else None
        return subprocess.Popen(
            [str(self.tools.pulumi), *arguments],
            cwd=self.folder,
            env={**self.environment(), **(extra or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if capture else None,
            text=True,
        )

    def run(self, *arguments: str, capture: bool = False, allow_failure: bool = False) -> str:
        """Run ``pulumi ARGUMENTS`` to its end and return its output if captured.

        Raises:
            PulumiError: it failed and ``allow_failure`` is not set.
        """
        process = self.start(*arguments, capture=capture)
        try:
            output, _ = process.communicate()
        except KeyboardInterrupt:
            # The terminal has sent the signal to Pulumi too: let it finish what it has begun.
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
        if process.returncode != 0 and not allow_failure:
            tail = "\n".join((output or "").splitlines()[-40:])
            raise PulumiError(
                f"`pulumi {' '.join(arguments[:2])}` ended with status {process.returncode}"
                + (f":\n{tail}" if tail else "; see its output above")
            )
        return output or ""

    def configure(self, values: Mapping[str, Any]) -> None:
        """Set plain config values; a list replaces the whole list that was there."""
        document: dict[str, Any] = {}
        for key, value in values.items():
            structured = isinstance(value, list | tuple)
            text = json.dumps(value) if structured or isinstance(value, bool) else str(value)
            document[key] = {"value": text, "secret": False}
            if structured:
                document[key]["objectValue"] = list(value)
        self.run("config", "set-all", "--json", json.dumps(document), capture=True)

    def set_secret(self, key: str, value: str) -> None:
        """Set a secret config value; it goes through standard input, not the arguments."""
        process = subprocess.run(
            [str(self.tools.pulumi), "config", "set", "--secret", key],
            cwd=self.folder,
            env=self.environment(),
            input=value,
            text=True,
            check=False,
            capture_output=True,
        )
        if process.returncode != 0:
            raise PulumiError(f"`pulumi config set --secret {key}` failed: {process.stderr}")

    def outputs(self) -> dict[str, Any]:
        """Return the stack's outputs, secrets included."""
        text = self.run("stack", "output", "--json", "--show-secrets", capture=True)
        outputs: dict[str, Any] = json.loads(text)
        return outputs

    def resources(self) -> list[dict[str, Any]]:
        """Return the resources of the stack's state."""
        deployment = json.loads(self.run("stack", "export", capture=True))["deployment"]
        return list(deployment.get("resources") or [])


def end_leftovers(folder: Path) -> list[int]:
    """Kill Pulumi's processes that work on the stack in ``folder``; return their ids.

    An engine that was killed cannot end its plugins, and the one for dynamic resources then
    waits for it for ever.
    """
    setting = f"PULUMI_BACKEND_URL=file://{folder / 'backend'}".encode()
    killed = []
    for process in Path("/proc").glob("[0-9]*"):
        # Processes come and go while this loop runs.
        with contextlib.suppress(OSError):
            if setting not in (process / "environ").read_bytes().split(b"\0"):
                continue
            # A person's shell may have the setting, too; only Pulumi itself is ended.
            names = [word.rpartition(b"/")[2] for word in _words(process)]
            if any(name in _ENGINE or name.startswith(b"pulumi-") for name in names):
                os.kill(int(process.name), signal.SIGKILL)
                killed.append(int(process.name))
    return killed


def _words(process: Path) -> list[bytes]:
    return (process / "cmdline").read_bytes().split(b"\0")
