"""The bridged provider and the Python SDK mean the same by every name.

A property that one side calls otherwise, or has as a list where the other has one object, breaks a
program only while it runs: right after a resource was created, with "Unexpected type".
"""

import json
import subprocess
from typing import Any

import pytest
from pulumi import _types

from rehearsal.toolchain import pins
from rehearsal.toolchain.result import Toolchain

from . import sdk_shapes

# Importing any of the SDK's modules imports deprecated ones too.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pulumi_alicloud")

TABLE = json.loads((pins.ALICLOUD_MODULE / "resources.json").read_text())
RESOURCES = [(e["module"], e["name"], tf) for tf, e in sorted(TABLE["resources"].items())]
FUNCTIONS = [(e["module"], e["name"], tf) for tf, e in sorted(TABLE["data_sources"].items())]


@pytest.fixture(scope="module")
def schema(toolchain: Toolchain) -> dict[str, Any]:
    if toolchain.origin["alicloud"] != "build":
        pytest.skip(
            "the provider here is Pulumi's own, which has no -dump-schema and needs no comparison"
        )
    dumped = subprocess.run(
        [toolchain.alicloud_plugin, "-dump-schema"], capture_output=True, check=True, timeout=30
    )
    return dict(json.loads(dumped.stdout))


def resource_token(module: str, name: str) -> str:
    return f"alicloud:{module}/{name[0].lower()}{name[1:]}:{name}"


@pytest.mark.parametrize(("module", "name", "terraform"), RESOURCES)
def test_each_resource_in_the_table_exists_in_the_sdk_under_the_same_token(
    module: str, name: str, terraform: str
) -> None:
    """Prevents a token that no program ever asks for."""
    assert sdk_shapes.resource_token(module, name) == resource_token(module, name), terraform


@pytest.mark.parametrize(("module", "name", "terraform"), FUNCTIONS)
def test_each_function_in_the_table_exists_in_the_sdk_under_the_same_token(
    module: str, name: str, terraform: str
) -> None:
    """Prevents a token that no program ever asks for."""
    token, _ = sdk_shapes.function_call(module, name)
    assert token == f"alicloud:{module}/{name}:{name}", terraform


@pytest.mark.engine
@pytest.mark.parametrize(("module", "name", "terraform"), RESOURCES)
def test_the_sdk_reads_from_a_resource_what_the_provider_writes(
    schema: dict[str, Any], module: str, name: str, terraform: str
) -> None:
    """Prevents "Unexpected type" after a resource was created, and outputs that stay empty."""
    described = schema["resources"][resource_token(module, name)]
    assert described["terraform"] == terraform
    assert sdk_shapes.resource_outputs(module, name) == sdk_shapes.shapes(described["properties"])


@pytest.mark.engine
@pytest.mark.parametrize(("module", "name", "terraform"), RESOURCES)
def test_the_provider_takes_for_a_resource_what_the_sdk_sends(
    schema: dict[str, Any], module: str, name: str, terraform: str
) -> None:
    """Prevents inputs that the provider drops without a word.

    The SDK also lists a few values inside of nested objects which only the provider sets.
    """
    described = schema["resources"][resource_token(module, name)]
    sent = sdk_shapes.resource_inputs(module, name)
    settable = sdk_shapes.shapes(described["properties"], inputs=True)
    assert set(sent) == set(settable), terraform
    assert sdk_shapes.within(settable, sent)
    assert sdk_shapes.within(sent, sdk_shapes.shapes(described["properties"]))


@pytest.mark.engine
@pytest.mark.parametrize(("module", "name", "terraform"), FUNCTIONS)
def test_a_function_has_the_same_arguments_and_answer_on_both_sides(
    schema: dict[str, Any], module: str, name: str, terraform: str
) -> None:
    """Prevents filters that are ignored and answers that cannot be read."""
    token, arguments = sdk_shapes.function_call(module, name)
    described = schema["functions"][token]
    assert described["terraform"] == terraform
    assert arguments == set(sdk_shapes.shapes(described["properties"], inputs=True))
    # Every answer has an id, which Terraform keeps outside of its schema.
    answer = {"id": "string", **sdk_shapes.shapes(described["properties"])}
    assert sdk_shapes.function_outputs(module, name) == answer


@pytest.mark.engine
def test_the_provider_itself_is_configured_by_the_names_of_the_sdk(schema: dict[str, Any]) -> None:
    """Prevents a region or endpoint that is set in the program and ignored by the provider."""
    arguments = sdk_shapes.sdk_module("index").ProviderArgs
    sent = {
        name: sdk_shapes.shape_of(hint) for name, hint in _types.input_type_types(arguments).items()
    }
    assert sent == sdk_shapes.shapes(schema["provider"], inputs=True)
