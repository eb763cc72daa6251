"""Writes the chart's values.schema.json, and the table of its README.md, from values.yaml.

    python -m charts.readme            write both
    python -m charts.readme --check    only compare; status 2 if one is out of date

Each value has one comment, ``# -- text``, right above it. Its type follows from its default; what
else it may be stands in :data:`RULES`.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parent / "comfyui-vace"
BEGIN, END = "<!-- values: begin -->", "<!-- values: end -->"
MARK = "# -- "

SIZE = {"pattern": r"^[1-9]\d*(Mi|Gi|Ti)$"}
OPTIONAL_SIZE = {"pattern": r"^([1-9]\d*(Mi|Gi|Ti))?$"}
DURATION = {"pattern": r"^([1-9]\d*(h|m|s))+$"}
CPU = {"pattern": r"^([1-9]\d*(\.\d{1,3})?|0\.\d{1,3}|[1-9]\d*m)$"}
DIGEST = {"pattern": r"^(sha256:[0-9a-f]{64})?$"}
REPOSITORY = {"pattern": r"^([a-z0-9][a-z0-9.-]*(:\d{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+)?$"}
TAG = {"pattern": r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$"}
NAME = {"pattern": r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?$"}
LABEL = {"pattern": r"^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$"}
HOST = {"pattern": r"^([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9a-fA-F:]+)?$"}
STRINGS = {"items": {"type": "string"}}
NAMES = {"items": {"type": "string", "minLength": 1, **NAME}}
CIDRS = {"items": {"type": "string", "pattern": r"^[0-9a-fA-F.:]+/\d{1,3}$"}}
OBJECTS = {"items": {"type": "object"}}
MAP = {"additionalProperties": {"type": "string"}}
ANY_MAP: dict[str, Any] = {"additionalProperties": True}
ENVIRONMENT = {
    "items": {
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "pattern": r"^[A-Za-z_.-][A-Za-z0-9_.-]*$"},
            "value": {"type": "string"},
            "valueFrom": {"type": "object"},
        },
    }
}

RULES: Mapping[str, Mapping[str, Any]] = {
    "nameOverride": LABEL,
    "fullnameOverride": LABEL,
    "clusterDomain": {"minLength": 1, **NAME},
    "images.pullPolicy": {"enum": ["IfNotPresent", "Always", "Never"]},
    "images.pullSecrets": NAMES,
    **{f"images.{name}.repository": REPOSITORY for name in ("comfyui", "gateway", "smoke")},
    **{f"images.{name}.digest": DIGEST for name in ("comfyui", "gateway", "smoke")},
    **{f"images.{name}.tag": TAG for name in ("comfyui", "gateway", "smoke")},
    "auth.existingSecret": NAME,
    "tls.existingSecret": NAME,
    "tls.caKey": {"pattern": r"^[A-Za-z0-9._-]*$"},
    "tls.validityDays": {"minimum": 1, "maximum": 3650},
    "tls.certManager.issuerRef.name": NAME,
    "tls.certManager.issuerRef.kind": {"enum": ["Issuer", "ClusterIssuer"]},
    "tls.certManager.issuerRef.group": NAME,
    "tls.certManager.duration": DURATION,
    "tls.certManager.renewBefore": DURATION,
    "speedProfile": {"enum": ["safe", "balanced", "fast"]},
    "gpu.resourceName": {"pattern": r"^([a-z0-9.-]+/[A-Za-z0-9._-]+)?$"},
    "gpu.count": {"minimum": 0, "maximum": 16},
    "acs.computeClass": {"enum": ["gpu", "gpu-hpn"]},
    "acs.computeQos": {"enum": ["default", "best-effort"]},
    "acs.gpuSeries": LABEL,
    "acs.gpuDriverVersion": LABEL,
    "comfyui.replicas": {"minimum": 0, "maximum": 100},
    "comfyui.stallSeconds": {"minimum": 0, "maximum": 86400},
    **{f"comfyui.scratch.{name}": SIZE for name in ("shm", "tmp", "temp")},
    "startup.timeoutSeconds": {"minimum": 60, "maximum": 14400},
    "drain.seconds": {"minimum": 0, "maximum": 86400},
    "weights.source": {"enum": ["image", "claim"]},
    "weights.verify": {"enum": ["once", "always", "size"]},
    "weights.sources": {"items": {"type": "string", "minLength": 1}},
    "weights.timeoutSeconds": {"minimum": 60, "maximum": 86400},
    "gateway.replicas": {"minimum": 1, "maximum": 20},
    "gateway.allowedHosts": {"items": {"type": "string", "minLength": 1, **HOST}},
    "gateway.maxUploadMiB": {"minimum": 1, "maximum": 65536},
    "gateway.maxQueue": {"minimum": 0, "maximum": 10000},
    "gateway.drainSeconds": {"minimum": 0, "maximum": 3600},
    "service.type": {"enum": ["ClusterIP", "LoadBalancer"]},
    "service.port": {"minimum": 1, "maximum": 65535},
    "service.loadBalancerSourceRanges": CIDRS,
    "service.externalTrafficPolicy": {"enum": ["Local", "Cluster"]},
    "ingress.host": NAME,
    "ingress.tlsSecret": NAME,
    "networkPolicy.allowedCidrs": CIDRS,
    "networkPolicy.healthCheckCidrs": CIDRS,
    "networkPolicy.gatewayFrom": OBJECTS,
    "networkPolicy.comfyuiEgress": OBJECTS,
    "networkPolicy.weightsEgress": OBJECTS,
    "podDisruptionBudget.comfyuiMaxUnavailable": {"minimum": 0, "maximum": 1},
    "podDisruptionBudget.gatewayMaxUnavailable": {"minimum": 0, "maximum": 20},
    "serviceAccount.name": NAME,
    "metrics.from": OBJECTS,
    "metrics.serviceMonitor.interval": DURATION,
    "smokeTest.level": {"enum": ["quick", "reference", "full"]},
    "smokeTest.extraArgs": STRINGS,
    "smokeTest.timeoutSeconds": {"minimum": 60, "maximum": 86400},
}
"""What a value may be besides having its default's type, by its path."""

