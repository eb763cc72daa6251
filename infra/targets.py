"""Which config keys belong to one target alone; the others count for both. Pure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from infra.config_acs import ClusterSettings

PROJECT_FILE = Path(__file__).resolve().parent.parent / "Pulumi.yaml"
ONLY = {
    "ecs": frozenset(
        {
            "instanceType",
            "minGpuMemoryGiB",
            "requireFp8",
            "maxPricePerHour",
            "plainHttp",
            "imageFamily",
            "imageId",
            "gpuDriver",
            "systemDiskGiB",
            "dataDiskGiB",
            "spot",
            "spotPriceLimit",
        }
    ),
    "acs": frozenset(str(field.alias) for field in ClusterSettings.model_fields.values()),
}
"""Keys by the only target that reads them."""


def misplaced(values: Mapping[str, Any]) -> list[str]:
    """Return a line for each key of another target that was set to something.

    A value that equals the default is none: the engine hands over every default.
    """
    target = values.get("target")
    if target not in ONLY:
        return []  # the model says so
    schema = yaml.safe_load(PROJECT_FILE.read_text(encoding="utf-8"))["config"]
    lines = []
    for other in sorted(set(ONLY) - {target}):
        for key in sorted(ONLY[other] & set(values)):
            if _text(values[key]) != _text(schema[key].get("default")):
                lines.append(
                    f'{key}: "{values[key]}" is set, but target is "{target}" and only "{other}" '
                    f"reads it, so it would have no effect. Run: pulumi config rm {key}"
                )
    return lines


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
