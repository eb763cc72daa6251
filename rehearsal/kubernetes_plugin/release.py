"""``kubernetes:helm.sh/v3:Release``: a chart installed by helm."""

import hashlib
from pathlib import Path
from typing import Any

import yaml

from rehearsal.kubernetes_plugin import wire
from rehearsal.kubernetes_plugin.helm import DEFAULT_TIMEOUT, Helm, HelmError, Status
from rehearsal.kubernetes_plugin.kinds import (
    Checked,
    Difference,
    Found,
    InitializationError,
    ResourceError,
    changed,
)
from rehearsal.kubernetes_plugin.wire import UNKNOWN, Properties

_REFUSED = (
    "keyring",
    "lint",
    "postrender",
    "recreatePods",
    "renderSubchartNotes",
    "replace",
    "verify",
    "disableCRDHooks",
)
_COMPUTED = ("checksum", "resourceNames")


class Release:
    """Releases of one cluster."""

    def __init__(self, helm: Helm, namespace: str) -> None:
        self._helm = helm
        self._namespace = namespace

    def check(self, name: str, seed: bytes, olds: Properties, news: Properties) -> Checked:
        """Fill in name, namespace and timeout, and render the chart to know what it makes now."""
        inputs = {key: value for key, value in news.items() if value is not None}
        inputs.pop("compat", None)
        if not inputs.get("name"):
            inputs["name"] = olds.get("name") or wire.random_name(name, seed)
        inputs.setdefault("namespace", self._namespace)
        if not inputs.get("skipAwait"):
            inputs.setdefault("timeout", DEFAULT_TIMEOUT)
        failures = [(key, _refusal(key)) for key in _REFUSED if inputs.get(key)]
        failures += _check_repository(wire.reveal(inputs))
        if not inputs.get("chart"):
            failures.append(("chart", "no chart is given; give the path of one or an oci:// name"))
        if failures:
            return Checked(inputs, failures)
        if wire.has_unknown(inputs):
            # What the chart will make is not known either; saying so avoids false removals.
            return Checked({**inputs, **dict.fromkeys(_COMPUTED, UNKNOWN)})
        plain = wire.reveal(inputs)
        try:
            manifest = self._helm.template(plain, _values(plain))
            inputs["resourceNames"] = _names(manifest)
        except (HelmError, OSError, yaml.YAMLError) as error:
            return Checked(inputs, [("chart", wire.masked(str(error), inputs))])
        inputs["checksum"] = hashlib.sha256(manifest.encode()).hexdigest()
        return Checked(inputs)

    def diff(self, olds: Properties, news: Properties, ignored: list[str]) -> Difference:
        """A release is known by namespace and name; all else is changed in place."""
        paths = changed(olds, news, ignored)
        return Difference(
            paths, [p for p in ("name", "namespace") if p in paths], delete_first=False
        )

    def preview(self, inputs: Properties) -> Properties:
        """Return the outputs as far as they are known before helm has run."""
        return {"version": UNKNOWN, **inputs, "status": UNKNOWN}

    def create(self, inputs: Properties, timeout: int) -> Found:
        """Install the release; what a killed helm has left of an earlier try is removed first."""
        plain = wire.reveal(inputs)
        before = self._status(plain)
        if before is not None and before.status != "pending-install":
            raise ResourceError(
                f"Helm release {_identity(plain)} exists already (status {before.status}); a "
                "release of this stack must be made by it, or the two owners undo each other's "
                f"changes. Take it over with `pulumi import kubernetes:helm.sh/v3:Release "
                f"NAME {_identity(plain)}`, or remove it with `helm uninstall`."
            )
        return self._apply(inputs, plain, before, timeout)

    def update(self, identity: str, inputs: Properties, timeout: int) -> Found:
        """Upgrade the release; it is made again if it has been removed."""
        plain = wire.reveal(inputs)
        return self._apply(inputs, plain, self._status(plain), timeout)

    def read(self, identity: str, inputs: Properties) -> Found | None:
        """Return the release as helm knows it; None if it is gone.

        Raises:
            InitializationError: it is there, but its last change failed or was cut off.
        """
        namespace, name = _split(identity)
        status = self._ask(inputs, namespace, name)
        if status is None:
            return None
        inputs = {**inputs, "name": name, "namespace": namespace}
        if not inputs.get("chart"):
            inputs["chart"] = status.chart
        if _values(wire.reveal(inputs)) != status.values and not inputs.get("reuseValues"):
            # Somebody else has changed the values: the next up shows the difference.
            inputs["values"] = wire.secret(status.values)
            inputs.pop("valueYamlFiles", None)
        outputs = _outputs(inputs, status)
        if status.status != "deployed":
            raise InitializationError(
                identity,
                outputs,
                inputs,
                f"Helm release {identity} has status {status.status}: its last change failed or "
                "was cut off. Run `pulumi up` to try again.",
            )
        return Found(identity, outputs, inputs)

    def delete(self, identity: str, inputs: Properties, timeout: int) -> None:
        """Uninstall the release, and wait until its objects are gone unless told not to."""
        namespace, name = _split(identity)
        plain = wire.reveal(inputs)
        seconds = timeout or int(plain.get("timeout") or DEFAULT_TIMEOUT)
        try:
            self._helm.uninstall(namespace, name, wait=not plain.get("skipAwait"), timeout=seconds)
        except HelmError as error:
            raise ResourceError(wire.masked(f"Helm release {identity}: {error}", inputs)) from error

    def _status(self, plain: Properties) -> Status | None:
        return self._ask(plain, plain["namespace"], plain["name"])

    def _ask(self, inputs: Properties, namespace: str, name: str) -> Status | None:
        try:
            return self._helm.status(namespace, name)
        except HelmError as error:
            text = f"Helm release {namespace}/{name}: {error}"
            raise ResourceError(wire.masked(text, inputs)) from error

    def _apply(
        self, inputs: Properties, plain: Properties, before: Status | None, timeout: int
    ) -> Found:
        identity = _identity(plain)
        seconds = timeout or int(plain.get("timeout") or DEFAULT_TIMEOUT)
        try:
            values = _values(plain)
            if before is not None and before.pending:
                before = self._recover(before, seconds)
            self._helm.upgrade(plain, values, seconds)
        except (HelmError, OSError) as error:
            why = wire.masked(f"Helm release {identity}: {error}", inputs)
            after = self._status(plain)
            if after is None or after.status == "deployed" or after == before:
                # Nothing of this try is in force: not begun, removed again, or rolled back.
                raise ResourceError(why) from error
            raise InitializationError(identity, _outputs(inputs, after), inputs, why) from error
        after = self._status(plain)
        if after is None:
            raise ResourceError(
                f"Helm release {identity} is gone although helm has just made it; somebody else "
                "removes it. Find out who does, and run `pulumi up` again."
            )
        return Found(identity, _outputs(inputs, after), inputs)

    def _recover(self, cut_off: Status, timeout: int) -> Status | None:
        """Clear the mark of a helm that was killed: it refuses every later change."""
        namespace, name = cut_off.namespace, cut_off.name
        good = self._helm.last_deployed(namespace, name)
        if good is None:
            self._helm.uninstall(namespace, name, wait=True, timeout=timeout)
        else:
            self._helm.rollback(namespace, name, good, timeout)
        return self._helm.status(namespace, name)


