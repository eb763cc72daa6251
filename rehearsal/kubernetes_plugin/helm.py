"""The calls of helm 4. Values go through standard input, credentials through a private file."""

import base64
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rehearsal.kubernetes_plugin import tools

DEFAULT_TIMEOUT = 300
_CHART_SWITCHES = {
    "dependencyUpdate": "--dependency-update",
    "devel": "--devel",
    "skipCrds": "--skip-crds",
}
_UPGRADE_SWITCHES = {
    "atomic": "--rollback-on-failure",
    "cleanupOnFail": "--cleanup-on-fail",
    "createNamespace": "--create-namespace",
    "disableOpenapiValidation": "--disable-openapi-validation",
    "disableWebhooks": "--no-hooks",
    "forceUpdate": "--force-replace",
    "takeOwnership": "--take-ownership",
    "waitForJobs": "--wait-for-jobs",
}


class HelmError(tools.ToolError):
    """helm failed; the message holds what it said."""


@dataclass(frozen=True)
class Status:
    """What helm keeps about a release."""

    name: str
    namespace: str
    revision: int
    status: str
    values: dict[str, Any]
    chart: str
    version: str
    app_version: str

    @property
    def pending(self) -> bool:
        """A helm is at work on it, or was killed in the middle."""
        return self.status.startswith("pending-")


class Helm:
    """helm for one cluster."""

    def __init__(self, kubeconfig: Path, processes: tools.Processes) -> None:
        self._kubeconfig = kubeconfig
        self._processes = processes

    def _run(
        self,
        *arguments: str,
        values: Mapping[str, Any] | None = None,
        registry: Mapping[str, Any] | None = None,
        reading: bool = False,
    ) -> str:
        command = [tools.find("helm"), *arguments]
        environment = tools.environment(self._kubeconfig)
        stdin = None
        if values is not None:
            command += ["--values", "-"]
            stdin = json.dumps(values)
        with tempfile.TemporaryDirectory(prefix="wan-vace-helm-") as folder:
            if registry is not None:
                path = Path(folder) / "registry.json"
                path.touch(mode=0o600)
                path.write_text(json.dumps(registry))
                environment["HELM_REGISTRY_CONFIG"] = str(path)
            status, output, errors = self._processes.run(
                command, environment, stdin, reading=reading
            )
        if status != 0:
            said = errors.strip() or output.strip() or f"ended with status {status}, said nothing"
            raise HelmError(f"helm {arguments[0]}: {said}")
        return output

    def _read(self, *arguments: str) -> Any:
        return json.loads(self._run(*arguments, "-o", "json", reading=True))

    def template(self, inputs: Mapping[str, Any], values: Mapping[str, Any]) -> str:
        """Return the manifest that the chart makes of ``values``, without asking the cluster."""
        arguments = ["template", inputs["name"], *_chart(inputs), "-n", inputs["namespace"]]
        if not inputs.get("skipCrds"):
            arguments.append("--include-crds")
        return self._run(*arguments, values=values, registry=_registry(inputs))

    def upgrade(self, inputs: Mapping[str, Any], values: Mapping[str, Any], timeout: int) -> None:
        """Install the release, or upgrade it with exactly ``values``."""
        arguments = ["upgrade", "--install", inputs["name"], *_chart(inputs)]
        arguments += ["-n", inputs["namespace"], "--timeout", f"{timeout}s"]
        arguments.append("--reuse-values" if inputs.get("reuseValues") else "--reset-values")
        if not inputs.get("skipAwait"):
            arguments.append("--wait=watcher")
        arguments += [flag for key, flag in _UPGRADE_SWITCHES.items() if inputs.get(key)]
        if inputs.get("maxHistory") is not None:
            arguments += ["--history-max", str(inputs["maxHistory"])]
        if inputs.get("description"):
            arguments += ["--description", inputs["description"]]
        self._run(*arguments, values=values, registry=_registry(inputs))

    def status(self, namespace: str, name: str) -> Status | None:
        """Return what is known of the newest revision; None if there is no such release."""
        try:
            answer = self._read("status", name, "-n", namespace)
            about = self._read("get", "metadata", name, "-n", namespace)
        except HelmError as error:
            if "release: not found" in str(error):
                return None
            raise
        return Status(
            name=name,
            namespace=namespace,
            revision=int(answer["version"]),
            status=str(answer["info"]["status"]),
            values=answer.get("config") or {},
            chart=str(about.get("chart", "")),
            version=str(about.get("version", "")),
            app_version=str(about.get("appVersion", "")),
        )

    def last_deployed(self, namespace: str, name: str) -> int | None:
        """Return the newest revision that was in force; None if there never was one."""
        rows = json.loads(self._run("history", name, "-n", namespace, "-o", "json"))
        good = [int(r["revision"]) for r in rows if r["status"] in ("deployed", "superseded")]
        return max(good, default=None)

    def rollback(self, namespace: str, name: str, revision: int, timeout: int) -> None:
        """Put ``revision`` in force again."""
        self._run("rollback", name, str(revision), "-n", namespace, "--timeout", f"{timeout}s")

    def uninstall(self, namespace: str, name: str, *, wait: bool, timeout: int) -> None:
        """Remove the release if it is there; with ``wait``, until its objects are gone."""
        arguments = ["uninstall", name, "-n", namespace, "--ignore-not-found"]
        arguments += ["--timeout", f"{timeout}s"]
        self._run(*arguments, *(["--wait=watcher"] if wait else []))


def _chart(inputs: Mapping[str, Any]) -> list[str]:
    options = inputs.get("repositoryOpts") or {}
    arguments = [inputs["chart"]]
    named = {"repo": "--repo", "caFile": "--ca-file", "certFile": "--cert-file"}
    named["keyFile"] = "--key-file"
    if inputs.get("version"):
        arguments += ["--version", str(inputs["version"])]
    for key, flag in named.items():
        if options.get(key):
            arguments += [flag, str(options[key])]
    return arguments + [flag for key, flag in _CHART_SWITCHES.items() if inputs.get(key)]


def _registry(inputs: Mapping[str, Any]) -> dict[str, Any] | None:
    options = inputs.get("repositoryOpts") or {}
    if not options.get("password"):
        return None
    host = str(inputs["chart"]).removeprefix("oci://").split("/", 1)[0]
    pair = f"{options.get('username', '')}:{options['password']}"
    return {"auths": {host: {"auth": base64.b64encode(pair.encode()).decode()}}}