BY_NAME: Mapping[str, Mapping[str, Any]] = {
    "cpu": CPU,
    "memory": SIZE,
    "ephemeralStorage": SIZE,
    "size": OPTIONAL_SIZE,
    "existingClaim": NAME,
    "storageClassName": NAME,
    "accessModes": {
        "minItems": 1,
        "items": {"enum": ["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"]},
    },
    "annotations": MAP,
    "podAnnotations": MAP,
    "labels": MAP,
    "podLabels": MAP,
    "commonLabels": MAP,
    "nodeSelector": MAP,
    "affinity": ANY_MAP,
    "tolerations": OBJECTS,
    "topologySpreadConstraints": OBJECTS,
    "extraEnv": ENVIRONMENT,
    "priorityClassName": NAME,
    "runtimeClassName": NAME,
    "loadBalancerClass": {"pattern": r"^[A-Za-z0-9./-]*$"},
    "className": NAME,
}
"""The same for values that several parts have, by the last part of their path."""

TYPES = {bool: "boolean", int: "integer", str: "string", list: "array", dict: "object"}


class ValuesError(Exception):
    """values.yaml has a value without a description, or a description without a value."""


def descriptions(text: str) -> dict[str, str]:
    """Return path -> description of every value that has one.

    Raises:
        ValuesError: a comment describes nothing.
    """
    found: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    waiting = ""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        if stripped.startswith(MARK):
            waiting = stripped.removeprefix(MARK)
        elif stripped and not stripped.startswith(("#", "-")):
            above = [each for each in above if each[0] < indent]
            above.append((indent, stripped.partition(":")[0]))
            if waiting:
                found[".".join(name for _, name in above)] = waiting
                waiting = ""
        elif waiting:
            raise ValuesError(
                f"values.yaml, line {number}: the description {waiting!r} stands above no value. "
                "Each belongs right above the value that it describes; move it there"
            )
    return found


def leaves(values: Mapping[str, Any], described: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Yield path and default of every value that is described.

    Raises:
        ValuesError: one is not.
    """

    def walk(path: str, value: Any) -> Iterator[tuple[str, Any]]:
        if path in described:
            yield path, value
        elif isinstance(value, dict) and value:
            for name, below in value.items():
                yield from walk(f"{path}.{name}" if path else name, below)
        else:
            raise ValuesError(
                f"values.yaml: {path} has no description. Each value needs a comment of the form "
                f"`{MARK}text` right above it, because schema and README are made of them"
            )

    yield from walk("", values)


def schema(values: Mapping[str, Any], described: Mapping[str, str]) -> dict[str, Any]:
    """Return the JSON schema; nothing that is not in values.yaml is allowed."""
    root = _object()
    for path, default in leaves(values, described):
        *parents, name = path.split(".")
        place = root
        for parent in parents:
            place = place["properties"].setdefault(parent, _object())
        place["properties"][name] = {
            "type": TYPES[type(default)],
            "description": described[path],
            **RULES.get(path, BY_NAME.get(name, {})),
        }
    # Helm adds this one for charts that are used by others.
    root["properties"]["global"] = {"type": "object"}
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "comfyui-vace", **root}


def _object() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": {}}


def table(values: Mapping[str, Any], described: Mapping[str, str]) -> str:
    """Return the README's table."""
    rows = ["| value | default | what it does |", "|---|---|---|"]
    for path, default in leaves(values, described):
        shown = json.dumps(default, ensure_ascii=False)
        rows.append(f"| `{path}` | `{shown}` | {described[path].replace('|', '&#124;')} |")
    return "\n".join(rows)


def wanted(chart: Path = CHART) -> dict[Path, str]:
    """Return what the two files should hold.

    Raises:
        ValuesError: see above; or the README has lost its markers.
    """
    text = (chart / "values.yaml").read_text(encoding="utf-8")
    values, described = yaml.safe_load(text), descriptions(text)
    readme = chart / "README.md"
    page = readme.read_text(encoding="utf-8")
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise ValuesError(f"{readme.name} needs {BEGIN} and {END} once each, around the table")
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    document = json.dumps(schema(values, described), indent=2, ensure_ascii=False)
    return {
        chart / "values.schema.json": document + "\n",
        readme: f"{before}{BEGIN}\n{table(values, described)}\n{END}{after}",
    }


def main(arguments: list[str] | None = None) -> int:
    """Write or compare; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m charts.readme",
        description="Write the chart's schema and README table from values.yaml.",
    )
    parser.add_argument("--check", action="store_true", help="only compare; status 2 if stale")
    options = parser.parse_args(arguments)
    try:
        files = wanted()
    except ValuesError as error:
        print(error, file=sys.stderr)
        return 2
    stale = [
        path
        for path, text in files.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if options.check:
        if stale:
            names = ", ".join(path.name for path in stale)
            print(f"{names}: not what values.yaml gives. Run: python -m charts.readme")
            return 2
        print("values.schema.json and README.md are what values.yaml gives")
        return 0
    for path in stale:
        path.write_text(files[path], encoding="utf-8")
    print(f"written: {', '.join(path.name for path in stale) or 'nothing, both were fresh'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
