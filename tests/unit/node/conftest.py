"""Documents as the deployment writes them, for every test to change one thing in."""

import json
from typing import Any

import pytest

from infra.node.vace_node.settings import Settings, parse_settings

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.fixture
def settings_document() -> dict[str, Any]:
    """A valid settings Parameter."""
    return {
        "schema": 1,
        "comfyui_image": f"registry.vace.internal/vace/comfyui@{DIGEST}",
        "gateway_image": f"registry.vace.internal/vace/gateway@{DIGEST}",
        "data_disk_id": "d-bp1abcdefghijklmnopq",
        "gpu_driver": "570-server",
        "speed_profile": "safe",
        "results": {
            "bucket": "vace-results-1a2b3c",
            "endpoint": "https://oss-cn-hangzhou-internal.aliyuncs.com",
            "prefix": "outputs/",
        },
        "gateway": {
            "max_upload_mib": 512,
            "allowed_hosts": ["203.0.113.10"],
            "plain_http": False,
        },
    }


@pytest.fixture
def settings(settings_document: dict[str, Any]) -> Settings:
    """The same, parsed."""
    return parse_settings(json.dumps(settings_document))


@pytest.fixture
def node_document() -> dict[str, Any]:
    """A valid node.json."""
    return {
        "schema": 1,
        "region": "cn-hangzhou",
        "settings_parameter": "vace-dev-node",
        "token_secret": "vace-dev-token",
        "tls_secret": "vace-dev-tls",
        "registry_secret": None,
    }
