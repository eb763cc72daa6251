"""Config values as they reach the program, with the defaults that Pulumi.yaml gives."""

from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
DIGEST = "sha256:" + "ab" * 32


def project_file() -> dict[str, Any]:
    return yaml.safe_load((REPOSITORY / "Pulumi.yaml").read_text(encoding="utf-8"))


def defaults() -> dict[str, Any]:
    """Every key with its default, as the engine hands it over, and the keys that have none."""
    values: dict[str, Any] = {}
    for key, schema in project_file()["config"].items():
        if "default" in schema:
            default = schema["default"]
            values[key] = "[]" if default == [] else str(default)
            if isinstance(default, bool):
                values[key] = values[key].lower()
    return {
        **values,
        "owner": "video-team",
        "comfyuiImage": f"registry.example.com/vace/comfyui@{DIGEST}",
        "gatewayImage": f"registry.example.com/vace/gateway:1.0@{DIGEST}",
    }


@pytest.fixture
def raw() -> dict[str, Any]:
    """A valid config."""
    return defaults()
