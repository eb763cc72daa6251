"""``kubernetes:core/v1:Namespace`` and ``Secret``, through kubectl; contents on standard input."""

import base64
import json
from pathlib import Path
from typing import Any

from rehearsal.kubernetes_plugin import tools, wire
from rehearsal.kubernetes_plugin.kinds import (
    Checked,
    Difference,
    Found,
    ResourceError,
    changed,
)
from rehearsal.kubernetes_plugin.wire import UNKNOWN, Properties

_DEFAULT_TIMEOUT = 600
_AUTONAMED = "pulumi.com/autonamed"
_MANAGER = "pulumi-kubernetes"
_CONTENTS = ("data", "stringData")


class KubeObject:
    """Objects of one kind in one cluster."""

    def __init__(
        self,
        kind: str,
        kubeconfig: Path,
        processes: tools.Processes,
        namespace: str = "",
        *,
        mutable: bool = False,
    ) -> None:
        """``namespace`` is the default one, empty for kinds that have none.

        Unless ``mutable``, a Secret with changed contents is made anew, as the real plugin does.
        """
        self._kind = kind
        self._kubeconfig = kubeconfig
        self._processes = processes
        self._namespace = namespace
        self._mutable = mutable

    def check(self, name: str, seed: bytes, olds: Properties, news: Properties) -> Checked:
        """Fill in kind, name and namespace; the contents of a Secret become secret."""
        inputs = wire.without_nulls(news)
        inputs.update(apiVersion="v1", kind=self._kind)
        given = inputs.get("metadata") or {}
        if wire.is_secret(given):
            given = given["value"]
        metadata = dict(given)
        if not metadata.get("name"):
            old = wire.reveal(olds.get("metadata")) or {}
            metadata["name"] = old.get("name") or wire.random_name(name, seed)
            metadata["annotations"] = {**(metadata.get("annotations") or {}), _AUTONAMED: "true"}
        if self._namespace:
            metadata.setdefault("namespace", self._namespace)
        inputs["metadata"] = metadata
        return Checked(_guarded(inputs))

    def diff(self, olds: Properties, news: Properties, ignored: list[str]) -> Difference:
        """Name, namespace and what the API never lets change need a new object."""
        paths = changed(olds, news, ignored)
        plain = wire.reveal(news)
        fixed = ["metadata.name", "metadata.namespace", "type"]
        was_immutable = bool(wire.reveal(olds).get("immutable"))
        if was_immutable:
            fixed.append("immutable")
        if not self._mutable or was_immutable:
            fixed += _CONTENTS
        replaces = [
            p for p in paths if any(p == f or p.startswith((f"{f}.", f"{f}[")) for f in fixed)
        ]
        metadata = plain.get("metadata") or {}
        moved = "metadata.name" in paths or "metadata.namespace" in paths
        autonamed = _AUTONAMED in (metadata.get("annotations") or {})
        return Difference(paths, replaces, delete_first=not moved and not autonamed)

    def preview(self, inputs: Properties) -> Properties:
        """Return the outputs as far as they are known beforehand."""
        outputs = dict(inputs)
        if self._kind == "Namespace":
            outputs.update(status=UNKNOWN)
        return outputs

    def create(self, inputs: Properties, timeout: int) -> Found:
        """Make the object, or take over one that an interrupted run has left."""
        return self._apply(inputs)

    def update(self, identity: str, inputs: Properties, timeout: int) -> Found:
        """Change the object in place."""
        return self._apply(inputs)

    def read(self, identity: str, inputs: Properties) -> Found | None:
        """Return the object as it is; None if it is gone."""
        namespace, name = self._split(identity)
        text = self._run(
            inputs, "get", *self._names(namespace, name), "-o", "json", "--ignore-not-found"
        )
        if not text.strip():
            return None
        live = json.loads(text)
        inputs = wire.reveal(inputs) or {
            "apiVersion": "v1",
            "kind": self._kind,
            "metadata": _named(namespace, name),
        }
        if self._kind == "Secret":
            wanted = {**(inputs.get("data") or {}), **_encoded(inputs.get("stringData"))}
            if wanted != (live.get("data") or {}):
                # Changed by somebody else: the next up shows the difference.
                inputs.pop("stringData", None)
                inputs["data"] = live.get("data") or {}
        return Found(identity, self._outputs(inputs, live), _guarded(inputs))

    def delete(self, identity: str, inputs: Properties, timeout: int) -> None:
        """Delete the object and wait until it is gone."""
        namespace, name = self._split(identity)
        self._run(
            inputs,
            "delete",
            *self._names(namespace, name),
            "--ignore-not-found",
            "--wait=true",
            f"--timeout={timeout or _DEFAULT_TIMEOUT}s",
        )

    def _apply(self, inputs: Properties) -> Found:
        plain = wire.reveal(inputs)
        metadata = plain["metadata"]
        arguments = ["apply", "--server-side", f"--field-manager={_MANAGER}"]
        text = self._run(inputs, *arguments, "-o", "json", "-f", "-", stdin=json.dumps(plain))
        inside = metadata.get("namespace")
        identity = f"{inside}/{metadata['name']}" if self._namespace else metadata["name"]
        return Found(identity, self._outputs(inputs, json.loads(text)), inputs)

    def _outputs(self, inputs: Properties, live: dict[str, Any]) -> Properties:
        outputs = {**live, "metadata": dict(live["metadata"])}
        outputs["metadata"].pop("managedFields", None)
        if "stringData" in inputs:
            outputs["stringData"] = inputs["stringData"]
        return _guarded(outputs)

    def _run(self, inputs: Properties, *arguments: str, stdin: str | None = None) -> str:
        try:
            command = [tools.find("kubectl"), *arguments]
            environment = tools.environment(self._kubeconfig)
            status, output, errors = self._processes.run(command, environment, stdin)
        except tools.ToolError as error:
            raise ResourceError(str(error)) from error
        if status != 0:
            said = errors.strip() or output.strip() or f"ended with status {status}"
            text = f"{self._kind}: kubectl {arguments[0]}: {said}"
            raise ResourceError(wire.masked(text, _guarded(dict(inputs))))
        return output

    def _split(self, identity: str) -> tuple[str, str]:
        namespace, _, name = identity.rpartition("/")
        return (namespace or self._namespace), name

    def _names(self, namespace: str, name: str) -> list[str]:
        names = [self._kind.lower(), name]
        return [*names, "-n", namespace] if namespace else names


def _named(namespace: str, name: str) -> dict[str, str]:
    return {"name": name, **({"namespace": namespace} if namespace else {})}


def _encoded(texts: dict[str, str] | None) -> dict[str, str]:
    return {key: base64.b64encode(text.encode()).decode() for key, text in (texts or {}).items()}


def _guarded(properties: Properties) -> Properties:
    guarded = {key: wire.secret(properties[key]) for key in _CONTENTS if key in properties}
    return {**properties, **guarded}
