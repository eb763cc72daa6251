"""Documents that the node accepts, and what it says about the others."""

import json
from typing import Any

import pytest

from infra import config
from infra.components.node import node_settings
from infra.node.vace_node.errors import SettingsError
from infra.node.vace_node.settings import MAX_UPLOAD_MIB, parse_node_file, parse_settings
from tests.unit.infra.conftest import defaults


def test_valid_settings_are_read(settings_document: dict[str, Any]) -> None:
    """The form that the deployment writes."""
    found = parse_settings(json.dumps(settings_document))
    assert found.gpu
    assert found.results is not None
    assert found.results.prefix == "outputs/"
    assert found.allowed_hosts == ("203.0.113.10",)


def test_results_may_be_switched_off(settings_document: dict[str, Any]) -> None:
    """A node without a bucket is a valid deployment."""
    settings_document["results"] = None
    settings_document["gpu_driver"] = "none"
    found = parse_settings(json.dumps(settings_document))
    assert found.results is None
    assert not found.gpu


@pytest.mark.parametrize("schema", [0, 2, "1", True, None])
def test_another_schema_is_refused(settings_document: dict[str, Any], schema: object) -> None:
    """An old agent must not guess at the meaning of a newer document."""
    settings_document["schema"] = schema
    with pytest.raises(SettingsError, match="reads schema 1 only"):
        parse_settings(json.dumps(settings_document))


def test_every_problem_is_named_at_once(settings_document: dict[str, Any]) -> None:
    """A deployment takes minutes; one problem a deployment would be cruel."""
    del settings_document["gateway_image"]
    settings_document["comfyui_image"] = "registry.vace.internal/vace/comfyui:latest"
    settings_document["gateway"]["max_upload_mib"] = "512"
    settings_document["results"]["prefix"] = "outputs"
    settings_document["colour"] = "red"
    with pytest.raises(SettingsError) as caught:
        parse_settings(json.dumps(settings_document), "the parameter vace-dev-node")
    text = str(caught.value)
    assert caught.value.permanent
    assert len(caught.value.problems) == 5
    assert "the parameter vace-dev-node" in text
    assert 'comfyui_image is "registry.vace.internal/vace/comfyui:latest", and must be' in text
    assert "gateway_image is missing" in text
    assert 'gateway.max_upload_mib is "512"' in text
    assert 'results.prefix is "outputs"' in text
    assert "colour is not known" in text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("comfyui_image", "comfyui@sha256:" + "0" * 64),
        ("comfyui_image", "r.example.com/a@sha256:" + "0" * 64 + "\nUser=0"),
        ("data_disk_id", "../../sda"),
        ("gpu_driver", "570; rm"),
        ("speed_profile", "fast\nUser=0"),
        ("speed_profile", None),
    ],
)
def test_values_cannot_break_out_of_a_unit_file(
    settings_document: dict[str, Any], key: str, value: str
) -> None:
    """These values become lines of unit files, paths and package names, as root."""
    settings_document[key] = value
    with pytest.raises(SettingsError, match=key):
        parse_settings(json.dumps(settings_document))


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '"x"'])
def test_something_else_than_an_object_is_refused(text: str) -> None:
    """A truncated or empty file is the usual result of a full disk."""
    with pytest.raises(SettingsError):
        parse_node_file(text)
    with pytest.raises(SettingsError):
        parse_settings(text)


def test_missing_part_is_named_by_its_path(settings_document: dict[str, Any]) -> None:
    """Whole objects can be missing, not only values."""
    del settings_document["gateway"]
    with pytest.raises(SettingsError, match="gateway is missing"):
        parse_settings(json.dumps(settings_document))


def test_node_file_names_what_is_missing(node_document: dict[str, Any]) -> None:
    """node.json comes from user data, which a person may have replaced."""
    del node_document["tls_secret"]
    with pytest.raises(SettingsError, match="tls_secret is missing"):
        parse_node_file(json.dumps(node_document))


DIGEST = "@sha256:" + "0123456789abcdef" * 4
EXTREMES: dict[str, list[Any]] = {
    "maxUploadMiB": [
        limit
        for rule in config.Settings.model_fields["max_upload_mib"].metadata
        for limit in (getattr(rule, "ge", None), getattr(rule, "le", None))
        if limit is not None
    ],
    "comfyuiImage": [
        f"localhost:5000/a{DIGEST}",
        f"registry:5000/vace/comfyui{DIGEST}",
        f"r-1.cn-hangzhou.cr.aliyuncs.com/vace/comfyui{DIGEST}",
        f"registry.example.com:65535/a__b/c-d/e.f:v1.2_3-4{DIGEST}",
        f"r.example.com/a:{'t' * 128}{DIGEST}",
        f"r.example.com/{'p' * 241}{DIGEST}",
    ],
    "region": ["cn-hangzhou", "cn-hangzhou-finance-1", "ap-southeast-1", "me-central-1", "us-a"],
    "gpuDriver": ["none", "535", "570-open", "570-server", "580-server-open"],
    "hostname": ["", "a.bc", ".".join(["h" * 61] * 3 + ["x" * 60, "de"])],
    "plainHttp": [True, False],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in EXTREMES.items() for value in values]
)
def test_the_node_takes_every_value_that_the_config_takes(
    key: str, value: object, node_document: dict[str, Any]
) -> None:
    """What the config lets pass and the node refuses is found out minutes into a deployment."""
    settings = config.parse({**defaults(), key: value}, project="wan-vace", stack="dev")
    document = node_settings(
        settings,
        gpu_driver="none" if settings.gpu_driver == "auto" else settings.gpu_driver,
        data_disk_id="d-bp1abcdefghijklmnopq",
        bucket="wan-vace-dev-results-0a1b2c3d",
        ip_address="203.0.113.10",
    )
    found = parse_settings(json.dumps(document))
    assert found.max_upload_mib == settings.max_upload_mib
    assert found.comfyui_image == settings.comfyui_image
    node_document["region"] = settings.region
    assert parse_node_file(json.dumps(node_document)).region == settings.region


def test_the_limits_of_an_upload_are_the_configs() -> None:
    """The extremes above must be the real ones."""
    assert EXTREMES["maxUploadMiB"] == [1, MAX_UPLOAD_MIB]
