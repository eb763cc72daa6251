"""Documents that the node accepts, and what it says about the others."""

import json
from typing import Any

import pytest

from infra.node.vace_node.errors import SettingsError
from infra.node.vace_node.settings import parse_node_file, parse_settings


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
