"""Every token and property that the program sets exists in the real provider.

Without this, the emulator could bless what the cloud would refuse: the engine passes unknown
properties on without a word.
"""

import asyncio
import json
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest

from infra import config
from rehearsal.toolchain.provision import provision
from tests.unit.infra.conftest import defaults
from tests.unit.infra.mock_engine import Recorder, deploy

pytestmark = pytest.mark.engine

EVERYTHING = {
    "allowedCidrs": '["203.0.113.0/24"]',
    "plainHttp": "true",
    "spot": "true",
    "spotPriceLimit": "4.5",
    "registryHost": "registry.example.com",
    "registryUsername": "puller",
    "registryPassword": "a-password",
    "hostname": "video.example.com",
}
ENGINE_PROPERTIES = {"__defaults", "__internal"}


@pytest.fixture(scope="module")
def schema() -> Mapping[str, Any]:
    tools = provision()
    if tools.origin["alicloud"] != "build":
        pytest.skip("the provider here is Pulumi's own, which cannot print its schema")
    dumped = subprocess.run(
        [tools.alicloud_plugin, "-dump-schema"], capture_output=True, check=True, timeout=30
    )
    document: Mapping[str, Any] = json.loads(dumped.stdout)
    return document


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    asyncio.set_event_loop(asyncio.new_event_loop())
    recorded = Recorder()
    values = {**defaults(), **EVERYTHING}
    settings = config.parse(
        values, project="wan-vace", stack="dev", secret_keys=["registryPassword"]
    )
    deploy(settings, recorded)
    return recorded


def unknown(value: Any, schema: Mapping[str, Any], path: str) -> list[str]:
    """Paths in ``value`` that ``schema`` does not know or only the provider may set."""
    if isinstance(value, list):
        item = schema.get("items", {})
        return [line for entry in value for line in unknown(entry, item, f"{path}[]")]
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    found = []
    for name, entry in value.items():
        inner = schema["properties"].get(name)
        if inner is None or not (inner.get("required") or inner.get("optional")):
            found.append(f"{path}.{name}")
        else:
            found += unknown(entry, inner, f"{path}.{name}")
    return found


def test_every_resource_and_property_is_the_providers(
    recorder: Recorder, schema: Mapping[str, Any]
) -> None:
    checked = 0
    for item in recorder.resources:
        if not item.typ.startswith("alicloud:"):
            continue
        assert item.typ in schema["resources"], item.typ
        inputs = {k: v for k, v in item.inputs.items() if k not in ENGINE_PROPERTIES}
        assert unknown(inputs, schema["resources"][item.typ], item.typ) == []
        checked += 1
    assert checked >= 15


def test_every_required_property_is_set(recorder: Recorder, schema: Mapping[str, Any]) -> None:
    for item in recorder.resources:
        if item.typ.startswith("alicloud:"):
            properties = schema["resources"][item.typ]["properties"]
            required = {name for name, row in properties.items() if row.get("required")}
            assert required <= set(item.inputs), item.typ


def test_every_question_is_the_providers(recorder: Recorder, schema: Mapping[str, Any]) -> None:
    assert recorder.calls
    for call in recorder.calls:
        assert call.token in schema["functions"], call.token
        assert unknown(dict(call.args), schema["functions"][call.token], call.token) == []