def _identity(plain: Properties) -> str:
    return f"{plain['namespace']}/{plain['name']}"


def _split(identity: str) -> tuple[str, str]:
    namespace, slash, name = identity.partition("/")
    if not slash or not namespace or not name:
        raise ResourceError(
            f"{identity!r} is no id of a Helm release; NAMESPACE/NAME is, since names are unique "
            "only in a namespace. Pass it so."
        )
    return namespace, name


def _refusal(key: str) -> str:
    return (
        f"{key} is set, but the stand-in for the Kubernetes plugin has no such option: it would "
        "be ignored silently. Leave it out, or use the real plugin."
    )


def _check_repository(plain: Properties) -> list[tuple[str, str]]:
    options = plain.get("repositoryOpts") or {}
    if options.get("password") and not str(plain.get("chart", "")).startswith("oci://"):
        return [
            (
                "repositoryOpts.password",
                "a password is given for a chart that is not an oci:// name; helm takes such a "
                "password only among its arguments, which every user of the computer can read. "
                "Use an oci:// name or a chart folder.",
            )
        ]
    return []


def _values(plain: Properties) -> dict[str, Any]:
    """Merge the value files and ``values``, later ones over earlier ones, as helm does."""
    merged: dict[str, Any] = {}
    for asset in plain.get("valueYamlFiles") or []:
        text = asset.get("text") if "text" in asset else Path(str(asset.get("path"))).read_text()
        merged = _merged(merged, yaml.safe_load(text or "") or {})
    merged = _merged(merged, plain.get("values") or {})
    if not plain.get("allowNullValues"):
        merged = wire.without_nulls(merged)
    return merged


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        result[key] = _merged(old, value) if both and isinstance(old, dict) else value
    return result


def _names(manifest: str) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for document in yaml.safe_load_all(manifest):
        if not document:
            continue
        about = document.get("metadata") or {}
        inside = about.get("namespace")
        name = f"{inside}/{about.get('name')}" if inside else str(about.get("name"))
        names.setdefault(f"{document['kind']}/{document['apiVersion']}", []).append(name)
    return names


def _outputs(inputs: Properties, status: Status) -> Properties:
    return {
        **inputs,
        "version": status.version,
        "status": {
            "appVersion": status.app_version,
            "chart": status.chart,
            "name": status.name,
            "namespace": status.namespace,
            "revision": status.revision,
            "status": status.status,
            "version": status.version,
        },
    }
