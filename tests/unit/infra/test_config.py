"""The config model: every mistake is reported at once, key by key, before anything is created."""

import json
from typing import Any

import pytest

from infra import config
from tests.unit.infra.conftest import DIGEST, project_file


def parse(values: dict[str, Any]) -> config.Settings:
    return config.parse(values, project="wan-vace", stack="dev")


def mistakes(values: dict[str, Any]) -> str:
    with pytest.raises(config.ConfigError) as caught:
        parse(values)
    return str(caught.value)


def test_defaults_of_the_project_file_make_a_closed_deployment(raw: dict[str, Any]) -> None:
    """Prevents a default that opens a port to anybody."""
    settings = parse(raw)
    assert settings.allowed_cidrs == ()
    assert settings.plain_http is False
    assert settings.allow_from_everywhere is False
    assert settings.delete_results_on_destroy is False
    assert settings.zone == settings.instance_type == "auto"


def test_project_file_and_model_have_the_same_keys() -> None:
    """Prevents a key that is documented but not read, or read but not documented."""
    aliases = {field.alias for name, field in config.Settings.model_fields.items()}
    assert aliases - {"project", "stack"} == set(project_file()["config"])


def test_every_key_has_a_type_and_a_sentence() -> None:
    for key, schema in project_file()["config"].items():
        assert schema["type"] in {"string", "integer", "boolean", "array"}, key
        assert schema["description"].endswith("."), key


def test_all_mistakes_are_reported_at_once(raw: dict[str, Any]) -> None:
    """Prevents the slow dance of one error for each `pulumi up`."""
    text = mistakes(
        {
            **raw,
            "owner": "",
            "systemDiskGiB": "5",
            "comfyuiImage": "comfyui:latest",
            "expires": "soon",
            "vpcCidr": "8.8.0.0/16",
            "allowedCidrs": '["203.0.113.7/24"]',
        }
    )
    assert "6 mistake(s)" in text
    for key in ("owner", "systemDiskGiB", "comfyuiImage", "expires", "vpcCidr", "allowedCidrs"):
        assert f"wan-vace:{key}:" in text
    assert "nothing was changed" in text


@pytest.mark.parametrize(
    ("change", "key", "remedy"),
    [
        ({"allowedCidrs": '["0.0.0.0/0"]'}, "allowedCidrs", "allowFromEverywhere"),
        ({"allowedCidrs": '["0.0.0.0/1", "128.0.0.0/1"]'}, "allowedCidrs", "allowFromEverywhere"),
        ({"allowedCidrs": '["203.0.113.7/32", "203.0.113.7/32"]'}, "allowedCidrs", "twice"),
        ({"region": "ap-southeast-1", "zone": "ap-southeast-1-a"}, "zone", "ap-southeast-1a"),
        ({"expires": "2001-01-01"}, "expires", "or later"),
        ({"allowFromEverywhere": "true"}, "allowFromEverywhere", "add 0.0.0.0/0"),
        ({"zone": "cn-beijing-a"}, "zone", "cn-hangzhou-a"),
        ({"spot": "true", "deletionProtection": "true"}, "deletionProtection", "spot"),
        ({"spotPriceLimit": "3.5"}, "spotPriceLimit", "Set spot to true"),
        ({"registryHost": "registry.example.com"}, "registryHost", "all three"),
        ({"hostname": "not a name"}, "hostname", "video.example.com"),
        ({"spot": "true", "spotPriceLimit": "1.2345"}, "spotPriceLimit", "three decimals"),
        ({"gatewayImage": "registry.example.com/gateway:1.0"}, "gatewayImage", "digest"),
        ({"gpuDriver": "latest"}, "gpuDriver", "pattern"),
    ],
)
def test_a_wrong_value_names_its_key_and_the_remedy(
    raw: dict[str, Any], change: dict[str, str], key: str, remedy: str
) -> None:
    text = mistakes({**raw, **change})
    assert f"wan-vace:{key}" in text
    assert remedy in text


def test_a_missing_key_says_how_to_set_it(raw: dict[str, Any]) -> None:
    del raw["owner"]
    assert "pulumi config set owner" in mistakes(raw)


def test_an_unknown_key_is_refused_with_its_removal(raw: dict[str, Any]) -> None:
    """Prevents a typing mistake that silently leaves the default in force."""
    assert "pulumi config rm alowedCidrs" in mistakes({**raw, "alowedCidrs": "[]"})


def test_the_whole_internet_is_accepted_only_in_so_many_words(raw: dict[str, Any]) -> None:
    settings = parse({**raw, "allowedCidrs": '["0.0.0.0/0"]', "allowFromEverywhere": "true"})
    assert [str(cidr) for cidr in settings.allowed_cidrs] == ["0.0.0.0/0"]


def test_zones_abroad_have_no_hyphen_before_the_letter(raw: dict[str, Any]) -> None:
    settings = parse({**raw, "region": "ap-southeast-1", "zone": "ap-southeast-1a"})
    assert settings.zone == "ap-southeast-1a"


def test_a_password_is_shown_neither_in_errors_nor_in_repr(raw: dict[str, Any]) -> None:
    """Prevents a registry password in a CI log."""
    login = {
        "registryHost": "registry.example.com",
        "registryUsername": "puller",
        "registryPassword": "hunter2-hunter2",
    }
    settings = config.parse(
        {**raw, **login}, project="wan-vace", stack="dev", secret_keys=["registryPassword"]
    )
    assert "hunter2" not in repr(settings)
    assert "plain text" in mistakes({**raw, **login})
    assert "hunter2" not in mistakes({**raw, **login, "registryUsername": ""})


def test_lists_arrive_as_json(raw: dict[str, Any]) -> None:
    cidrs = ["203.0.113.0/24", "198.51.100.7/32"]
    settings = parse({**raw, "allowedCidrs": json.dumps(cidrs)})
    assert [str(cidr) for cidr in settings.allowed_cidrs] == cidrs


@pytest.mark.parametrize(
    "reference",
    [
        f"registry.example.com/vace/comfyui@{DIGEST}",
        f"registry.example.com:5000/comfyui:v1.2@{DIGEST}",
        f"crpi-x.cn-hangzhou.personal.cr.aliyuncs.com/team/comfyui-vace@{DIGEST}",
    ],
)
def test_image_references_with_a_digest_are_accepted(raw: dict[str, Any], reference: str) -> None:
    assert parse({**raw, "comfyuiImage": reference}).comfyui_image == reference


@pytest.mark.parametrize(
    "reference",
    [
        "comfyui",
        f"comfyui@{DIGEST}",
        f"library/comfyui@{DIGEST}",
        "registry.example.com/vace/comfyui:latest",
        f"registry.example.com/vace/comfyui@{DIGEST[:-1]}",
        f"registry.example.com/vace/comfyui@{DIGEST}; rm -rf /",
    ],
)
def test_image_references_without_a_whole_digest_are_refused(
    raw: dict[str, Any], reference: str
) -> None:
    assert "comfyuiImage" in mistakes({**raw, "comfyuiImage": reference})


def test_the_vswitch_lies_in_the_vpc(raw: dict[str, Any]) -> None:
    settings = parse({**raw, "vpcCidr": "172.20.16.0/20"})
    assert settings.vswitch_cidr.subnet_of(settings.vpc_cidr)
    assert settings.vswitch_cidr.prefixlen == 24
